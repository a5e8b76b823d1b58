//! Frontends that are carried to a machine: OCI layouts, as archives or directories, in which each manifest has its name as an annotation.
//! Signatures that were kept for a manifest come as entries of a type of their own, and are looked at when they are needed.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read},
    path::Path,
};

use anyhow::{Context, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use frontend::Library;
use oci::{MANIFEST_BYTES_MAX, Manifest, Reference};
use serde_json::Value;
use signatures::Signature;
use sources::Layout;

use super::fetch::{Blobs, component};

/// The annotation that names a manifest: what containerd and others use for complete names.
pub const BUNDLE_NAME: &str = "io.containerd.image.name";
/// The type of an entry that is signatures, as the library keeps them.
pub const BUNDLE_SIGNATURES: &str = "application/vnd.pintle.signatures.v1+json";
/// The annotation of such an entry that names the digest of the manifest.
pub const BUNDLE_SIGNED: &str = "vnd.pintle.signed";
/// The most files of an archive.
const FILES_MAX: usize = 10_000;
/// The most bytes of all blobs of an archive together.
const BYTES_MAX: u64 = 4 << 30;
/// The most entries of a bundle: frontends, and their signatures.
const ENTRIES_MAX: usize = 2000;

/// Takes in the frontends of an archive, and answers their names.
///
/// # Errors
/// An archive that is none, or lacks something; those before it are taken in then.
pub async fn load_bundle(archive: impl Read + Send + 'static, library: &Library) -> anyhow::Result<Vec<String>> {
    let read = tokio::task::spawn_blocking(move || read(archive)).await?;
    let archive =
        Archive(read.map_err(|error| match error.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
            // What is wrong with a header is told with its bytes, which say nothing to people.
            Some(ErrorKind::Other) => anyhow::anyhow!("it is no archive of save"),
            _ => error.context("it is no archive of save"),
        })?);
    let index = archive.0.get("index.json").context("no index.json: is it an archive of save?")?.clone();
    take_in(&index, &archive, library).await
}

/// As [`load_bundle`], for a directory.
///
/// # Errors
/// Likewise.
pub async fn load_bundle_dir(dir: &Path, library: &Library) -> anyhow::Result<Vec<String>> {
    let layout = Layout::open(dir)?;
    let index = layout.index_bytes().await?;
    take_in(&index, &layout, library).await
}

async fn take_in(index: &[u8], from: &dyn Blobs, library: &Library) -> anyhow::Result<Vec<String>> {
    let index: Value = serde_json::from_slice(index).context("index.json")?;
    let manifests = index["manifests"].as_array().context("index.json has no manifests")?;
    ensure!(manifests.len() <= ENTRIES_MAX, "it has {} entries; {ENTRIES_MAX} are allowed", manifests.len());
    let mut names = Vec::new();
    for descriptor in manifests {
        let digest = descriptor["digest"].as_str().unwrap_or_default();
        if descriptor["mediaType"] == BUNDLE_SIGNATURES {
            let signed = descriptor["annotations"][BUNDLE_SIGNED].as_str().unwrap_or_default();
            keep_signatures(signed, digest, from, library)
                .await
                .with_context(|| format!("signatures of {signed:?}"))?;
            continue;
        }
        let name = descriptor["annotations"][BUNDLE_NAME].as_str();
        let name = name.with_context(|| format!("{digest:?} has no annotation {BUNDLE_NAME}"))?;
        let name: Reference = name.parse().with_context(|| format!("annotation {BUNDLE_NAME} of {digest:?}"))?;
        let name = name.to_string();
        note(&name, digest, from, library).await.with_context(|| name.clone())?;
        names.push(name);
    }
    Ok(names)
}

async fn keep_signatures(signed: &str, digest: &str, from: &dyn Blobs, library: &Library) -> anyhow::Result<()> {
    let bytes = from.blob(digest, Library::SIGNATURES_BYTES_MAX).await?;
    let _: Vec<Signature> = serde_json::from_slice(&bytes)?;
    library.keep_signatures(signed, &bytes)
}

async fn note(name: &str, digest: &str, from: &dyn Blobs, library: &Library) -> anyhow::Result<()> {
    let packed = component(from, from.manifest(digest).await?).await?;
    let packed = packed.with_context(|| format!("{digest} is an image of a file system"))?;
    frontend::check(&packed.component, name)?;
    packed.note(name.to_owned(), library).await.map(drop)
}

/// The files of an archive, by path.
struct Archive(BTreeMap<String, Bytes>);

fn read(archive: impl Read) -> anyhow::Result<BTreeMap<String, Bytes>> {
    let mut files = BTreeMap::new();
    let mut left = BYTES_MAX;
    for entry in tar::Archive::new(std::io::BufReader::new(archive)).entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
        ensure!(entry.size() <= left, "it has more than {BYTES_MAX} bytes");
        ensure!(files.len() < FILES_MAX, "it has more than {FILES_MAX} files");
        left -= entry.size();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        files.insert(path, bytes.into());
    }
    Ok(files)
}

#[async_trait]
impl Blobs for Archive {
    async fn manifest(&self, digest: &str) -> anyhow::Result<Manifest> {
        Ok(Manifest::new(self.blob(digest, MANIFEST_BYTES_MAX).await?, ""))
    }

    async fn blob(&self, digest: &str, limit: u64) -> anyhow::Result<Bytes> {
        let path = format!("blobs/{}", digest.replacen(':', "/", 1));
        let bytes = self.0.get(&path).with_context(|| format!("no {path}"))?;
        ensure!(bytes.len() as u64 <= limit, "{path} has {} bytes; {limit} are allowed", bytes.len());
        let is = oci::digest_of(bytes);
        ensure!(is == digest, "{path} is {is}");
        Ok(bytes.clone())
    }
}
