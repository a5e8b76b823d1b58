use async_trait::async_trait;
use llb::op::ExecOp;
use solver::{Context, Op};
use store::Snapshot;

use crate::{Environment, Files};

/// A process ended badly.
#[derive(Debug, thiserror::Error)]
#[error("process {args:?} did not complete successfully: exit code: {code}")]
pub struct ExecError {
    args: Vec<String>,
    code: i32,
}

impl ExecError {
    /// The exit code.
    pub fn code(&self) -> i32 {
        self.code
    }
}

/// An exec op with what it needs to run.
pub(crate) struct ExecVertex {
    key: String,
    op: ExecOp,
}

impl ExecVertex {
    pub fn new(_vertex: &llb::Vertex, op: ExecOp, key: String, _environment: Environment) -> Self {
        ExecVertex { key, op }
    }
}

#[async_trait]
impl Op<Files> for ExecVertex {
    async fn key(&self, _: &Context) -> anyhow::Result<String> {
        Ok(self.key.clone())
    }

    async fn run(&self, _: Vec<Snapshot>, _: &Context) -> anyhow::Result<Vec<Snapshot>> {
        Err(ExecError { args: self.op.args.clone(), code: 127 }.into())
    }
}
