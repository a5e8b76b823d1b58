//! Signatures where they lie: beside what they sign, in a registry or an OCI layout.

use anyhow::bail;
use async_trait::async_trait;
use oci::{Document, Error, Manifest, Repository, oci_spec::image::Descriptor};
use signatures::{BYTES_MAX, SIGNATURES_MAX, Signature};
use sources::Layout;

use super::Blobs;

/// The annotation by which cosign marks, in the layouts that it saves, what it made.
const KIND: &str = "kind";
/// What that says of signatures.
const SIGNATURES: &str = "dev.cosignproject.cosign/sigs";

/// Where things lie that may be signed.
#[async_trait]
pub trait Signed: Blobs {
    /// What lies beside the manifest of this digest, and may be signatures of it.
    async fn beside(&self, digest: &str) -> anyhow::Result<Vec<Manifest>>;
}

#[async_trait]
impl Signed for Repository {
    async fn beside(&self, digest: &str) -> anyhow::Result<Vec<Manifest>> {
        let mut manifests = match Repository::manifest(self, &tag(digest)).await {
            Ok(manifest) => vec![manifest],
            Err(error) if Error::is_not_found(&error) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        for descriptor in self.referrers(digest).await?.iter().filter(may_sign).take(SIGNATURES_MAX) {
            manifests.push(Repository::manifest(self, descriptor.digest().as_ref()).await?);
        }
        Ok(manifests)
    }
}

#[async_trait]
impl Signed for Layout {
    async fn beside(&self, digest: &str) -> anyhow::Result<Vec<Manifest>> {
        let mut manifests = Vec::new();
        for descriptor in self.entries().await?.iter().filter(|entry| has_tag(entry, &tag(digest)) || may_sign(entry)) {
            if manifests.len() == SIGNATURES_MAX {
                break;
            }
            let manifest = Layout::manifest(self, descriptor.digest().as_ref()).await?;
            if is_about(&manifest, descriptor, digest) {
                manifests.push(manifest);
            }
        }
        Ok(manifests)
    }
}

/// The tag under which cosign lays signatures.
fn tag(digest: &str) -> String {
    format!("{}.sig", digest.replacen(':', "-", 1))
}

fn annotation<'a>(descriptor: &'a Descriptor, name: &str) -> Option<&'a str> {
    descriptor.annotations().as_ref()?.get(name).map(String::as_str)
}

fn has_tag(descriptor: &Descriptor, tag: &str) -> bool {
    let name = annotation(descriptor, "org.opencontainers.image.ref.name");
    name.is_some_and(|name| name == tag || name.rsplit(':').next() == Some(tag))
}

/// Whether this may be signatures, as far as its descriptor tells.
fn may_sign(descriptor: &&Descriptor) -> bool {
    let kind = descriptor.artifact_type().as_ref().map(|kind| kind.to_string());
    annotation(descriptor, KIND) == Some(SIGNATURES) || kind.is_some_and(|kind| Signature::is_artifact(&kind))
}

/// Whether an entry of a layout, where all lies side by side, is about the manifest of this digest. Payloads say it themselves.
fn is_about(manifest: &Manifest, descriptor: &Descriptor, digest: &str) -> bool {
    let Ok(Document::Image(image)) = manifest.parse() else { return false };
    match image.subject() {
        Some(subject) => subject.digest().as_ref() == digest,
        None => has_tag(descriptor, &tag(digest)) || annotation(descriptor, KIND) == Some(SIGNATURES),
    }
}

/// The signatures that lie beside the manifest of this digest; none where nobody signed.
pub async fn signatures(from: &dyn Signed, digest: &str) -> anyhow::Result<Vec<Signature>> {
    let mut found = Vec::new();
    for manifest in from.beside(digest).await? {
        let Document::Image(artifact) = manifest.parse()? else {
            bail!("the signatures of {digest} in {} are an index", manifest.digest)
        };
        for layer in artifact.layers().iter().filter(|layer| Signature::is_layer(layer.media_type().as_ref())) {
            if found.len() == SIGNATURES_MAX {
                return Ok(found);
            }
            if layer.size() > BYTES_MAX {
                bail!("a signature of {digest} has {} bytes; {BYTES_MAX} are allowed", layer.size());
            }
            let blob = from.blob(layer.digest().as_ref(), BYTES_MAX).await?;
            let annotations = layer.annotations().clone().unwrap_or_default();
            found.extend(Signature::of_layer(layer.media_type().as_ref(), &annotations, &blob));
        }
    }
    Ok(found)
}
