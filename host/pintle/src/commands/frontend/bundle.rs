//! Frontends in a tar archive: an OCI layout, in which each manifest has its name as an annotation.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail, ensure};
use frontend::{Entry, Library, Limits};
use oci::{Document, Manifest, Reference, media_type, wasm};
use serde_json::{Value, json};

use super::{Load, Save};

/// The annotation that names a manifest: what containerd and others use for complete names.
const NAME: &str = "io.containerd.image.name";
/// The most files of an archive.
const FILES_MAX: usize = 10_000;
/// The most bytes of all blobs of an archive together.
const BYTES_MAX: u64 = 4 << 30;

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
                    "mediaType": media_type::OCI_MANIFEST, "digest": digest, "size": bytes.len(), "annotations": { NAME: entry.name },
                }));
            }
            if written.insert(digest) {
                append(archive, &format!("blobs/{}", digest.replacen(':', "/", 1)), &bytes)?;
            }
        }
    }
    let index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": manifests });
    append(archive, "index.json", &serde_json::to_vec(&index)?)
}

fn append(archive: &mut tar::Builder<impl std::io::Write>, path: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    Ok(archive.append_data(&mut header, path, bytes)?)
}

pub fn load(load: &Load, library: &Library) -> anyhow::Result<()> {
    let shown = load.input.display().to_string();
    let file = File::open(&load.input).with_context(|| format!("open {shown}"))?;
    let files = read(file).with_context(|| format!("read {shown}"))?;
    let get = |path: &str| files.get(path).with_context(|| format!("{shown}: no {path}: is it an archive of save?"));
    let index: Value = serde_json::from_slice(get("index.json")?).with_context(|| format!("{shown}: index.json"))?;
    let manifests = index["manifests"].as_array().with_context(|| format!("{shown}: index.json has no manifests"))?;
    for descriptor in manifests {
        let digest = descriptor["digest"].as_str().unwrap_or_default();
        let name = descriptor["annotations"][NAME].as_str();
        let name = name.with_context(|| format!("{shown}: {digest} has no annotation {NAME}"))?;
        let name: Reference = name.parse().with_context(|| format!("{shown}: annotation {NAME} of {digest}"))?;
        take_in(&name, digest, &|digest| blob(&files, digest), library).with_context(|| format!("{shown}: {name}"))?;
        println!("{name}");
    }
    Ok(())
}

/// All files of an archive, by path.
fn read(file: File) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut left = BYTES_MAX;
    for entry in tar::Archive::new(std::io::BufReader::new(file)).entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
        ensure!(entry.size() <= left, "it has more than {BYTES_MAX} bytes");
        ensure!(files.len() < FILES_MAX, "it has more than {FILES_MAX} files");
        left -= entry.size();
        let mut bytes = Vec::new();
        (&mut entry).take(BYTES_MAX).read_to_end(&mut bytes)?;
        files.insert(path, bytes);
    }
    Ok(files)
}

/// A blob of the archive, verified.
fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, digest: &str) -> anyhow::Result<&'a [u8]> {
    let path = Path::new("blobs").join(digest.replacen(':', "/", 1)).to_string_lossy().into_owned();
    let bytes = files.get(&path).with_context(|| format!("no {path}"))?;
    let is = oci::digest_of(bytes);
    ensure!(is == digest, "{path} is {is}");
    Ok(bytes)
}

fn take_in<'a>(
    name: &Reference,
    digest: &str,
    blob: &dyn Fn(&str) -> anyhow::Result<&'a [u8]>,
    library: &Library,
) -> anyhow::Result<()> {
    let manifest = Manifest::new(blob(digest)?.to_vec().into(), "");
    let Document::Image(image) = manifest.parse()? else { bail!("{digest} is an index") };
    let layer = wasm::layer(&image)?.with_context(|| format!("{digest} is an image of a file system"))?;
    let component = blob(&layer.digest)?;
    ensure!(component.len() <= Limits::COMPONENT_BYTES, "its component has {} bytes", component.len());
    frontend::check(component, &name.to_string())?;
    library.note(&Entry {
        name: name.to_string(),
        manifest: library.put(&manifest.bytes)?,
        config: library.put(blob(image.config().digest().as_ref())?)?,
        component: library.put(component)?,
        size: component.len() as u64,
        checked: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
    })
}
