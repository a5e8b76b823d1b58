//! An OCI image layout as a tar that Docker loads too: blobs by digest, `oci-layout`, `index.json` and `manifest.json`.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use bytes::{Bytes, BytesMut};
use serde::Serialize;
use session::FileWriter;
use tokio::io::AsyncReadExt as _;

use crate::{
    Target,
    assemble::{Image, PlatformImage},
    content::Content,
    documents::{self, Descriptor, Index},
};

/// How much is read of a blob at once, in bytes.
const CHUNK_BYTES: usize = 256 << 10;
const BLOCK_BYTES: u64 = 512;
/// What a name is annotated with in `index.json`: containerd's key for all of it, and OCI's for the tag.
const IMAGE_NAME_KEY: &str = "io.containerd.image.name";
const REF_NAME_KEY: &str = "org.opencontainers.image.ref.name";
const CREATED_KEY: &str = "org.opencontainers.image.created";

/// A file of the layout.
pub(crate) struct File {
    pub(crate) size: u64,
    pub(crate) content: Content,
    mode: u32,
}

/// An entry of Docker's `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

/// The files of a layout by path. `docker` is the image that Docker loads, where it is to.
pub(crate) fn files(
    image: &Image,
    names: &[oci::Reference],
    docker: Option<&PlatformImage>,
) -> Result<BTreeMap<String, File>> {
    let mut files = BTreeMap::new();
    for (digest, (descriptor, content)) in image.blobs() {
        files.insert(blob_path(&digest), File { size: descriptor.size, content, mode: 0o444 });
    }
    let mut add = |path: &str, mode, bytes: Bytes| {
        files.insert(path.to_owned(), File { size: bytes.len() as u64, content: Content::Bytes(bytes), mode });
    };
    add("oci-layout", 0o444, Bytes::from_static(br#"{"imageLayoutVersion":"1.0.0"}"#));
    add("index.json", 0o644, index(image, names)?);
    if let Some(platform) = docker {
        add("manifest.json", 0o644, docker_manifest(platform, names)?);
    }
    Ok(files)
}

fn blob_path(digest: &str) -> String {
    format!("blobs/{}", digest.replacen(':', "/", 1))
}

/// The descriptor of the image with the time that it was made.
pub(crate) fn described(image: &Image) -> Descriptor {
    let mut root = image.root.descriptor.clone();
    if let Some(created) = &image.created {
        root.annotations.entry(CREATED_KEY.to_owned()).or_insert_with(|| created.clone());
    }
    root
}

/// `index.json`: the image under each of its names.
fn index(image: &Image, names: &[oci::Reference]) -> Result<Bytes> {
    let root = described(image);
    let named = |name: &oci::Reference| {
        let mut root = root.clone();
        root.annotations.insert(IMAGE_NAME_KEY.to_owned(), name.to_string());
        root.annotations.insert(REF_NAME_KEY.to_owned(), name.target().to_owned());
        root
    };
    let manifests: Vec<Descriptor> = if names.is_empty() { vec![root] } else { names.iter().map(named).collect() };
    let index = Index {
        schema_version: 2,
        media_type: oci::media_type::OCI_INDEX.to_owned(),
        manifests,
        annotations: BTreeMap::new(),
    };
    Ok(documents::compact(&index)?)
}

fn docker_manifest(image: &PlatformImage, names: &[oci::Reference]) -> Result<Bytes> {
    let entry = DockerImage {
        config: blob_path(&image.config.descriptor.digest),
        repo_tags: names.iter().map(oci::Reference::familiar).collect(),
        layers: image.layers.iter().map(|layer| blob_path(&layer.descriptor.digest)).collect(),
    };
    Ok(documents::compact(&[entry])?)
}

/// Writes the files as a tar, in order of their paths and with no times, so that the same image is the same tar.
pub(crate) async fn write_tar(files: &BTreeMap<String, File>, out: &mut dyn FileWriter, to: &Target) -> Result<()> {
    let total = files.values().map(|file| file.size).sum();
    let mut done = 0;
    for directory in ["blobs/", "blobs/sha256/"] {
        out.write(header(directory, tar::EntryType::Directory, 0o755, 0)?).await?;
    }
    for (path, file) in files {
        out.write(header(path, tar::EntryType::Regular, file.mode, file.size)?).await?;
        copy(file, out, |bytes| {
            done += bytes;
            (to.progress)("sending tarball", "sending tarball", done, total);
        })
        .await
        .with_context(|| format!("write {path}"))?;
    }
    // A tar ends with two empty blocks.
    out.write(Bytes::from(vec![0; 2 * BLOCK_BYTES as usize])).await
}

/// Copies a file, filled up to a whole block.
async fn copy(file: &File, out: &mut dyn FileWriter, mut progress: impl FnMut(u64)) -> Result<()> {
    let mut reader = file.content.open().await?;
    let mut copied = 0;
    loop {
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
        let count = reader.read_buf(&mut chunk).await? as u64;
        if count == 0 {
            break;
        }
        copied += count;
        ensure!(copied <= file.size, "it is longer than {} bytes", file.size);
        out.write(chunk.freeze()).await?;
        progress(count);
    }
    ensure!(copied == file.size, "it ends after {copied} of {} bytes", file.size);
    let rest = copied.next_multiple_of(BLOCK_BYTES) - copied;
    if rest > 0 { out.write(Bytes::from(vec![0; rest as usize])).await } else { Ok(()) }
}

fn header(path: &str, kind: tar::EntryType, mode: u32, size: u64) -> Result<Bytes> {
    let mut header = tar::Header::new_ustar();
    header.set_path(path)?;
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    Ok(Bytes::copy_from_slice(header.as_bytes()))
}
