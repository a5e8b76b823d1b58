//! Frontends in a tar archive: an OCI layout, in which each manifest has its name as an annotation.

use std::{collections::BTreeSet, fs::File};

use anyhow::{Context, ensure};
use build::{BUNDLE_NAME, BUNDLE_SIGNATURES, BUNDLE_SIGNED};
use frontend::{Entry, Library};
use oci::{Reference, media_type};
use serde_json::json;

use super::{Load, Save};

pub fn save(save: &Save, library: &Library) -> anyhow::Result<()> {
    let entries: Vec<Entry> = match save.names.is_empty() {
        true => library.entries()?.into_iter().filter(|entry| !entry.is_image()).collect(),
        false => save.names.iter().map(|name| wanted(library, name)).collect::<anyhow::Result<_>>()?,
    };
    ensure!(!entries.is_empty(), "no frontend was fetched yet: there is nothing to save");
    let shown = save.output.display();
    let file = File::create(&save.output).with_context(|| format!("create {shown}"))?;
    let mut archive = tar::Builder::new(std::io::BufWriter::new(file));
    write(&mut archive, &entries, library)
        .and_then(|()| Ok(archive.into_inner()?.into_inner().map_err(|error| error.into_error())?.sync_all()?))
        .with_context(|| format!("write {shown}"))?;
    for entry in entries {
        println!("{}", entry.name);
    }
    Ok(())
}

fn wanted(library: &Library, name: &Reference) -> anyhow::Result<Entry> {
    let entry = library.find(&name.to_string());
    let entry = entry.with_context(|| format!("{name}: not fetched yet: run pintle frontend pull {name}"))?;
    ensure!(
        !entry.is_image(),
        "{name}: is an image, not a component: carry it as images are carried, through a registry"
    );
    Ok(entry)
}

fn write(archive: &mut tar::Builder<impl std::io::Write>, entries: &[Entry], library: &Library) -> anyhow::Result<()> {
    append(archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let mut written = BTreeSet::new();
    let mut manifests = Vec::new();
    for entry in entries {
        for digest in [&entry.manifest, &entry.config, &entry.component] {
            let path = library.blob(digest).with_context(|| format!("{}: {digest} is gone", entry.name))?;
            let bytes = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            if digest == &entry.manifest {
                manifests.push(json!({
                    "mediaType": media_type::OCI_MANIFEST, "digest": digest, "size": bytes.len(), "annotations": { BUNDLE_NAME: entry.name },
                }));
            }
            if written.insert(digest.clone()) {
                append(archive, &path_of(digest), &bytes)?;
            }
        }
    }
    let signed: BTreeSet<_> = entries.iter().map(|entry| &entry.manifest).collect();
    for manifest in signed {
        let Some(bytes) = library.signatures(manifest) else { continue };
        let digest = oci::digest_of(&bytes);
        manifests.push(json!({
            "mediaType": BUNDLE_SIGNATURES, "digest": digest, "size": bytes.len(), "annotations": { BUNDLE_SIGNED: manifest },
        }));
        if written.insert(digest.clone()) {
            append(archive, &path_of(&digest), &bytes)?;
        }
    }
    let index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": manifests });
    append(archive, "index.json", &serde_json::to_vec(&index)?)
}

/// Where a blob is in a layout.
fn path_of(digest: &str) -> String {
    format!("blobs/{}", digest.replacen(':', "/", 1))
}

fn append(archive: &mut tar::Builder<impl std::io::Write>, path: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    Ok(archive.append_data(&mut header, path, bytes)?)
}

pub async fn load(load: &Load, library: &Library) -> anyhow::Result<()> {
    let shown = load.input.display().to_string();
    let names = match load.input.is_dir() {
        true => build::load_bundle_dir(&load.input, library).await,
        false => {
            let file = File::open(&load.input).with_context(|| format!("open {shown}"))?;
            build::load_bundle(file, library).await
        }
    };
    names.with_context(|| shown)?.iter().for_each(|name| println!("{name}"));
    Ok(())
}
