//! Sources over a real store, with a client and servers that do as a test wants.

mod git;
mod http;
mod image;
mod layout;
mod local;

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use cap_std::fs::Dir;
use oci::{
    Hosts, Retry, digest_of,
    media_type::{OCI_CONFIG, OCI_INDEX, OCI_MANIFEST},
    testing::{Content, Server},
};
use session::{FileWriter, Filter, Session, SshSocket, Token, TokenRequest};
use store::{Options, Snapshot, Store};

use crate::{Registries, Request, Resolved, Sources};

/// A store in a directory of its own, and all sources over it.
struct World {
    store: Store,
    registries: Arc<Registries>,
    sources: Sources,
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        World::open(tempfile::tempdir().unwrap())
    }

    fn open(dir: tempfile::TempDir) -> World {
        // Copies need no privileges.
        let options = Options { snapshotter: Some("copy".into()), max_bytes: None };
        let store = Store::open(&dir.path().join("store"), options).unwrap();
        let short = Duration::from_millis(1);
        let retry = Retry { attempts: 2, first_delay: short, delay_max: short, retry_after_max: short };
        let registries = Registries::new(Arc::new(Hosts::default().with_retry(retry)));
        let sources = Sources::standard(&store, registries.clone());
        World { store, registries, sources, dir }
    }

    async fn resolve(&self, request: &Request) -> Result<Box<dyn Resolved>, String> {
        self.sources.resolve(request).await.map_err(|error| format!("{error:#}"))
    }

    /// Resolves, and reads all files.
    async fn files(&self, request: &Request) -> Result<Files, String> {
        let resolved = self.resolve(request).await?;
        let snapshot = resolved.snapshot().await.map_err(|error| format!("{error:#}"))?;
        files(&snapshot).await
    }
}

/// Paths with what is there: a file's content, a link's target behind an arrow, a slash for a directory.
type Files = BTreeMap<String, String>;

async fn files(snapshot: &Snapshot) -> Result<Files, String> {
    let view = snapshot.view().await.map_err(|error| error.to_string())?;
    let mut found = Files::new();
    walk(view.path(), "", &mut found);
    Ok(found)
}

fn walk(root: &Path, below: &str, found: &mut Files) {
    for entry in std::fs::read_dir(root.join(below)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.insert(path.clone(), "/".into());
            walk(root, &path, found);
        } else if kind.is_symlink() {
            found.insert(path, format!("-> {}", std::fs::read_link(entry.path()).unwrap().display()));
        } else {
            found.insert(path, std::fs::read_to_string(entry.path()).unwrap_or_else(|_| "?".into()));
        }
    }
}

fn is(list: &[(&str, &str)]) -> Files {
    list.iter().map(|(path, what)| (path.to_string(), what.to_string())).collect()
}

pub(crate) fn request(identifier: &str, attrs: &[(&str, &str)], sessions: &[Arc<Client>]) -> Request {
    Request {
        identifier: identifier.to_string(),
        attrs: attrs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        platform: ("linux".into(), "amd64".into(), String::new()),
        sessions: sessions.iter().map(|session| session.clone() as Arc<dyn Session>).collect(),
        progress: Arc::new(|_, _, _, _| {}),
        steps: Arc::new(|_, _| {}),
    }
}

/// A client as a test wants it.
#[derive(Default)]
pub(crate) struct Client {
    id: String,
    /// Reached without a wire.
    dirs: HashMap<String, PathBuf>,
    /// Sent over one.
    remote: HashMap<String, PathBuf>,
    login: (String, String),
    token: Option<String>,
    secrets: HashMap<String, Vec<u8>>,
    synced: AtomicUsize,
    asked: Mutex<Vec<String>>,
}

/// A client with an id of its own.
fn client() -> Client {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    Client { id: format!("client-{}", NEXT.fetch_add(1, Ordering::SeqCst)), ..Client::default() }
}

#[async_trait]
impl Session for Client {
    fn id(&self) -> &str {
        &self.id
    }

    fn shared_key(&self) -> &str {
        "shared"
    }

    fn local_dir(&self, name: &str) -> Option<Arc<Dir>> {
        let path = self.dirs.get(name)?;
        Some(Arc::new(Dir::open_ambient_dir(path, cap_std::ambient_authority()).unwrap()))
    }

    async fn sync_dir(
        &self,
        name: &str,
        filter: &Filter,
        dest: PathBuf,
        _: &(dyn Fn(u64, u64) + Sync),
    ) -> anyhow::Result<()> {
        self.synced.fetch_add(1, Ordering::SeqCst);
        let from = self.remote.get(name).or_else(|| self.dirs.get(name));
        let from = from.ok_or_else(|| anyhow::anyhow!("the client shares no directory {name:?}"))?;
        let embedded: session::Dirs = HashMap::from([(
            name.to_string(),
            Arc::new(Dir::open_ambient_dir(from, cap_std::ambient_authority()).unwrap()),
        )]);
        session::Embedded::new(Arc::new(client()), embedded).sync_dir(name, filter, dest, &|_, _| {}).await
    }

    async fn credentials(&self, host: &str) -> anyhow::Result<(String, String)> {
        self.asked.lock().unwrap().push(host.to_string());
        Ok(self.login.clone())
    }

    async fn fetch_token(&self, request: TokenRequest) -> anyhow::Result<Option<Token>> {
        self.asked.lock().unwrap().push(request.scopes.join(" "));
        Ok(self.token.clone().map(|token| Token { token, expires_in: 60 }))
    }

    async fn secret(&self, id: &str) -> anyhow::Result<Option<Vec<u8>>> {
        Ok(self.secrets.get(id).cloned())
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
        _: Vec<session::ExportTree>,
        _: &BTreeMap<String, String>,
        _: &(dyn Fn(u64, u64) + Sync),
    ) -> anyhow::Result<()> {
        anyhow::bail!("takes nothing")
    }

    async fn send_file(&self, _: &str, _: &BTreeMap<String, String>) -> anyhow::Result<Box<dyn FileWriter>> {
        anyhow::bail!("takes nothing")
    }

    async fn pull_upload(&self, _: &str) -> anyhow::Result<Box<dyn tokio::io::AsyncRead + Send + Unpin>> {
        anyhow::bail!("gives nothing")
    }
}

/// A layer: an uncompressed tar of these files.
fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_entry_type(tar::EntryType::Regular);
        builder.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn descriptor(media_type: &str, bytes: &[u8]) -> serde_json::Value {
    serde_json::json!({"mediaType": media_type, "digest": digest_of(bytes), "size": bytes.len()})
}

/// Adds an image of these layers; the descriptor of its manifest.
fn add_image(content: &mut Content, tag: Option<&str>, architecture: &str, layers: &[Vec<u8>]) -> serde_json::Value {
    let diff_ids: Vec<_> = layers.iter().map(|layer| digest_of(layer)).collect();
    let config = serde_json::json!({
        "os": "linux", "architecture": architecture, "config": {"Env": ["A=b"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    add_manifest(content, tag, &config.to_string(), layers)
}

fn add_manifest(content: &mut Content, tag: Option<&str>, config: &str, layers: &[Vec<u8>]) -> serde_json::Value {
    content.blob(config.to_string());
    let layer = |layer: &Vec<u8>| {
        content.blob(layer.clone());
        descriptor("application/vnd.oci.image.layer.v1.tar", layer)
    };
    let layers: Vec<_> = layers.iter().map(layer).collect();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": descriptor(OCI_CONFIG, config.as_bytes()), "layers": layers,
    })
    .to_string();
    content.manifest(tag, OCI_MANIFEST, manifest.clone());
    descriptor(OCI_MANIFEST, manifest.as_bytes())
}

/// Adds an index of these manifests, each for a platform.
fn add_index(content: &mut Content, tag: &str, entries: &[(&str, serde_json::Value)]) -> String {
    let entry = |(architecture, descriptor): &(&str, serde_json::Value)| {
        let mut descriptor = descriptor.clone();
        descriptor["platform"] = serde_json::json!({"os": "linux", "architecture": architecture});
        descriptor
    };
    let manifests: Vec<_> = entries.iter().map(entry).collect();
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests});
    content.manifest(Some(tag), OCI_INDEX, index.to_string())
}

async fn serve(content: Content) -> Server {
    Server::start(move |request| content.answer(request)).await
}
