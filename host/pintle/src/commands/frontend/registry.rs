//! Frontends to and from a registry.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context, bail};
use build::{Fetched, Freshness};
use bytes::Bytes;
use frontend::Library;
use oci::{Anonymous, Client, Reference, Repository, wasm};

use super::Push;
use crate::{commands::build::credentials, embedded::Place};

/// A repository, reached with the logins of the docker config.
pub fn repository(reference: &Reference, place: &Place) -> Repository {
    let credentials = credentials().unwrap_or_else(|| Arc::new(Anonymous));
    Client::new(place.config.registries(), credentials).repository(reference)
}

pub async fn push(push: Push, place: &Place) -> anyhow::Result<()> {
    let target = match (push.name.tag(), push.name.digest()) {
        (Some(tag), None) => tag,
        _ => bail!("{}: a frontend is pushed under a tag, without a digest", push.name),
    };
    let shown = push.file.display();
    let component = Bytes::from(std::fs::read(&push.file).with_context(|| format!("read {shown}"))?);
    frontend::check(&component, &shown.to_string())?;
    let interfaces = frontend::interfaces(&component).with_context(|| format!("{shown}: no component"))?;
    let annotations: BTreeMap<_, _> = push.annotations.iter().map(|text| annotation(text)).collect::<Result<_, _>>()?;
    let packed = wasm::pack(component, &names(&interfaces.imports), &names(&interfaces.exports), &annotations)?;
    let repository = repository(&push.name, place);
    for blob in [&packed.config, &packed.component] {
        let digest = oci::digest_of(blob);
        repository.push_blob(&digest, blob.len() as u64, blob, &[], Arc::new(|_| {})).await?;
    }
    repository.put_manifest(target, &packed.manifest).await?;
    println!("{}", push.name.with_digest(&packed.manifest.digest));
    Ok(())
}

fn names(interfaces: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    interfaces.keys().cloned().collect()
}

fn annotation(text: &str) -> anyhow::Result<(String, String)> {
    let (key, value) = text.split_once('=').with_context(|| format!("--annotation {text:?}: want KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

pub async fn pull(reference: &Reference, library: &Library, place: &Place) -> anyhow::Result<()> {
    let fetched = build::fetch_frontend(library, &repository(reference, place), reference, Freshness::Now).await?;
    let entry = match fetched {
        Fetched::Component(entry) => entry,
        Fetched::Image(image) => bail!(
            "{image}: is an image, which the builds that use it fetch and keep; what is fetched here is components"
        ),
    };
    // Compiled now, so that no build waits for it, and so that what cannot run is known now.
    let file = library.blob(&entry.component).context("it was fetched just now")?;
    let key = entry.key().context("it was fetched just now")?;
    let runtime = crate::frontends::runtime(&place.root, place.config.limits()?)?;
    runtime.load_file(key, file, &entry.name).await?;
    println!("{}", reference.with_digest(&entry.manifest));
    Ok(())
}
