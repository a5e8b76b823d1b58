//! Frontends to and from a registry.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use anyhow::{Context, bail, ensure};
use build::{Fetched, Freshness, Layout, LayoutName, PackedComponent, Signed};
use bytes::Bytes;
use frontend::{Entry, Library};
use oci::{Anonymous, Client, Reference, Repository, wasm};

use super::Push;
use crate::{
    commands::build::{LAYOUT, credentials},
    embedded::Place,
};

/// A name in a registry; who names a file of this machine is told so.
pub fn reference(name: &str) -> anyhow::Result<Reference> {
    ensure!(
        !Path::new(name).is_file(),
        "{name}: is a file: one that ends in .wasm is used as it is, by inspect and by --frontend, and push takes it to a registry"
    );
    Ok(name.parse()?)
}

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

#[derive(clap::Args)]
pub struct Pull {
    /// REGISTRY/NAME[:TAG][@DIGEST], or oci-layout://PATH[:TAG][@DIGEST].
    #[arg(value_name = "NAME")]
    name: String,

    /// What builds are to call it that is taken out of an OCI layout: REGISTRY/NAME[:TAG].
    #[arg(long = "as", value_name = "NAME")]
    known_as: Option<Reference>,
}

pub async fn pull(pull: &Pull, library: &Library, place: &Place) -> anyhow::Result<()> {
    let (entry, reference) = match (pull.name.starts_with(LAYOUT), &pull.known_as) {
        (true, Some(name)) => (take_in(&pull.name, name, library).await?, name.clone()),
        (true, None) => bail!("{}: say with --as REGISTRY/NAME:TAG what builds are to call it", pull.name),
        (false, Some(_)) => bail!("--as: {} has a name already", pull.name),
        (false, None) => {
            let reference = reference(&pull.name)?;
            (fetch(&reference, library, place).await?, reference)
        }
    };
    // Compiled now, so that no build waits for it, and so that what cannot run is known now.
    let file = library.blob(&entry.component).context("it was fetched just now")?;
    let key = entry.key().context("it was fetched just now")?;
    let runtime = crate::frontends::runtime(&place.root, place.config.limits())?;
    runtime.load_file(key, file, &entry.name).await?;
    println!("{}", reference.with_digest(&entry.manifest));
    Ok(())
}

async fn fetch(reference: &Reference, library: &Library, place: &Place) -> anyhow::Result<Entry> {
    let repository = repository(reference, place);
    match build::fetch_frontend(library, &repository, reference, Freshness::Now).await? {
        Fetched::Component(entry) => {
            keep_signatures(&repository, &entry.manifest, library).await;
            Ok(entry)
        }
        Fetched::Image(image) => {
            bail!(
                "{image}: is an image, which the builds that use it fetch and keep; what is fetched here is components"
            )
        }
    }
}

/// Takes a component out of an OCI layout into the library.
async fn take_in(layout: &str, name: &Reference, library: &Library) -> anyhow::Result<Entry> {
    let packed = in_layout(layout).await?;
    frontend::check(&packed.component, layout)?;
    let entry = packed.note(name.to_string(), library).await?;
    let layout = Layout::open(Path::new(LayoutName::parse(layout)?.place()))?;
    keep_signatures(&layout, &entry.manifest, library).await;
    Ok(entry)
}

/// Keeps what signatures there are. Whether any are needed is a matter of the rules that builds have, and said there.
async fn keep_signatures(from: &dyn Signed, manifest: &str, library: &Library) {
    let kept = build::frontend_signatures(from, manifest).await.and_then(|found| match found.is_empty() {
        true => Ok(()),
        false => library.keep_signatures(manifest, &serde_json::to_vec(&found)?),
    });
    if let Err(error) = kept {
        eprintln!("WARNING: signatures of {manifest}: {error:#}");
    }
}

/// The component in an OCI layout of this machine.
pub async fn in_layout(name: &str) -> anyhow::Result<PackedComponent> {
    let read = async {
        let parsed = LayoutName::parse(name)?;
        let layout = Layout::open(Path::new(parsed.place()))?;
        let digest = parsed.digest_in(&layout).await?;
        let packed = build::packed_component(&layout, layout.manifest(&digest).await?).await?;
        packed.with_context(|| format!("{digest} is an image of a file system: what it asks for is known when it runs"))
    };
    read.await.with_context(|| name.to_owned())
}
