//! `image` and `registry`: an image in the engine's store under its names, and pushed where that is asked for.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use store::{Blob, Keep, Snapshot, Store};

use crate::{
    Built, Exporter, Registries, Target,
    assemble::{Image as Assembled, assemble},
    attrs::{self, Attrs, flag},
    documents::Document,
    options::{self, ImageOptions},
    push::{self, PushOptions},
};

/// The last but one is spelled as BuildKit spells it.
const OWN: &[&str] = &[
    "push",
    "push-by-digest",
    "registry.insecure",
    "unpack",
    "store",
    "dangling-name-prefix",
    "danging-name-empty-only",
    "name-canonical",
];

pub(crate) struct Image {
    store: Store,
    registries: Registries,
    names: &'static [&'static str],
    push_by_default: bool,
}

impl Image {
    /// Pushes when it is told to.
    pub(crate) fn stored(store: Store, registries: Registries) -> Self {
        Image { store, registries, names: &["image"], push_by_default: false }
    }

    /// Pushes unless it is told not to.
    pub(crate) fn pushed(store: Store, registries: Registries) -> Self {
        Image { store, registries, names: &["registry"], push_by_default: true }
    }
}

/// What is done with the image.
struct Options {
    image: ImageOptions,
    push: bool,
    push_options: PushOptions,
    store: bool,
    dangling_prefix: Option<String>,
    dangling_empty_only: bool,
}

impl Options {
    fn parse(attrs: &Attrs, push_by_default: bool) -> Result<Self> {
        let is = |name: &str| flag(attrs, name).map(|value| value.unwrap_or(false));
        let options = Options {
            image: ImageOptions::parse(attrs)?,
            push: flag(attrs, "push")?.unwrap_or(push_by_default),
            push_options: PushOptions { by_digest: is("push-by-digest")?, insecure: is("registry.insecure")? },
            store: flag(attrs, "store")?.unwrap_or(true),
            dangling_prefix: attrs.get("dangling-name-prefix").filter(|prefix| !prefix.is_empty()).cloned(),
            dangling_empty_only: is("danging-name-empty-only")?,
        };
        // Results are unpacked anyway; the word is taken, and so is what contradicts it.
        if is("unpack")? && options.image.rewrite_timestamp {
            bail!("rewrite-timestamp and unpack exclude each other");
        }
        is("name-canonical")?;
        if options.push && options.image.names.is_empty() && options.dangling_prefix.is_none() {
            bail!("push needs a name");
        }
        Ok(options)
    }

    /// All names: the user's, and the one of an image without.
    fn names(&self, what: &Built, digest: &str) -> Result<Vec<String>> {
        let mut names = resolve_names(&self.image.names, what)?;
        if let Some(prefix) = &self.dangling_prefix
            && (!self.dangling_empty_only || names.is_empty())
        {
            names.push(format!("{prefix}@{digest}"));
        }
        Ok(names)
    }
}

/// The user's names; `*` is the name that the frontend gives.
pub(crate) fn resolve_names(names: &[String], what: &Built) -> Result<Vec<String>> {
    if names != ["*"] {
        return Ok(names.to_vec());
    }
    match what.metadata.get("image.name") {
        Some(given) => Ok(options::names(&String::from_utf8_lossy(given))),
        None => bail!("name=* takes the frontend's name for the image, and it gave none"),
    }
}

#[async_trait]
impl Exporter for Image {
    fn names(&self) -> &'static [&'static str] {
        self.names
    }

    fn check(&self, attrs: &Attrs) -> Result<()> {
        Options::parse(attrs, self.push_by_default).map(drop)
    }

    fn ignored(&self, attrs: &Attrs) -> Vec<String> {
        attrs::ignored(attrs, &[options::IMAGE, options::METADATA, OWN])
    }

    async fn export(&self, what: &Built, to: &Target) -> Result<BTreeMap<String, String>> {
        let options = Options::parse(&to.attrs, self.push_by_default)?;
        let image = assemble(what, &options.image, to, true).await?;
        let names = options.names(what, &image.root.descriptor.digest)?;
        let references = names.iter().map(|name| name.parse()).collect::<Result<Vec<oci::Reference>, _>>()?;
        let mut response = image.response()?;
        if !names.is_empty() {
            response.insert("image.name".to_owned(), names.join(","));
        }
        if options.store {
            self.keep(what, &image, &references).await?;
            for name in &references {
                to.step(&format!("naming to {name}"), std::future::ready(())).await;
            }
        }
        if options.push {
            let client = (self.registries)(to.session.as_slice());
            for name in &references {
                push::push(&image, name, options.push_options, &client, to)
                    .await
                    .with_context(|| format!("push {name}"))?;
            }
        }
        Ok(response)
    }
}

impl Image {
    /// Puts manifests and configs into the store, where the layers are, and keeps all of it under each name.
    async fn keep(&self, what: &Built, image: &Assembled, names: &[oci::Reference]) -> Result<()> {
        let pins = put_documents(&self.store, image).await?;
        let snapshots: Vec<Snapshot> = what.refs.iter().filter_map(|(_, snapshot)| snapshot.clone()).collect();
        let (store, names) = (self.store.clone(), names.to_vec());
        let root = image.root.descriptor.digest.clone();
        let keep = move || {
            let blobs: Vec<String> = pins.keys().cloned().collect();
            names.iter().try_for_each(|name| {
                let description = format!("image {name}");
                let keep =
                    Keep { description: &description, snapshots: &snapshots, blobs: &blobs, note: root.as_bytes() };
                store.keep(&name.record_key(), keep)
            })
        };
        Ok(tokio::task::spawn_blocking(keep).await??)
    }
}

/// Puts the image's manifests and configs into the store, where its layers are; they are held by digest.
pub(crate) async fn put_documents(store: &Store, image: &Assembled) -> Result<BTreeMap<String, Blob>> {
    let mut held = BTreeMap::new();
    for document in image.documents() {
        held.insert(document.descriptor.digest.clone(), put(store, document).await?);
    }
    Ok(held)
}

async fn put(store: &Store, document: &Document) -> Result<Blob> {
    let descriptor = store::Descriptor {
        media_type: document.descriptor.media_type.clone(),
        digest: document.descriptor.digest.clone(),
        size: document.descriptor.size,
        annotations: BTreeMap::new(),
    };
    store.put_blob(&descriptor, document.bytes.clone()).await?;
    let blob = store.pin_blob(&descriptor.digest)?;
    blob.with_context(|| format!("blob {} was deleted right after it was written", descriptor.digest))
}
