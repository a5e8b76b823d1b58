//! One network namespace that plugins have set up, and the record of it.

use std::{
    fs::{self, File},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    list::List,
    plugin::{self, Container},
};
use crate::{cgroup, network};

/// A namespace. Dropping it gives back what the plugins hold for it.
pub struct Namespace {
    list: Arc<List>,
    id: String,
    handle: OwnedFd,
    record: Record,
    file: PathBuf,
}

/// What is kept on disk as long as a namespace is set up.
#[derive(Serialize, Deserialize)]
struct Record {
    hostname: String,
    result: Option<Value>,
}

impl Namespace {
    /// Makes one. The record, in `records`, is there before the first plugin is called.
    pub fn make(list: Arc<List>, records: &Path, hostname: &str) -> anyhow::Result<Namespace> {
        let id = cgroup::new_id()?;
        let handle = network::make().context("make a network namespace")?;
        let file = records.join(format!("{id}.json"));
        let record = Record { hostname: hostname.to_owned(), result: None };
        let mut namespace = Namespace { list, id, handle, record, file };
        namespace.save()?;
        let path = namespace.path();
        // Dropped when that fails, it has the plugins undo what was done.
        namespace.record.result = plugin::add(&namespace.list, &namespace.container(&path.to_string_lossy()))?;
        namespace.save()?;
        Ok(namespace)
    }

    /// Where other processes find it, as long as this one is there.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.handle.as_raw_fd()).into()
    }

    fn container<'a>(&'a self, namespace: &'a str) -> Container<'a> {
        Container { id: &self.id, namespace, hostname: &self.record.hostname }
    }

    fn save(&self) -> anyhow::Result<()> {
        let text = serde_json::to_vec(&self.record)?;
        fs::write(&self.file, text).with_context(|| format!("write {}", self.file.display()))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let path = self.path();
        let container = self.container(path.to_str().unwrap_or_default());
        match plugin::del(&self.list, &container, self.record.result.as_ref()) {
            Ok(()) => drop(fs::remove_file(&self.file)),
            Err(error) => tracing::warn!("give up a network: {error:#}"),
        }
    }
}

/// Gives back what plugins hold for namespaces of an engine that is gone.
pub fn sweep(list: &List, records: &Path) {
    let Ok(entries) = fs::read_dir(records) else { return };
    for file in entries.flatten().map(|entry| entry.path()) {
        let record = File::open(&file).ok().and_then(|open| serde_json::from_reader::<_, Record>(open).ok());
        // Cut short while it was written, it is from before any answer.
        let record = record.unwrap_or_else(|| Record { hostname: String::new(), result: None });
        let id = file.file_stem().unwrap_or_default().to_string_lossy();
        let container = Container { id: &id, namespace: "", hostname: &record.hostname };
        if let Err(error) = plugin::del(list, &container, record.result.as_ref()) {
            tracing::warn!("give up a network of before: {error:#}");
        }
        let _ = fs::remove_file(&file);
    }
}
