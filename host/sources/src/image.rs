//! `docker-image://NAME`: an image of a registry.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use anyhow::bail;
use async_trait::async_trait;
use bytes::Bytes;
use oci::{Kind, Manifest, Platform, Reference, Repository};
use session::Session;
use store::Store;
use tokio::sync::OnceCell;

use crate::{
    Registries, Request, Resolved, Source,
    attrs::{Attrs, after_scheme},
    manifests::{self, Image, Names, Origin, ResolvedImage},
};

/// Images of registries.
pub struct ImageSource {
    store: Store,
    registries: Arc<Registries>,
    seen: Mutex<HashMap<SeenKey, Seen>>,
}

/// A build, by its clients, and what it asked for. Within a build a tag means one thing.
type SeenKey = (Vec<String>, Reference, Platform, Mode);

/// What a build's clients were answered; forgotten when they are gone.
struct Seen {
    clients: Vec<Weak<dyn Session>>,
    image: Arc<OnceCell<Image>>,
}

/// Where a tag is looked up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Mode {
    /// At the registry; where that cannot be asked, what it said last.
    Default,
    /// At the registry.
    Pull,
    /// What was known last; else at the registry.
    Local,
}

impl ImageSource {
    /// Images that are pulled into `store`.
    pub fn new(store: Store, registries: Arc<Registries>) -> ImageSource {
        ImageSource { store, registries, seen: Mutex::default() }
    }

    /// The cell that holds this build's answer.
    fn cell(&self, request: &Request, reference: &Reference, platform: &Platform, mode: Mode) -> Arc<OnceCell<Image>> {
        if request.sessions.is_empty() {
            // No telling which build this is.
            return Arc::default();
        }
        let ids = request.sessions.iter().map(|session| session.id().to_string()).collect();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, seen| seen.clients.iter().any(|client| client.strong_count() > 0));
        let make = || Seen { clients: request.sessions.iter().map(Arc::downgrade).collect(), image: Arc::default() };
        seen.entry((ids, reference.clone(), platform.clone(), mode)).or_insert_with(make).image.clone()
    }

    async fn find(
        &self,
        request: &Request,
        reference: &Reference,
        platform: &Platform,
        mode: Mode,
    ) -> anyhow::Result<Image> {
        let repository = self.registries.client(&request.sessions).repository(reference);
        let origin = RegistryOrigin { repository };
        let name = reference.to_string();
        let read = async |root: &str| manifests::read(&self.store, &origin, &name, root, platform).await;
        if let Some(digest) = reference.digest() {
            return read(digest).await;
        }
        let known = self.last_known(reference)?;
        if let (Mode::Local, Some(known)) = (mode, &known)
            && let Ok(image) = read(known).await
        {
            return Ok(image);
        }
        let root = match origin.digest(&self.store, reference).await {
            Ok(digest) => digest,
            Err(error) => match known.clone().filter(|_| mode == Mode::Default && cannot_ask(&error)) {
                Some(known) => {
                    tracing::warn!("{error:#}; taking {known}, which it was last");
                    known
                }
                None => return Err(error),
            },
        };
        let image = read(&root).await?;
        if known.as_ref() != Some(&root) {
            self.store.write(vec![(reference.record_key().into_bytes(), Some(root.into_bytes()))])?;
        }
        Ok(image)
    }

    /// The digest that the tag had last, here or at the registry.
    fn last_known(&self, reference: &Reference) -> anyhow::Result<Option<String>> {
        let value = self.store.get(reference.record_key().as_bytes())?;
        Ok(value.and_then(|value| String::from_utf8(value).ok()).filter(|digest| oci::is_digest(digest)))
    }
}

/// Whether the registry did not answer the question, rather than with a no.
fn cannot_ask(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<oci::Error>().map(|error| &error.kind);
    matches!(
        kind,
        Some(
            Kind::Offline
                | Kind::Unreachable { .. }
                | Kind::Server { .. }
                | Kind::TooManyRequests { .. }
                | Kind::Truncated { .. }
        )
    )
}

struct RegistryOrigin {
    repository: Repository,
}

impl RegistryOrigin {
    /// What the tag means now. Asked without the bytes first: registries count that less, and they may be here.
    async fn digest(&self, store: &Store, reference: &Reference) -> anyhow::Result<String> {
        if let Some(head) = self.repository.head_manifest(reference.target()).await? {
            return Ok(head.digest);
        }
        let manifest = self.repository.manifest(reference.target()).await?;
        manifests::keep(store, &manifest.digest, &manifest.media_type, manifest.bytes.clone()).await?;
        Ok(manifest.digest)
    }
}

#[async_trait]
impl Origin for RegistryOrigin {
    async fn manifest(&self, digest: &str) -> anyhow::Result<Manifest> {
        Ok(self.repository.manifest(digest).await?)
    }

    async fn config(&self, digest: &str, limit: u64) -> anyhow::Result<Bytes> {
        Ok(self.repository.small_blob(digest, limit).await?)
    }
}

fn mode(attrs: &Attrs<'_>) -> anyhow::Result<Mode> {
    Ok(match attrs.text("image.resolvemode").unwrap_or("default") {
        "default" => Mode::Default,
        "pull" => Mode::Pull,
        "local" => Mode::Local,
        other => bail!("source attribute image.resolvemode is {other:?}: want default, pull or local"),
    })
}

#[async_trait]
impl Source for ImageSource {
    fn schemes(&self) -> &'static [&'static str] {
        &["docker-image"]
    }

    async fn resolve(&self, request: &Request) -> anyhow::Result<Box<dyn Resolved>> {
        let attrs = Attrs(&request.attrs);
        let reference: Reference = after_scheme(&request.identifier).parse()?;
        let platform = manifests::platform(request);
        let mode = mode(&attrs)?;
        let limit = attrs.parsed("image.layerlimit", "a number of layers")?;
        let cell = self.cell(request, &reference, &platform, mode);
        let shown = format!("resolve {reference}");
        (request.steps)(&shown, false);
        let image = cell.get_or_try_init(|| self.find(request, &reference, &platform, mode)).await?.clone();
        if let Some(want) = attrs.text("image.checksum").filter(|want| *want != image.root) {
            bail!("{reference}: is {}, but its checksum was to be {want}", image.root);
        }
        (request.steps)(&shown, true);
        let pinned = reference.with_digest(&image.root);
        let names = Names { pinned: format!("docker-image://{pinned}"), reference: pinned.to_string() };
        let provider = self.registries.provider(&reference, &request.sessions);
        let image = image.limited(limit);
        Ok(Box::new(ResolvedImage::new(&self.store, image, names, provider, request)?))
    }
}
