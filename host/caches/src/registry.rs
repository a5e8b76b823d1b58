//! `registry`: a cache under a name of its own in a registry; or in an image there, written by `inline`.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use bytes::Bytes;
use exporters::{
    attrs::{flag, refuse_unknown},
    content::Content,
    documents::{Descriptor, Document},
    push_blob,
};
use futures::{StreamExt as _, TryStreamExt as _};
use oci::{Manifest, Reference, Repository};
use sources::Registries;
use store::LayerBlob;

use crate::{
    Attrs, Backend, Export, Found, Party,
    find::{Blobs, find},
    manifest, options,
    write::Written,
};

const EXPORT: &[&str] = &["ref", "registry.insecure"];
/// Compression and mode are of no use to who reads, but tools pass the same attributes both ways.
const IMPORT: &[&str] = &["ref", "registry.insecure", "mode", "compression*", "force-compression", "ignore-error"];
/// How many blobs are under way at once.
const BLOBS_AT_ONCE: usize = 4;

pub(crate) struct Registry {
    registries: Arc<Registries>,
}

impl Registry {
    pub(crate) fn new(registries: Arc<Registries>) -> Self {
        Registry { registries }
    }

    fn repository(&self, attrs: &Attrs, party: &Party) -> Result<(Reference, Repository, bool)> {
        let reference: Reference = options::required(attrs, "registry", "ref")?.parse()?;
        let insecure = flag(attrs, "registry.insecure")?.unwrap_or(false);
        let repository = self.registries.client(&party.sessions).repository(&reference).insecure(insecure);
        Ok((reference, repository, insecure))
    }
}

#[async_trait]
impl Backend for Registry {
    fn name(&self) -> &'static str {
        "registry"
    }

    fn check_export(&self, attrs: &Attrs) -> Result<Export> {
        options::required(attrs, "registry", "ref")?.parse::<Reference>()?;
        flag(attrs, "registry.insecure")?;
        options::manifest(attrs)?;
        options::export(attrs, &[EXPORT, options::MANIFEST])
    }

    fn check_import(&self, attrs: &Attrs) -> Result<String> {
        refuse_unknown(attrs, &[IMPORT, options::MANIFEST])?;
        flag(attrs, "registry.insecure")?;
        Ok(options::required(attrs, "registry", "ref")?.parse::<Reference>()?.to_string())
    }

    async fn export(&self, cache: &Written, attrs: &Attrs, party: &Party) -> Result<BTreeMap<String, String>> {
        let (reference, repository, _) = self.repository(attrs, party)?;
        let documents = manifest::documents(cache, options::manifest(attrs)?)?;
        let told = party.writing("layer");
        let push = |(descriptor, layer): &(Descriptor, LayerBlob)| {
            push_blob(&repository, descriptor.clone(), Content::Layer(layer.clone()), &told)
        };
        let layers: Vec<_> = documents.layers.iter().map(push).collect();
        futures::stream::iter(layers).buffer_unordered(BLOBS_AT_ONCE).try_collect::<()>().await?;
        let Document { descriptor, bytes } = &documents.config;
        push_blob(&repository, descriptor.clone(), Content::Bytes(bytes.clone()), &party.writing("config")).await?;
        let Document { descriptor, bytes } = &documents.manifest;
        let target = reference.digest().map_or(reference.target(), |_| descriptor.digest.as_str());
        let manifest = Manifest::new(bytes.clone(), &descriptor.media_type);
        repository.put_manifest(target, &manifest).await?;
        (party.writing("cache manifest"))(&descriptor.digest, "", descriptor.size, descriptor.size);
        documents.response()
    }

    async fn import(&self, attrs: &Attrs, party: &Party) -> Result<Vec<Found>> {
        let (reference, repository, insecure) = self.repository(attrs, party)?;
        let provider = self.registries.cache_provider(&reference, &party.sessions, insecure);
        let root = repository.manifest(reference.target()).await?;
        find(&repository, root.bytes, provider).await.with_context(|| reference.to_string())
    }
}

#[async_trait]
impl Blobs for Repository {
    async fn manifest(&self, digest: &str) -> Result<Bytes> {
        Ok(Repository::manifest(self, digest).await?.bytes)
    }

    async fn blob(&self, digest: &str, limit: u64) -> Result<Bytes> {
        Ok(self.small_blob(digest, limit).await?)
    }
}
