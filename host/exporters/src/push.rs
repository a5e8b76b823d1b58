//! Pushing an image: blobs first, several at once, then manifests, then what they hang on.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use oci::{Manifest, Pushed, Reference, Repository};

use crate::{
    Progress, Target,
    assemble::Image,
    content::Content,
    documents::{Descriptor, Document},
};

/// How many blobs are under way at once.
const BLOBS_AT_ONCE: usize = 4;
/// What the locators of providers begin with that read from a registry.
const REGISTRY_LOCATORS: [&str; 2] = ["registry:", "registry-cache:"];

/// How an image is pushed.
#[derive(Clone, Copy)]
pub(crate) struct PushOptions {
    /// Under its digest alone, without a tag.
    pub(crate) by_digest: bool,
    /// Any certificate, and plain http.
    pub(crate) insecure: bool,
}

/// Pushes `image` under `name`.
pub(crate) async fn push(
    image: &Image,
    name: &Reference,
    options: PushOptions,
    client: &oci::Client,
    to: &Target,
) -> Result<()> {
    let repository = client.repository(name).insecure(options.insecure);
    let target = target(image, name, options)?;
    let manifests: Vec<&Document> = image.manifests().collect();
    let is_manifest = |digest: &str| {
        digest == image.root.descriptor.digest || manifests.iter().any(|own| own.descriptor.digest == digest)
    };
    let blobs = image.blobs().into_values().filter(|(descriptor, _)| !is_manifest(&descriptor.digest));
    let pushes = blobs.map(|(descriptor, content)| push_blob(&repository, descriptor, content, &to.progress));
    let pushes = futures::stream::iter(pushes).buffer_unordered(BLOBS_AT_ONCE).try_collect::<()>();
    to.step("pushing layers", pushes).await?;
    let manifests = async {
        if image.is_index() {
            for manifest in manifests {
                repository.put_manifest(&manifest.descriptor.digest, &as_manifest(manifest)).await?;
            }
        }
        Ok(repository.put_manifest(&target, &as_manifest(&image.root)).await?)
    };
    let plain = name.to_string();
    let named = plain.split('@').next().unwrap_or_default();
    to.step(&format!("pushing manifest for {named}@{}", image.root.descriptor.digest), manifests).await
}

/// What the root is put under: a tag, or its digest.
fn target(image: &Image, name: &Reference, options: PushOptions) -> Result<String> {
    let digest = &image.root.descriptor.digest;
    match name.digest() {
        Some(other) if other != digest => bail!("cannot push {digest} as {name}: it has another digest"),
        Some(_) => Ok(digest.clone()),
        None if options.by_digest => Ok(digest.clone()),
        None => Ok(name.target().to_owned()),
    }
}

fn as_manifest(document: &Document) -> Manifest {
    Manifest::new(document.bytes.clone(), &document.descriptor.media_type)
}

/// Pushes a blob where it is not there yet; from another repository of the same registry it is mounted.
pub async fn push_blob(
    repository: &Repository,
    descriptor: Descriptor,
    content: Content,
    progress: &Progress,
) -> Result<()> {
    let Descriptor { digest, size, .. } = descriptor;
    let kind = if matches!(content, Content::Layer(_)) { "layer" } else { "config" };
    let name = format!("pushing {kind} {digest}");
    let report: Arc<dyn Fn(u64) + Send + Sync> = {
        let (progress, digest, name) = (progress.clone(), digest.clone(), name.clone());
        Arc::new(move |done| progress(&digest, &name, done, size))
    };
    let origin = origin(&content, repository.reference());
    let from: Vec<&str> = origin.as_deref().into_iter().collect();
    let pushed = repository.push_blob(&digest, size, &content, &from, report.clone()).await;
    let pushed = pushed.with_context(|| format!("push {kind} {digest}"))?;
    if pushed != Pushed::Uploaded {
        report(size);
    }
    Ok(())
}

/// The repository of the same registry that a layer came from.
fn origin(content: &Content, to: &Reference) -> Option<String> {
    let Content::Layer(layer) = content else { return None };
    let locator = layer.provider.as_ref()?.locator();
    let name = REGISTRY_LOCATORS.iter().find_map(|prefix| locator.strip_prefix(prefix))?;
    let from: Reference = name.parse().ok()?;
    (from.registry() == to.registry()).then(|| from.repository().to_owned())
}
