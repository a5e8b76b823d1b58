//! Caches outside the engine, from flags.

use std::path::{Path, PathBuf};

use anyhow::Context;
use client::{CacheOption, SolveResponse, outputs as flags};
use serde_json::{Value, json};

use super::request::Prepared;

/// The tag that a local cache has when none is asked for.
const DEFAULT_TAG: &str = "latest";
/// Where an OCI layout keeps the name of a manifest.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const INDEX: &str = "index.json";

/// Local caches whose index is to be written after the build.
pub struct Caches(Vec<(PathBuf, String)>);

/// Adds the caches of `--cache-from` and `--cache-to` to a request.
pub fn fill(from: &[String], to: &[String], prepared: &mut Prepared) -> anyhow::Result<Caches> {
    for spec in from {
        let mut cache = flags::parse_cache("--cache-from", spec)?;
        if cache.kind == "local" && !find_local(&mut cache, prepared)? {
            continue;
        }
        prepared.request.cache_imports.push(cache);
    }
    let mut written = Vec::new();
    for spec in to {
        let cache = flags::parse_cache("--cache-to", spec)?;
        if cache.kind == "local" {
            let dest = Path::new(&cache.attrs["dest"]);
            std::fs::create_dir_all(dest).with_context(|| format!("make {}", dest.display()))?;
            share(dest, prepared)?;
            let tag = cache.attrs.get("tag").map_or(DEFAULT_TAG, String::as_str);
            written.push((dest.to_path_buf(), tag.to_string()));
        }
        prepared.request.cache_exports.push(cache);
    }
    if prepared.request.frontend_attrs.get("build-arg:BUILDKIT_INLINE_CACHE").is_some_and(|value| value == "1") {
        prepared.request.cache_exports.push(CacheOption { kind: "inline".into(), ..CacheOption::default() });
    }
    Ok(Caches(written))
}

/// Shares the directory of a cache under the name that BuildKit's clients give it.
fn share(dir: &Path, prepared: &mut Prepared) -> anyhow::Result<()> {
    prepared.caches.insert(format!("local:{}", dir.display()), client::open_dir(dir.to_path_buf())?);
    Ok(())
}

/// Finds the manifest of a local cache. One that is not there is told, and left out.
fn find_local(cache: &mut CacheOption, prepared: &mut Prepared) -> anyhow::Result<bool> {
    let dir = PathBuf::from(&cache.attrs["src"]);
    let tag = cache.attrs.get("tag").map_or(DEFAULT_TAG, String::as_str);
    if !cache.attrs.contains_key("digest") {
        let Some(digest) = digest_of(&dir, tag) else {
            eprintln!("warning: --cache-from {}: there is no cache with the tag {tag:?}", dir.display());
            return Ok(false);
        };
        cache.attrs.insert("digest".into(), digest);
    }
    if !dir.is_dir() {
        eprintln!("warning: --cache-from {}: there is no such directory", dir.display());
        return Ok(false);
    }
    share(&dir, prepared)?;
    Ok(true)
}

fn digest_of(dir: &Path, tag: &str) -> Option<String> {
    let index: Value = serde_json::from_slice(&std::fs::read(dir.join(INDEX)).ok()?).ok()?;
    let named = |one: &&Value| one["annotations"][REF_NAME] == tag;
    Some(index["manifests"].as_array()?.iter().find(named)?["digest"].as_str()?.to_string())
}

impl Caches {
    /// Writes what the engine has made into the indexes.
    pub fn finish(&self, response: &SolveResponse) -> anyhow::Result<()> {
        let Some(manifest) = response.exporter.get("cache.manifest") else { return Ok(()) };
        let manifest: Value = serde_json::from_str(manifest).context("the engine's answer cache.manifest")?;
        self.0.iter().try_for_each(|(dir, tag)| put(dir, tag, &manifest))
    }
}

/// Puts a manifest under its tag, in the place of the one that had it.
fn put(dir: &Path, tag: &str, manifest: &Value) -> anyhow::Result<()> {
    let path = dir.join(INDEX);
    let old: Option<Value> = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let mut index = old.filter(|index| index["manifests"].is_array()).unwrap_or_else(
        || json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}),
    );
    let mut manifest = manifest.clone();
    manifest["annotations"][REF_NAME] = tag.into();
    if let Some(manifests) = index["manifests"].as_array_mut() {
        manifests.retain(|one| one["annotations"][REF_NAME] != tag);
        manifests.push(manifest);
    }
    let write = |name: &str, text: String| {
        let (part, path) = (dir.join(format!("{name}.new")), dir.join(name));
        std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, &path))
    };
    write("oci-layout", json!({"imageLayoutVersion": "1.0.0"}).to_string())
        .and_then(|()| write(INDEX, index.to_string()))
        .with_context(|| format!("write {}", path.display()))
}
