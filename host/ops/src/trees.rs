//! Merge, diff and passthrough: they make no files.

use async_trait::async_trait;
use llb::op::{DiffOp, MergeOp};
use solver::{Context, Op};
use store::{Snapshot, Store};

use crate::Files;

/// A merge, a diff or a passthrough.
pub(crate) struct Tree {
    pub key: String,
    pub store: Store,
    pub kind: TreeKind,
}

pub(crate) enum TreeKind {
    Merge(MergeOp),
    Diff(DiffOp),
    Passthrough,
}

#[async_trait]
impl Op<Files> for Tree {
    async fn key(&self, _: &Context) -> anyhow::Result<String> {
        Ok(self.key.clone())
    }

    fn known_key(&self) -> Option<&str> {
        Some(&self.key)
    }

    async fn run(&self, inputs: Vec<Snapshot>, _: &Context) -> anyhow::Result<Vec<Snapshot>> {
        let input = |number: Option<u32>| match number {
            None => Ok(self.store.scratch()),
            Some(number) => inputs.get(number as usize).cloned().ok_or_else(|| missing(number)),
        };
        match &self.kind {
            TreeKind::Merge(merge) => {
                let parts = merge.inputs.iter().map(|number| input(*number)).collect::<anyhow::Result<Vec<_>>>()?;
                Ok(vec![self.store.merge(&parts)?])
            }
            TreeKind::Diff(diff) => Ok(vec![self.store.diff(&input(diff.lower)?, &input(diff.upper)?).await?]),
            TreeKind::Passthrough => Ok(inputs),
        }
    }
}

/// A graph is validated before it gets here, so this is a bug and not the user's mistake.
pub(crate) fn missing(number: u32) -> anyhow::Error {
    anyhow::anyhow!("the op reads input {number}, which the vertex does not have")
}
