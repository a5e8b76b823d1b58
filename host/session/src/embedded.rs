//! A client that shares this process or its file system: directories are reached as they are.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
};

use anyhow::Context;
use async_trait::async_trait;
use cap_std::fs::Dir;

use crate::{
    BlobReader, FileWriter, Filter, Session, SshSocket, Token, TokenRequest, WantedExporter, filesync, fsutil,
};

/// Directories of a client by the names under which it shares them.
pub type Dirs = HashMap<String, Arc<Dir>>;

/// A session whose local directories need no wire; all else goes through `inner`.
pub struct Embedded {
    inner: Arc<dyn Session>,
    dirs: Dirs,
}

impl Embedded {
    /// Puts `dirs` before what `inner` would transfer.
    pub fn new(inner: Arc<dyn Session>, dirs: Dirs) -> Self {
        Embedded { inner, dirs }
    }
}

#[async_trait]
impl Session for Embedded {
    fn id(&self) -> &str {
        self.inner.id()
    }

    fn shared_key(&self) -> &str {
        self.inner.shared_key()
    }

    fn local_dir(&self, name: &str) -> Option<Arc<Dir>> {
        self.dirs.get(name).cloned()
    }

    async fn sync_dir(
        &self,
        name: &str,
        filter: &Filter,
        dest: PathBuf,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> anyhow::Result<()> {
        let Some(dir) = self.local_dir(name) else {
            return self.inner.sync_dir(name, filter, dest, progress).await;
        };
        let (filter, options) = (filter.clone(), filesync::options(filter)?);
        let (counts, mut counted) = tokio::sync::mpsc::unbounded_channel();
        let copy = tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
            let source = dir.try_clone().context("duplicate the directory")?.into_std_file();
            let walk = fsutil::Walk::new(source.into(), &filter)?;
            let dest = fsutil::open_root(&dest).with_context(|| format!("open directory {}", dest.display()))?;
            fsutil::mirror(walk, dest, options, &|done, total| {
                let _ = counts.send((done, total));
            })
        });
        while let Some((done, total)) = counted.recv().await {
            progress(done, total);
        }
        copy.await
            .context("the thread that copies files died")?
            .with_context(|| format!("copy local directory {name:?}"))
    }

    async fn credentials(&self, host: &str) -> anyhow::Result<(String, String)> {
        self.inner.credentials(host).await
    }

    async fn fetch_token(&self, request: TokenRequest) -> anyhow::Result<Option<Token>> {
        self.inner.fetch_token(request).await
    }

    async fn secret(&self, id: &str) -> anyhow::Result<Option<Vec<u8>>> {
        self.inner.secret(id).await
    }

    async fn check_ssh(&self, id: &str) -> anyhow::Result<()> {
        self.inner.check_ssh(id).await
    }

    async fn forward_ssh(&self, id: &str) -> anyhow::Result<SshSocket> {
        self.inner.forward_ssh(id).await
    }

    async fn send_dir(
        &self,
        exporter: &str,
        trees: Vec<crate::ExportTree>,
        attrs: &BTreeMap<String, String>,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> anyhow::Result<()> {
        self.inner.send_dir(exporter, trees, attrs, progress).await
    }

    async fn send_file(&self, exporter: &str, attrs: &BTreeMap<String, String>) -> anyhow::Result<Box<dyn FileWriter>> {
        self.inner.send_file(exporter, attrs).await
    }

    async fn check_policy(
        &self,
        question: &crate::policy::PolicyQuestion,
    ) -> anyhow::Result<crate::policy::PolicyAnswer> {
        self.inner.check_policy(question).await
    }

    async fn pull_upload(&self, path: &str) -> anyhow::Result<Box<dyn tokio::io::AsyncRead + Send + Unpin>> {
        self.inner.pull_upload(path).await
    }

    async fn find_exporters(
        &self,
        metadata: &BTreeMap<String, Vec<u8>>,
        refs: Vec<String>,
    ) -> anyhow::Result<Vec<WantedExporter>> {
        self.inner.find_exporters(metadata, refs).await
    }

    async fn finalize_export(&self, response: &BTreeMap<String, String>) -> anyhow::Result<()> {
        self.inner.finalize_export(response).await
    }

    async fn blob_size(&self, store: &str, digest: &str) -> anyhow::Result<Option<u64>> {
        self.inner.blob_size(store, digest).await
    }

    async fn read_blob(&self, store: &str, digest: &str, offset: u64) -> anyhow::Result<BlobReader> {
        self.inner.read_blob(store, digest, offset).await
    }

    async fn write_blob(&self, store: &str, digest: &str, size: u64, from: BlobReader) -> anyhow::Result<()> {
        self.inner.write_blob(store, digest, size, from).await
    }
}
