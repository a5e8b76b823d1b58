//! What went into a result: sources with what they turned out to be, secrets, agents, and whether steps had a network.

use std::collections::BTreeMap;

use llb::{
    Op, Platform,
    op::{ExecOp, MountKind, NetMode, SourceOp},
};
use serde_json::{Value, json};

use crate::Failure;

/// An image that was looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// As it was asked for, without scheme.
    pub reference: String,
    pub platform: Option<Platform>,
    /// `sha256:...`.
    pub digest: String,
    /// From an OCI layout of the client's.
    pub is_local: bool,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Capture {
    images: Vec<Image>,
    /// Packages of blobs, and digests.
    blobs: BTreeMap<String, String>,
    /// URL with its ref as fragment, without credentials, and commit.
    git: BTreeMap<String, String>,
    /// URL without credentials, and digest.
    http: BTreeMap<String, String>,
    /// Names of the client's directories.
    pub locals: Vec<String>,
    /// By id: whether it may be missing.
    pub secrets: BTreeMap<String, bool>,
    pub ssh: BTreeMap<String, bool>,
    /// A step could reach a network.
    pub has_network: bool,
    /// Something went in that nobody looked at.
    pub is_incomplete: bool,
}

impl Capture {
    /// Adds an image that a frontend asked about, or that a step is made of.
    pub fn image(&mut self, image: Image) {
        let same = |known: &Image| {
            known.reference == image.reference && known.is_local == image.is_local && known.platform == image.platform
        };
        if !self.images.iter().any(same) {
            self.images.push(image);
        }
    }

    /// Refuses what was made of more than is known.
    pub fn check_complete(&self) -> Result<(), Failure> {
        if !self.is_incomplete && self.locals.is_empty() {
            return Ok(());
        }
        let locals = self.locals.join(", ");
        let message = format!("provenance materials are incomplete: what is in {locals} was not recorded");
        Err(Failure::new("failed-precondition", message))
    }

    /// Adds a vertex; `pin` is what its source turned out to be.
    pub fn vertex(&mut self, op: &Op, platform: Option<&Platform>, pin: Option<&str>) {
        match op {
            Op::Source(source) => self.source(source, platform, pin.unwrap_or_default()),
            Op::Exec(exec) => self.exec(exec),
            Op::Build(_) => self.is_incomplete = true,
            Op::File(_) | Op::Merge(_) | Op::Diff(_) | Op::Passthrough(_) => {}
        }
    }

    fn source(&mut self, source: &SourceOp, platform: Option<&Platform>, pin: &str) {
        let Some((scheme, rest)) = source.identifier.split_once("://") else { return };
        match scheme {
            "docker-image" | "oci-layout" => self.image(Image {
                reference: rest.into(),
                platform: platform.cloned(),
                digest: pin.into(),
                is_local: scheme == "oci-layout",
            }),
            "local" if !self.locals.iter().any(|name| name == rest) => self.locals.push(rest.into()),
            "docker-image+blob" | "oci-layout+blob" => {
                let kind = if scheme == "oci-layout+blob" { "oci" } else { "docker" };
                if let Ok(name) = rest.parse() {
                    let package = exporters::purl(kind, &name, None);
                    self.blobs.insert(format!("{package}&ref_type=blob"), pin.into());
                }
            }
            "git" => self.git(source, rest, pin),
            "http" | "https" => {
                self.http.insert(redacted(&source.identifier), pin.into());
            }
            _ => {}
        }
    }

    /// A repository, which is the same one whatever directory of it is taken, and what git may be given to log in.
    fn git(&mut self, source: &SourceOp, rest: &str, pin: &str) {
        let (bare, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let url = source.attrs.get("git.fullurl").cloned().unwrap_or_else(|| format!("https://{bare}"));
        let reference = fragment.split(':').next().unwrap_or_default();
        let mark = if reference.is_empty() { "" } else { "#" };
        self.git.insert(redacted(&format!("{url}{mark}{reference}")), pin.into());
        let given = |name: &str| source.attrs.get(name).filter(|id| !id.is_empty());
        for id in ["git.authtokensecret", "git.authheadersecret"].into_iter().filter_map(given) {
            add(&mut self.secrets, id, true);
        }
        if let Some(id) = given("git.mountsshsock") {
            add(&mut self.ssh, id, true);
        }
    }

    fn exec(&mut self, exec: &ExecOp) {
        for mount in &exec.mounts {
            match &mount.kind {
                MountKind::Secret { id, optional, .. } => add(&mut self.secrets, id, *optional),
                MountKind::Ssh { id, optional, .. } => add(&mut self.ssh, id, *optional),
                MountKind::Bind | MountKind::Cache { .. } | MountKind::Tmpfs { .. } => {}
            }
        }
        exec.secret_env.iter().for_each(|secret| add(&mut self.secrets, &secret.id, secret.optional));
        self.has_network |= exec.network != NetMode::None;
    }

    /// All materials as SLSA has them: each with `uri` and `digest`.
    pub fn materials(&self) -> Vec<Value> {
        let mut images: Vec<&Image> = self.images.iter().filter(|image| !self.is_repeated(image)).collect();
        images.sort_by(|a, b| a.reference.cmp(&b.reference));
        let images = images.into_iter().filter_map(|image| {
            let name: oci::Reference = image.reference.parse().ok()?;
            let platform = image.platform.as_ref();
            let platform =
                platform.map(|platform| oci::Platform::new(&platform.os, &platform.architecture, &platform.variant));
            let kind = if image.is_local { "oci" } else { "docker" };
            Some(material(&exporters::purl(kind, &name, platform.as_ref()), &image.digest))
        });
        let blobs = self.blobs.iter().map(|(package, digest)| material(package, digest));
        let git = self.git.iter().map(|(url, commit)| material(url, &commit_digest(commit)));
        let http = self.http.iter().map(|(url, digest)| material(url, digest));
        images.chain(blobs).chain(git).chain(http).collect()
    }

    /// Whether an image by digest is in the list by its tag too.
    fn is_repeated(&self, image: &Image) -> bool {
        let name = |image: &Image| image.reference.parse::<oci::Reference>().ok();
        let Some(own) = name(image).filter(|own| own.digest().is_some()) else { return false };
        self.images.iter().filter_map(name).any(|other| {
            other.digest().is_none() && other.name() == own.name() && other.tag() == own.tag().or(Some("latest"))
        })
    }

    /// The source that a context given by its URL turned out to be.
    pub fn find(&self, uri: &str) -> Option<Value> {
        let uri = redacted(uri);
        let (repository, subdir) = by_fragment(&uri);
        let git = self.git.get(&repository).map(|commit| {
            let within = match (subdir.is_empty(), repository.contains('#')) {
                (true, _) => repository.clone(),
                (false, true) => format!("{repository}:{subdir}"),
                (false, false) => format!("{repository}#:{subdir}"),
            };
            material(&within, &commit_digest(commit))
        });
        git.or_else(|| self.http.get(&uri).map(|digest| material(&uri, digest)))
    }
}

/// Notes an id, which may be missing only if it may be missing everywhere.
fn add(to: &mut BTreeMap<String, bool>, id: &str, optional: bool) {
    let id = if id.is_empty() { "default" } else { id };
    let known = to.entry(id.to_owned()).or_insert(optional);
    *known &= optional;
}

/// The URL of a repository with its ref as fragment, and the directory: what the fragment or the query of a context says.
fn by_fragment(uri: &str) -> (String, String) {
    let (rest, fragment) = uri.split_once('#').unwrap_or((uri, ""));
    let (url, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
    let (mut reference, mut subdir) = (reference.to_owned(), subdir.to_owned());
    for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let full = |prefix: &str| format!("{prefix}{}", value.strip_prefix(prefix).unwrap_or(value));
        match key {
            "ref" => reference = value.into(),
            "tag" => reference = full("refs/tags/"),
            "branch" => reference = full("refs/heads/"),
            "subdir" => subdir = value.into(),
            _ => {}
        }
    }
    let mark = if reference.is_empty() { "" } else { "#" };
    (format!("{url}{mark}{reference}"), subdir.trim_matches('/').to_owned())
}

fn commit_digest(commit: &str) -> String {
    let algorithm = if commit.len() == 64 { "sha256" } else { "sha1" };
    format!("{algorithm}:{commit}")
}

fn material(uri: &str, digest: &str) -> Value {
    match digest.split_once(':') {
        Some((algorithm, hex)) if !hex.is_empty() => json!({ "uri": uri, "digest": { algorithm: hex } }),
        _ => json!({ "uri": uri }),
    }
}

/// A URL in which user and password are x's. In the name of an image there is none: what follows its `@` is a digest.
pub fn redacted(url: &str) -> String {
    const MASK: &str = "xxxxx";
    const IMAGES: [&str; 4] = ["docker-image", "oci-layout", "docker-image+blob", "oci-layout+blob"];
    let Some((scheme, rest)) = url.split_once("://").filter(|(scheme, _)| !IMAGES.contains(scheme)) else {
        return url.into();
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let Some((login, host)) = authority.rsplit_once('@') else { return url.into() };
    let login = if login.contains(':') { format!("{MASK}:{MASK}") } else { MASK.into() };
    format!("{scheme}://{login}@{host}{}", &rest[authority.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_told() {
        for (url, want) in [
            ("https://user:secret@host/path?q#f", "https://xxxxx:xxxxx@host/path?q#f"),
            ("https://token@host", "https://xxxxx@host"),
            ("https://host/a@b", "https://host/a@b"),
            ("https://a:b@c@host/", "https://xxxxx:xxxxx@host/"),
            (".", "."),
            ("oci-layout://name@sha256:ab", "oci-layout://name@sha256:ab"),
        ] {
            assert_eq!(redacted(url), want);
        }
    }

    #[test]
    fn materials_of_sources() {
        let mut capture = Capture::default();
        let digest = format!("sha256:{}", "ab".repeat(32));
        let amd64 = Platform { os: "linux".into(), architecture: "amd64".into(), ..Platform::default() };
        let image = |reference: &str| Image {
            reference: reference.into(),
            platform: Some(amd64.clone()),
            digest: digest.clone(),
            is_local: false,
        };
        capture.image(image("docker.io/library/alpine:3"));
        let source = |identifier: &str, attrs: &[(&str, &str)]| {
            let attrs = attrs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
            Op::Source(SourceOp { identifier: identifier.into(), attrs })
        };
        let pinned = source(&format!("docker-image://docker.io/library/alpine:3@{digest}"), &[]);
        capture.vertex(&pinned, Some(&amd64), Some(&digest));
        let login = [("git.fullurl", "https://u:p@host/r.git"), ("git.authtokensecret", "GIT_AUTH_TOKEN")];
        let git = source("git://u:p@host/r.git#main:sub", &login);
        capture.vertex(&git, None, Some(&"cd".repeat(20)));
        capture.vertex(&source("https://u@host/f", &[]), None, Some(&digest));
        capture.vertex(&source("local://context", &[]), None, None);
        let blob = source(&format!("docker-image+blob://host/a/b@{digest}"), &[]);
        capture.vertex(&blob, None, Some(&digest));
        let hex = "ab".repeat(32);
        let want = json!([
            { "uri": "pkg:docker/alpine@3?platform=linux%2Famd64", "digest": { "sha256": hex } },
            { "uri": format!("pkg:docker/host/a/b?digest=sha256:{hex}&ref_type=blob"), "digest": { "sha256": hex } },
            { "uri": "https://xxxxx:xxxxx@host/r.git#main", "digest": { "sha1": "cd".repeat(20) } },
            { "uri": "https://xxxxx@host/f", "digest": { "sha256": hex } },
        ]);
        assert_eq!(Value::Array(capture.materials()), want);
        assert_eq!(capture.locals, ["context"]);
        assert_eq!(capture.secrets, [("GIT_AUTH_TOKEN".to_owned(), true)].into());
        let found = |uri: &str| capture.find(uri).map(|found| found["uri"].clone());
        assert_eq!(found("https://u:p@host/r.git#main:sub"), Some("https://xxxxx:xxxxx@host/r.git#main:sub".into()));
        assert_eq!(found("https://u:p@host/r.git?ref=main"), Some("https://xxxxx:xxxxx@host/r.git#main".into()));
        assert_eq!(found("https://u:p@host/r.git?branch=main"), None);
        assert_eq!(by_fragment("u?branch=b&subdir=/s/"), ("u#refs/heads/b".to_owned(), "s".to_owned()));
    }
}
