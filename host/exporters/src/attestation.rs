//! What is said of results beside the results: in-toto statements, as manifests beside images and as files beside files.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use oci::{Platform, media_type};
use serde::Serialize;
use serde_json::Value;
use store::{Snapshot, Store};

use crate::{
    Built,
    attrs::{Attrs, flag},
    documents::{self, Descriptor, Document, Manifest},
    tree,
};

/// The type of a statement.
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The media type of a statement.
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// The annotation of a statement that says what it is about.
const PREDICATE_KEY: &str = "in-toto.io/predicate-type";
/// The annotations of an attestation manifest in an index, and the word for what it is.
const REFERENCE_TYPE_KEY: &str = "vnd.docker.reference.type";
const REFERENCE_DIGEST_KEY: &str = "vnd.docker.reference.digest";
const REFERENCE_TYPE: &str = "attestation-manifest";
/// The kind of an attestation manifest that is an OCI artifact, and the config of one.
const ARTIFACT_TYPE: &str = "application/vnd.docker.attestation.manifest.v1+json";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
const EMPTY: &[u8] = b"{}";

/// What is said of a result.
#[derive(Clone)]
pub enum Predicate {
    /// JSON.
    Known(Bytes),
    /// What is known once the layers of the result are blobs.
    Late(Arc<dyn Witness>),
}

/// Who says something of a result when he is asked.
pub trait Witness: Send + Sync + 'static {
    /// What he says: JSON. Takes time.
    fn says(&self) -> Result<Bytes>;
}

impl Predicate {
    /// What is said: JSON. Asked for when the layers of the result are blobs, if they are to be.
    ///
    /// # Errors
    /// That who says it cannot.
    pub fn bytes(&self) -> Result<Bytes> {
        match self {
            Predicate::Known(bytes) => Ok(bytes.clone()),
            Predicate::Late(witness) => witness.says(),
        }
    }
}

/// Something that is said of a result.
#[derive(Clone)]
pub struct Attestation {
    /// The id of the result's platform, as in [`Built::refs`].
    pub platform: String,
    /// What kind of thing is said: a URL.
    pub predicate_type: String,
    /// What is said.
    pub predicate: Predicate,
    /// What it is about, each with `name` and `digest` by algorithm; the result itself where there is none.
    pub subjects: Vec<Value>,
    /// The name of the file, where it goes to files.
    pub path: String,
    /// It goes along with images that are stored or pushed, and with nothing else.
    pub inline_only: bool,
}

/// A statement. Fields in BuildKit's order.
#[derive(Serialize)]
struct Statement<'a> {
    #[serde(rename = "_type")]
    kind: &'static str,
    #[serde(rename = "predicateType")]
    predicate_type: &'a str,
    subject: &'a [Value],
    predicate: &'a Value,
}

/// What a statement is about.
fn subject(name: &str, digest: &str) -> Value {
    let (algorithm, hex) = digest.split_once(':').unwrap_or(("sha256", digest));
    serde_json::json!({ "name": name, "digest": { algorithm: hex } })
}

/// What the JSON of `attestation` becomes as a statement, about `subjects` where it names none itself.
fn statement<'a>(attestation: &'a Attestation, subjects: &'a [Value], predicate: &'a Value) -> Statement<'a> {
    let own = &attestation.subjects[..];
    let subject = if own.is_empty() { subjects } else { own };
    Statement { kind: STATEMENT_TYPE, predicate_type: &attestation.predicate_type, subject, predicate }
}

/// Read and written anew, so that it is on one line whoever wrote it; the order of fields is kept.
fn parse(attestation: &Attestation) -> Result<Value> {
    serde_json::from_slice(&attestation.predicate.bytes()?)
        .with_context(|| format!("attestation {}: it is not JSON", attestation.path))
}

/// An attestation manifest: statements about one image.
pub(crate) struct Attested {
    /// With the annotations that tie it to the image.
    pub(crate) manifest: Document,
    /// Config and statements.
    pub(crate) blobs: Vec<Document>,
}

/// An attestation manifest as an OCI artifact.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Artifact {
    schema_version: u32,
    media_type: String,
    artifact_type: &'static str,
    config: EmptyConfig,
    layers: Vec<Descriptor>,
    subject: Descriptor,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EmptyConfig {
    media_type: &'static str,
    digest: String,
    size: usize,
    data: &'static str,
}

/// The manifest of what is said about `image`, which has these names.
pub(crate) fn manifest(
    attestations: &[&Attestation],
    image: &Descriptor,
    names: &[oci::Reference],
    platform: &Platform,
    as_artifact: bool,
) -> Result<Attested> {
    let named = |name: &oci::Reference| subject(&purl("docker", name, Some(platform)), &image.digest);
    let subjects: Vec<Value> = names.iter().map(named).collect();
    let mut statements = Vec::with_capacity(attestations.len());
    for attestation in attestations {
        let predicate = parse(attestation)?;
        let bytes = documents::compact(&statement(attestation, &subjects, &predicate))?;
        let mut document = Document::new(PAYLOAD_TYPE, bytes);
        document.descriptor.annotations = [(PREDICATE_KEY.to_owned(), attestation.predicate_type.clone())].into();
        statements.push(document);
    }
    let layers: Vec<Descriptor> = statements.iter().map(|statement| statement.descriptor.clone()).collect();
    let (config, bytes) = if as_artifact { artifact(layers, image)? } else { image_manifest(layers)? };
    let mut manifest = Document::new(media_type::OCI_MANIFEST, bytes);
    manifest.descriptor.annotations = BTreeMap::from([
        (REFERENCE_DIGEST_KEY.to_owned(), image.digest.clone()),
        (REFERENCE_TYPE_KEY.to_owned(), REFERENCE_TYPE.to_owned()),
    ]);
    manifest.descriptor.platform = Some((&Platform::new("unknown", "unknown", "")).into());
    statements.push(config);
    Ok(Attested { manifest, blobs: statements })
}

/// Config and manifest of something that is like an image of no platform.
fn image_manifest(layers: Vec<Descriptor>) -> Result<(Document, Bytes)> {
    let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.digest.as_str()).collect();
    let config = serde_json::json!({
        "architecture": "unknown", "os": "unknown", "config": {}, "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = Document::new(media_type::OCI_CONFIG, documents::compact(&config)?);
    let manifest = Manifest {
        schema_version: 2,
        media_type: media_type::OCI_MANIFEST.to_owned(),
        config: config.descriptor.clone(),
        layers,
        annotations: BTreeMap::new(),
    };
    Ok((config, documents::indented(&manifest)?))
}

fn artifact(layers: Vec<Descriptor>, image: &Descriptor) -> Result<(Document, Bytes)> {
    let config = Document::new(EMPTY_TYPE, Bytes::from_static(EMPTY));
    let (digest, size) = (config.descriptor.digest.clone(), EMPTY.len());
    let subject = Descriptor { annotations: BTreeMap::new(), platform: None, ..image.clone() };
    let manifest = Artifact {
        schema_version: 2,
        media_type: media_type::OCI_MANIFEST.to_owned(),
        artifact_type: ARTIFACT_TYPE,
        config: EmptyConfig { media_type: EMPTY_TYPE, digest, size, data: "e30=" },
        layers,
        subject,
    };
    Ok((config, documents::indented(&manifest)?))
}

/// The package URL of an image (`pkg:docker/alpine@3?platform=linux%2Famd64`).
pub fn purl(kind: &str, name: &oci::Reference, platform: Option<&Platform>) -> String {
    let familiar = name.familiar();
    // What follows the name: @digest, or :tag behind the last slash.
    let path = familiar.split_once('@').map_or(familiar.as_str(), |(path, _)| path);
    let path = match path.rsplit_once('/') {
        Some((space, last)) => format!("{space}/{}", last.split(':').next().unwrap_or(last)),
        None => path.split(':').next().unwrap_or(path).to_owned(),
    };
    // A colon is itself in a qualifier alone.
    let parts: Vec<String> = path.split('/').map(|part| escaped(part).replace(':', "%3A")).collect();
    let tag = name.tag().or_else(|| name.digest().is_none().then_some("latest"));
    let version = tag.map_or(String::new(), |tag| format!("@{}", escaped(tag)));
    let digest = name.digest().map(|digest| format!("digest={}", escaped(digest)));
    let platform = platform.map(|platform| format!("platform={}", escaped(&platform.to_string())));
    let qualifiers: Vec<String> = digest.into_iter().chain(platform).collect();
    let question = if qualifiers.is_empty() { "" } else { "?" };
    format!("pkg:{kind}/{}{version}{question}{}", parts.join("/"), qualifiers.join("&"))
}

fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// `built` with what is said of it as files among the files. The platform's name is in a file's name where all platforms are to go to one
/// directory.
pub(crate) async fn with_files(store: &Store, built: &Built, attrs: &Attrs) -> Result<Built> {
    let attestations: Vec<&Attestation> = built.attestations.iter().filter(|one| !one.inline_only).collect();
    if attestations.is_empty() {
        return Ok(built.clone());
    }
    let split = flag(attrs, "platform-split")?.unwrap_or(built.refs.len() > 1);
    let prefix = attrs.get("attestation-prefix").map_or("", String::as_str);
    let mut refs = Vec::with_capacity(built.refs.len());
    for (platform, snapshot) in &built.refs {
        let own: Vec<Attestation> =
            attestations.iter().filter(|one| one.platform == *platform).map(|one| (*one).clone()).collect();
        if own.is_empty() {
            refs.push((platform.clone(), snapshot.clone()));
            continue;
        }
        let suffix = if split || built.refs.len() < 2 { String::new() } else { tree::directory_of(platform) };
        let base = snapshot.clone().unwrap_or_else(|| store.scratch());
        let with = add_files(store, &base, own, prefix, &suffix).await?;
        refs.push((platform.clone(), Some(with)));
    }
    Ok(Built { refs, ..built.clone() })
}

async fn add_files(
    store: &Store,
    base: &Snapshot,
    attestations: Vec<Attestation>,
    prefix: &str,
    suffix: &str,
) -> Result<Snapshot> {
    let view = base.view().await?;
    let draft = store.draft(base).await?;
    let (from, to) = (view.path().to_owned(), draft.path().to_owned());
    let (prefix, suffix) = (prefix.to_owned(), suffix.to_owned());
    let write = move || {
        let subjects = subjects(&from)?;
        let mut names = BTreeSet::new();
        for attestation in &attestations {
            let name = file_name(&attestation.path, &prefix, &suffix)?;
            if !names.insert(name.clone()) || to.join(&name).symlink_metadata().is_ok() {
                bail!("two files would be called {name}: give attestation-prefix=...");
            }
            let predicate = parse(attestation)?;
            let value = serde_json::to_value(statement(attestation, &subjects, &predicate))?;
            write_file(&to.join(&name), &documents::indented(&value)?).with_context(|| format!("write {name}"))?;
        }
        Ok(())
    };
    tokio::task::spawn_blocking(write).await.context("the thread that writes files died")??;
    Ok(draft.commit().await?)
}

/// A new file that its owner alone may read, as BuildKit writes them: what is said of a build may name places that are nobody else's matter.
fn write_file(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    std::fs::File::options().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
}

fn file_name(path: &str, prefix: &str, suffix: &str) -> Result<String> {
    let name = Path::new(path).file_name().and_then(|name| name.to_str());
    let Some(name) = name else { bail!("attestation {path:?}: that is no name of a file") };
    if prefix.contains('/') {
        bail!("attestation-prefix={prefix:?}: a prefix has no slash");
    }
    Ok(match (suffix, name.rsplit_once('.')) {
        ("", _) => format!("{prefix}{name}"),
        (_, Some((stem, extension))) => format!("{prefix}{stem}.{suffix}.{extension}"),
        (_, None) => format!("{prefix}{name}.{suffix}"),
    })
}

/// All files of a tree by their digests.
fn subjects(root: &Path) -> Result<Vec<Value>> {
    let mut subjects = Vec::new();
    tree::walk(root, |path, metadata| {
        if metadata.is_file() {
            let digest = digest_of(&root.join(path)).with_context(|| format!("read {}", path.display()))?;
            subjects.push(subject(&path.to_string_lossy(), &digest));
        }
        Ok(())
    })?;
    Ok(subjects)
}

fn digest_of(path: &Path) -> Result<String> {
    use sha2::{Digest as _, Sha256};
    let (mut file, mut hash, mut buffer) = (std::fs::File::open(path)?, Sha256::new(), vec![0; 64 << 10]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(format!("sha256:{}", hex::encode(hash.finalize()))),
            count => hash.update(&buffer[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_urls() {
        let amd64: Platform = "linux/amd64".parse().unwrap();
        let digest = format!("sha256:{}", "ab".repeat(32));
        for (name, platform, want) in [
            ("alpine", None, "pkg:docker/alpine@latest".to_owned()),
            ("alpine:3", Some(&amd64), "pkg:docker/alpine@3?platform=linux%2Famd64".to_owned()),
            ("docker.io/library/alpine:3", None, "pkg:docker/alpine@3".to_owned()),
            ("a/b", None, "pkg:docker/a/b@latest".to_owned()),
            ("localhost:5000/a/b:1", None, "pkg:docker/localhost%3A5000/a/b@1".to_owned()),
            (&format!("a/b@{digest}"), None, format!("pkg:docker/a/b?digest={digest}")),
            (&format!("a/b:1@{digest}"), None, format!("pkg:docker/a/b@1?digest={digest}")),
        ] {
            assert_eq!(purl("docker", &name.parse().unwrap(), platform), want);
        }
    }

    #[test]
    fn names_of_files() {
        for (path, prefix, suffix, want) in [
            ("provenance.json", "", "", "provenance.json"),
            ("a/sbom.spdx.json", "x-", "", "x-sbom.spdx.json"),
            ("provenance.json", "", "linux_amd64", "provenance.linux_amd64.json"),
            ("plain", "", "linux_amd64", "plain.linux_amd64"),
        ] {
            assert_eq!(file_name(path, prefix, suffix).unwrap(), want);
        }
        assert!(file_name("..", "", "").is_err());
        assert!(file_name("a", "../", "").is_err());
    }
}
