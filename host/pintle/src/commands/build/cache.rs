//! Caches outside the engine, from flags.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

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
        add_login(&cache.kind, &mut cache.attrs, environment);
        if cache.kind == "local" && !find_local(&mut cache, prepared)? {
            continue;
        }
        prepared.request.cache_imports.push(cache);
    }
    let mut written = Vec::new();
    for spec in to {
        let mut cache = flags::parse_cache("--cache-to", spec)?;
        add_login(&cache.kind, &mut cache.attrs, environment);
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

/// Attributes that let somebody into a store of objects, by the kind of cache, with the variables that jobs and tools have for them.
const LOGINS: [(&str, &[(&str, &str)]); 2] = [
    (
        "s3",
        &[
            ("access_key_id", "AWS_ACCESS_KEY_ID"),
            ("secret_access_key", "AWS_SECRET_ACCESS_KEY"),
            ("session_token", "AWS_SESSION_TOKEN"),
        ],
    ),
    ("gha", &[("token", "ACTIONS_RUNTIME_TOKEN"), ("url", "ACTIONS_CACHE_URL"), ("url_v2", "ACTIONS_RESULTS_URL")]),
];

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Adds what the environment has of a login, for the engine may run in another. Of a login that is written down nothing is added to.
fn add_login(kind: &str, attrs: &mut BTreeMap<String, String>, env: impl Fn(&str) -> Option<String>) {
    let Some((_, login)) = LOGINS.iter().find(|(known, _)| *known == kind) else { return };
    if login.iter().all(|(name, _)| !attrs.contains_key(*name)) {
        attrs.extend(login.iter().filter_map(|(name, variable)| Some((name.to_string(), env(variable)?))));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_of_the_environment() {
        let env = |name: &str| (!name.ends_with("SESSION_TOKEN")).then(|| name.to_lowercase());
        let add = |kind: &str, own: &[&str]| {
            let mut attrs: BTreeMap<String, String> = own.iter().map(|name| (name.to_string(), "own".into())).collect();
            add_login(kind, &mut attrs, env);
            attrs.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
        };
        let key = "access_key_id=aws_access_key_id,bucket=own,secret_access_key=aws_secret_access_key";
        assert_eq!(add("s3", &["bucket"]), key);
        assert_eq!(add("s3", &["access_key_id"]), "access_key_id=own");
        assert_eq!(add("gha", &[]), "token=actions_runtime_token,url=actions_cache_url,url_v2=actions_results_url");
        assert_eq!(add("registry", &["ref"]), "ref=own");
    }
}
