//! A store with trees in it, and a client that keeps what it is sent.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use exporters::{Built, Exporter, Target};
use oci::{Anonymous, Client, Hosts};
use session::{ExportTree, FileWriter, Filter, Session, SshSocket, Token, TokenRequest};
use store::{Options, Snapshot, Store};
use tokio::io::AsyncRead;

/// What a client was sent.
#[derive(Default)]
pub struct Received {
    /// By exporter id.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Whether the file was finished.
    pub finished: bool,
    /// The largest piece that came at once.
    pub largest: usize,
    pub trees: Vec<ExportTree>,
}

/// A client that has a directory for trees, and keeps files in memory.
pub struct FakeClient {
    pub dir: PathBuf,
    pub received: Arc<Mutex<Received>>,
}

struct Writer {
    id: String,
    received: Arc<Mutex<Received>>,
}

#[async_trait]
impl FileWriter for Writer {
    async fn write(&mut self, data: Bytes) -> anyhow::Result<()> {
        let mut received = self.received.lock().unwrap();
        received.largest = received.largest.max(data.len());
        received.files.entry(self.id.clone()).or_default().extend_from_slice(&data);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> anyhow::Result<()> {
        self.received.lock().unwrap().finished = true;
        Ok(())
    }
}

#[async_trait]
impl Session for FakeClient {
    fn id(&self) -> &str {
        "fake"
    }
    fn shared_key(&self) -> &str {
        ""
    }
    fn local_dir(&self, _: &str) -> Option<Arc<cap_std::fs::Dir>> {
        None
    }
    async fn sync_dir(&self, _: &str, _: &Filter, _: PathBuf, _: &(dyn Fn(u64, u64) + Sync)) -> anyhow::Result<()> {
        anyhow::bail!("no exporter reads the client's files")
    }
    async fn credentials(&self, _: &str) -> anyhow::Result<(String, String)> {
        Ok(Default::default())
    }
    async fn fetch_token(&self, _: TokenRequest) -> anyhow::Result<Option<Token>> {
        Ok(None)
    }
    async fn secret(&self, _: &str) -> anyhow::Result<Option<Vec<u8>>> {
        Ok(None)
    }
    async fn check_ssh(&self, _: &str) -> anyhow::Result<()> {
        anyhow::bail!("no agent")
    }
    async fn forward_ssh(&self, _: &str) -> anyhow::Result<SshSocket> {
        anyhow::bail!("no agent")
    }
    async fn send_dir(
        &self,
        _: &str,
        trees: Vec<ExportTree>,
        _: &BTreeMap<String, String>,
        _: &(dyn Fn(u64, u64) + Sync),
    ) -> anyhow::Result<()> {
        for tree in &trees {
            let to = self.dir.join(tree.prefix.as_deref().unwrap_or(""));
            std::fs::create_dir_all(&to)?;
            let status = std::process::Command::new("cp").arg("-a").arg(tree.root.join(".")).arg(&to).status()?;
            anyhow::ensure!(status.success(), "cp: {status}");
        }
        self.received.lock().unwrap().trees.extend(trees);
        Ok(())
    }
    async fn send_file(&self, id: &str, _: &BTreeMap<String, String>) -> anyhow::Result<Box<dyn FileWriter>> {
        Ok(Box::new(Writer { id: id.to_owned(), received: self.received.clone() }))
    }
    async fn pull_upload(&self, _: &str) -> anyhow::Result<Box<dyn AsyncRead + Send + Unpin>> {
        anyhow::bail!("no upload")
    }
}

/// Everything an export needs.
pub struct World {
    pub root: tempfile::TempDir,
    pub store: Store,
    pub received: Arc<Mutex<Received>>,
}

impl World {
    pub fn new() -> World {
        let root = tempfile::tempdir().unwrap();
        let options = Options { snapshotter: Some("copy".into()), max_bytes: None };
        let store = Store::open(&root.path().join("store"), options).unwrap();
        std::fs::create_dir(root.path().join("out")).unwrap();
        World { root, store, received: Arc::default() }
    }

    /// Where the client keeps trees.
    pub fn out(&self) -> PathBuf {
        self.root.path().join("out")
    }

    /// A tree of one more layer, made by `write`.
    pub async fn layer(&self, base: Snapshot, write: impl FnOnce(&Path)) -> Snapshot {
        let draft = self.store.draft(&base).await.unwrap();
        write(draft.path());
        draft.commit().await.unwrap()
    }

    /// Two layers: `a/file` and a link to it; then `b` and no `a/gone`.
    pub async fn tree(&self) -> Snapshot {
        let first = self.layer(self.store.scratch(), |root| {
            std::fs::create_dir(root.join("a")).unwrap();
            std::fs::write(root.join("a/file"), "content").unwrap();
            std::fs::write(root.join("a/gone"), "gone").unwrap();
            std::fs::hard_link(root.join("a/file"), root.join("a/hard")).unwrap();
            std::os::unix::fs::symlink("/a/file", root.join("a/soft")).unwrap();
        });
        self.layer(first.await, |root| {
            std::fs::write(root.join("b"), vec![7; 700_000]).unwrap();
            std::fs::remove_file(root.join("a/gone")).unwrap();
        })
        .await
    }

    pub fn exporter(&self, name: &str) -> Arc<dyn Exporter> {
        let hosts = Arc::new(Hosts::new(BTreeMap::new()));
        let registries: exporters::Registries = Arc::new(move |_| Client::new(hosts.clone(), Arc::new(Anonymous)));
        let all = exporters::all(&self.store, registries);
        all.into_iter().find(|exporter| exporter.names().contains(&name)).unwrap()
    }

    pub fn target(&self, attrs: &[(&str, &str)]) -> Target {
        let client = FakeClient { dir: self.out(), received: self.received.clone() };
        Target {
            id: "0".into(),
            attrs: attrs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            session: Some(Arc::new(client)),
            source_date_epoch: None,
            progress: Arc::new(|_, _, _, _| {}),
            steps: Arc::new(|_, _| {}),
        }
    }

    /// Checks the attributes and exports.
    pub async fn export(
        &self,
        name: &str,
        built: &Built,
        attrs: &[(&str, &str)],
        epoch: Option<i64>,
    ) -> anyhow::Result<BTreeMap<String, String>> {
        let exporter = self.exporter(name);
        let target = Target { source_date_epoch: epoch, ..self.target(attrs) };
        exporter.check(&target.attrs)?;
        exporter.export(built, &target).await
    }

    /// The file that the client was sent.
    pub fn file(&self) -> Vec<u8> {
        let mut received = self.received.lock().unwrap();
        assert!(std::mem::take(&mut received.finished), "the file was not finished");
        received.files.remove("0").unwrap()
    }
}

/// A result for one platform that has no name.
pub fn single(snapshot: &Snapshot) -> Built {
    let config = serde_json::json!({
        "os": "linux", "architecture": "amd64", "config": {"Cmd": ["/a"]},
        "history": [{"created_by": "COPY a"}, {"created_by": "COPY b"}, {"created_by": "CMD", "empty_layer": true}],
    });
    Built {
        refs: vec![(String::new(), Some(snapshot.clone()))],
        metadata: [("containerimage.config".to_owned(), config.to_string().into_bytes())].into(),
        ..Built::default()
    }
}

/// The same tree for two platforms, with no configs.
pub fn double(snapshot: &Snapshot) -> Built {
    let refs = ["linux/amd64", "linux/arm64"].map(|id| (id.to_owned(), Some(snapshot.clone())));
    Built { refs: refs.into(), ..Built::default() }
}
