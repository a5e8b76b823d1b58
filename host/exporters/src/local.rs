//! `local`: the files, in a directory of the client.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use async_trait::async_trait;
use session::ExportTree;
use store::Store;

use crate::{
    Built, Exporter, Target, attestation,
    attrs::{self, Attrs, flag},
    tree::{Views, directory_of},
};

/// `dest` and `mode` are for the client, which puts the files there, beside (`copy`) or in place of (`delete`) what is there.
const KNOWN: &[&str] = &["dest", "mode", "platform-split", "attestation-prefix", "source-date-epoch"];
const NANOSECONDS: i64 = 1_000_000_000;

pub(crate) struct Local {
    store: Store,
}

#[async_trait]
impl Exporter for Local {
    fn names(&self) -> &'static [&'static str] {
        &["local"]
    }

    fn check(&self, attrs: &Attrs) -> Result<()> {
        deletes(attrs)?;
        attrs::epoch(attrs)?;
        flag(attrs, "platform-split").map(drop)
    }

    fn ignored(&self, attrs: &Attrs) -> Vec<String> {
        attrs::ignored(attrs, &[KNOWN])
    }

    async fn export(&self, what: &Built, to: &Target) -> Result<BTreeMap<String, String>> {
        let session = to.session()?;
        let split = flag(&to.attrs, "platform-split")?.unwrap_or(what.refs.len() > 1);
        if !split && what.refs.len() > 1 && deletes(&to.attrs)? {
            bail!("mode=delete puts one tree in place of what is there: leave out platform-split=false");
        }
        let what = &attestation::with_files(&self.store, what, &to.attrs).await?;
        let views = Views::open(&what.refs).await?;
        let mod_time = to.source_date_epoch.map(|seconds| seconds.saturating_mul(NANOSECONDS));
        let tree = |id: &str, root: &std::path::Path| {
            let prefix = split.then(|| directory_of(&what.platform(id)));
            ExportTree { root: root.to_owned(), prefix, mod_time }
        };
        let mut trees: Vec<ExportTree> = views.iter().map(|(id, root)| tree(id, root)).collect();
        trees.sort_by(|a, b| a.prefix.cmp(&b.prefix));
        if split {
            let distinct: BTreeSet<_> = trees.iter().map(|tree| &tree.prefix).collect();
            if distinct.len() < trees.len() {
                bail!("two platforms would go to the same directory");
            }
            return self.send(session, trees, to).await;
        }
        views.refuse_overlap().await?;
        // One after the other: each adds its files to those that are there.
        for tree in trees {
            self.send(session, vec![tree], to).await?;
        }
        Ok(BTreeMap::new())
    }
}

impl Local {
    pub(crate) fn new(store: Store) -> Self {
        Local { store }
    }

    async fn send(
        &self,
        session: &std::sync::Arc<dyn session::Session>,
        trees: Vec<ExportTree>,
        to: &Target,
    ) -> Result<BTreeMap<String, String>> {
        let progress = |done, total| (to.progress)("copying files", "copying files", done, total);
        session.send_dir(&to.id, trees, &BTreeMap::new(), &progress).await?;
        Ok(BTreeMap::new())
    }
}

/// Whether `mode` asks for that.
pub(crate) fn deletes(attrs: &Attrs) -> Result<bool> {
    match attrs.get("mode").map(String::as_str) {
        None | Some("" | "copy") => Ok(false),
        Some("delete") => Ok(true),
        Some(other) => bail!("mode={other:?}: want copy or delete"),
    }
}
