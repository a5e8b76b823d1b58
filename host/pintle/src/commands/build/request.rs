//! What a frontend is asked, from flags.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail, ensure};
use client::{Attachments, SecretSource, SolveRequest, SolveResponse, SshAgent, outputs as flags, progress::Display};

use super::{
    component,
    context::{self, Directories},
    lock,
};
use crate::{
    api,
    commands::frontend::Watched,
    embedded::{Link, Place},
    trust,
};

/// The frontend that is meant when none is named.
const DOCKERFILE: &str = "dockerfile.v0";
/// What the engine knows the OCI layout of a frontend by.
const FRONTEND_LAYOUT: &str = "oci-frontend";

/// Options that say what to build.
#[derive(clap::Args)]
pub struct FrontendArgs {
    /// The build context: a directory, - for a tar or a Dockerfile on stdin, or the URL of a git repository (#REF:DIRECTORY behind
    /// it), of an archive, or of a Dockerfile.
    #[arg(value_name = "CONTEXT", default_value = ".")]
    context: String,

    /// The Dockerfile: CONTEXT/Dockerfile when not given; - for stdin.
    #[arg(short, long = "file", value_name = "FILE")]
    file: Option<String>,

    /// The stage to build.
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,

    /// A build argument: NAME=VALUE, or NAME to take it from the environment.
    #[arg(long = "build-arg", value_name = "NAME=VALUE")]
    build_args: Vec<String>,

    /// A label of the image: NAME=VALUE.
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,

    /// Platforms to build for: linux/amd64,linux/arm64.
    #[arg(long, value_name = "PLATFORMS")]
    platform: Option<String>,

    /// Another context, by name: NAME=PATH|docker-image://IMAGE|oci-layout://PATH@DIGEST|https://...
    #[arg(long = "build-context", value_name = "NAME=VALUE")]
    build_contexts: Vec<String>,

    /// Run every step, whatever the cache knows.
    #[arg(long)]
    no_cache: bool,

    /// Run every step of these stages, whatever the cache knows: NAME,...; may be given several times.
    #[arg(long = "no-cache-filter", value_name = "STAGES", conflicts_with = "no_cache")]
    no_cache_filter: Vec<String>,

    /// Look for newer base images, although some are here.
    #[arg(long)]
    pull: bool,

    /// A line for /etc/hosts in steps: NAME:ADDRESS.
    #[arg(long = "add-host", value_name = "NAME:ADDRESS")]
    add_hosts: Vec<String>,

    /// Network of steps: default, none or host.
    #[arg(long, value_name = "MODE")]
    network: Option<String>,

    /// Size of /dev/shm in steps: 64MB.
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,

    /// A limit of processes in steps: TYPE=SOFT[:HARD], such as nofile=1024:2048; may be given several times.
    #[arg(long = "ulimit", value_name = "LIMIT")]
    ulimits: Vec<String>,

    /// The cgroup that steps run in a child of.
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<String>,

    /// What steps may do beyond the sandbox: network.host (--network host implies it), security.insecure.
    #[arg(long = "allow", value_name = "NAME")]
    allow: Vec<String>,

    /// Rules on sources: a JSON file, in BuildKit's format.
    #[arg(long, value_name = "FILE", env = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY")]
    source_policy: Option<PathBuf>,

    /// Say in the image how it was made: true, false, mode=max, mode=min,version=v0.2,...
    #[arg(long, value_name = "SPEC", num_args = 0..=1, default_missing_value = "true")]
    provenance: Option<String>,

    /// Say in the image what is in it, as a generator finds: true, false, or generator=IMAGE.
    #[arg(long, value_name = "SPEC", num_args = 0..=1, default_missing_value = "true")]
    sbom: Option<String>,

    /// As --provenance and --sbom: type=provenance,mode=max or type=sbom,generator=IMAGE.
    #[arg(long = "attest", value_name = "SPEC")]
    attests: Vec<String>,

    /// The frontend: dockerfile.v0, the path of a component that ends in .wasm, REGISTRY/NAME:TAG, or oci-layout://PATH[:TAG][@DIGEST].
    #[arg(long, value_name = "NAME", default_value = DOCKERFILE)]
    frontend: String,

    /// An option for the frontend: KEY=VALUE.
    #[arg(long = "opt", value_name = "KEY=VALUE")]
    opts: Vec<String>,

    /// Let frontends run as this policy allows: a file of rules, as in the configuration's frontends.trust. What the engine's own
    /// rules say of them holds all the same.
    #[arg(long, value_name = "FILE", env = "PINTLE_FRONTEND_POLICY")]
    frontend_policy: Option<PathBuf>,

    /// Refuse frontends (and images, where they are locked) that pintle.lock beside the Dockerfile does not have.
    #[arg(long)]
    locked: bool,

    /// Fetch nothing: what is not in the store is an error.
    #[arg(long)]
    offline: bool,
}

impl FrontendArgs {
    /// Fails where what the build is held to was not applied, because a daemon does not know of it.
    pub fn check_held(&self, response: &mut SolveResponse) -> anyhow::Result<()> {
        let was_locked = response.exporter.remove(api::LOCKED).is_some();
        ensure!(
            was_locked || !self.locked,
            "--locked: the daemon knows nothing of lock files: what it built is not held to one"
        );
        let had_policy = response.exporter.remove(api::FRONTEND_POLICY).is_some();
        ensure!(
            had_policy || self.frontend_policy.is_none(),
            "--frontend-policy: the daemon knows nothing of such policies: any frontend may have run"
        );
        Ok(())
    }

    /// Whether names must be in the lock file.
    pub fn is_locked(&self) -> bool {
        self.locked
    }

    /// Opens the engine for this build.
    pub async fn open(&self, mut place: Place) -> anyhow::Result<Link> {
        if self.offline {
            ensure!(
                place.addr.is_none(),
                "--offline is for an engine in this process, and not for one that others use too: a daemon fetches nothing when its \
                 configuration has offline = true"
            );
            place.config.offline = true;
        }
        let link = Link::open(&place).await?;
        ensure!(
            !self.offline || matches!(link, Link::Embedded { .. }),
            "--offline: another process has the store {}, and may fetch: wait until it has ended",
            place.root.display()
        );
        Ok(link)
    }

    /// What of this machine decides what comes out.
    pub fn watched(&self) -> Vec<Watched> {
        let dir = Some(Path::new(&self.context)).filter(|dir| dir.is_dir());
        let file = self.file.as_deref().filter(|file| *file != "-").map(PathBuf::from);
        let beside = file.as_deref().and_then(Path::parent).or(dir);
        let component = self.frontend.ends_with(".wasm").then(|| match beside.map(|dir| dir.join(&self.frontend)) {
            Some(beside) if beside.is_file() => beside,
            _ => PathBuf::from(&self.frontend),
        });
        let files = file.into_iter().chain(component).map(Watched::File);
        dir.map(|dir| Watched::Tree(dir.to_path_buf())).into_iter().chain(files).collect()
    }

    /// What the user calls the build file.
    pub fn build_file(&self) -> String {
        match self.file.as_deref() {
            Some("-") => "stdin".to_string(),
            Some(file) => file.to_string(),
            None if self.context == "-" => "stdin".to_string(),
            None if self.context == "." => "Dockerfile".to_string(),
            None => Path::new(&self.context).join("Dockerfile").display().to_string(),
        }
    }
}

/// A request, and what the engine may use of this machine for it.
pub struct Prepared {
    pub request: SolveRequest,
    pub attachments: Attachments,
    /// Directories of caches, by the names that the engine knows them by.
    pub caches: session::Dirs,
    /// Temporary directories that the build reads.
    pub directories: Directories,
}

/// Turns flags into a request without exports.
pub fn prepare(args: &FrontendArgs, secrets: &[String], ssh: &[String]) -> anyhow::Result<Prepared> {
    let is_dockerfile = args.frontend == DOCKERFILE;
    let directories = context::open(&args.context, args.file.as_deref(), is_dockerfile)?;
    let mut attrs = BTreeMap::new();
    put(&mut attrs, "filename", directories.filename.as_deref());
    put(&mut attrs, "target", args.target.as_deref());
    put(&mut attrs, "platform", args.platform.as_deref());
    put(&mut attrs, "force-network-mode", args.network.as_deref().filter(|mode| *mode != "default"));
    put(&mut attrs, "no-cache", args.no_cache.then_some(""));
    if !args.no_cache_filter.is_empty() {
        put(&mut attrs, "no-cache", Some(&args.no_cache_filter.join(",")));
    }
    put(&mut attrs, "image-resolve-mode", args.pull.then_some("pull"));
    put(&mut attrs, "cgroup-parent", args.cgroup_parent.as_deref());
    if let Some(size) = &args.shm_size {
        let bytes = memory_size(size).with_context(|| format!("--shm-size {size:?}: want a size such as 64MB"))?;
        attrs.insert("shm-size".into(), bytes.to_string());
    }
    if !args.ulimits.is_empty() {
        attrs.insert("ulimit".into(), args.ulimits.join(","));
    }
    if !args.add_hosts.is_empty() {
        attrs.insert("add-hosts".into(), hosts(&args.add_hosts)?);
    }
    for arg in &args.build_args {
        // A name alone takes the environment's value, and is left out where there is none.
        let value = match arg.split_once('=') {
            Some((name, value)) => Some((name, value.to_string())),
            None => std::env::var(arg).ok().map(|value| (arg.as_str(), value)),
        };
        attrs.extend(value.map(|(name, value)| (format!("build-arg:{name}"), value)));
    }
    if let Ok(epoch) = std::env::var("SOURCE_DATE_EPOCH") {
        attrs.entry("build-arg:SOURCE_DATE_EPOCH".into()).or_insert(epoch);
    }
    for label in &args.labels {
        let (name, value) = label.split_once('=').unwrap_or((label, ""));
        attrs.insert(format!("label:{name}"), value.into());
    }
    for opt in &args.opts {
        let (key, value) = opt.split_once('=').with_context(|| format!("--opt {opt:?}: want KEY=VALUE"))?;
        attrs.insert(key.into(), value.into());
    }
    attests(args, &mut attrs)?;
    lock::fill(directories.lock_dir(), args.locked, &mut attrs)?;
    if let Some(file) = &args.frontend_policy {
        let policy = trust::PolicyFile::open(file).context("--frontend-policy")?;
        attrs.insert(api::FRONTEND_POLICY.into(), serde_json::to_string(&policy)?);
    }
    let mut dirs = BTreeMap::new();
    let frontend = match args.frontend.strip_prefix(context::LAYOUT) {
        Some(layout) => context::layout(layout, FRONTEND_LAYOUT, &mut dirs)?,
        None => component::find(&args.frontend, directories.dockerfile.as_deref(), &mut dirs)?,
    };
    dirs.extend(directories.context.clone().map(|dir| ("context".to_string(), dir)));
    dirs.extend(directories.dockerfile.clone().map(|dir| ("dockerfile".to_string(), dir)));
    if let Some(url) = &directories.remote {
        attrs.insert("context".to_string(), url.clone());
        // The Dockerfile is not the one of the context.
        put(&mut attrs, "dockerfilekey", directories.dockerfile.as_ref().map(|_| "dockerfile"));
    }
    for named in &args.build_contexts {
        context::named(named, &mut attrs, &mut dirs)?;
    }
    let is_set = |name: &str| std::env::var_os(name).is_some();
    let agent = std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from);
    // A repository that is reached through SSH needs no flag for the agent that is there.
    let own_agent = ssh.is_empty() && agent.is_some() && context::is_ssh(&args.context);
    let ssh = if own_agent { &["default".to_string()] } else { ssh };
    let attachments = Attachments {
        dirs: dirs
            .into_iter()
            .map(|(name, path)| Ok((name, client::open_dir(path)?)))
            .collect::<anyhow::Result<_>>()?,
        credentials: credentials(),
        secrets: secrets.iter().map(|spec| secret(spec, is_set)).collect::<anyhow::Result<_>>()?,
        ssh: ssh.iter().map(|spec| ssh_agent(spec, agent.as_deref())).collect::<anyhow::Result<_>>()?,
        ..Attachments::default()
    };
    let mut entitlements = args.allow.clone();
    entitlements.extend((args.network.as_deref() == Some("host")).then(|| "network.host".to_string()));
    let request = SolveRequest {
        frontend,
        frontend_attrs: attrs,
        entitlements,
        source_policy: source_policy(args.source_policy.as_deref())?,
        ..SolveRequest::default()
    };
    Ok(Prepared { request, attachments, caches: session::Dirs::new(), directories })
}

/// Bytes of memory as docker reads them: `64m`, `64MB` and `64MiB` are the same, in units of 1024.
fn memory_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let shift = match unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit) {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// `--attest`, `--provenance` and `--sbom` as options of the build.
fn attests(args: &FrontendArgs, attrs: &mut BTreeMap<String, String>) -> anyhow::Result<()> {
    for spec in &args.attests {
        let mut fields: Vec<&str> = spec.split(',').collect();
        let kind = fields.iter().position(|field| field.starts_with("type="));
        let kind = kind.map(|at| fields.remove(at)).with_context(|| format!("--attest {spec:?}: it has no type"))?;
        attrs.insert(format!("attest:{}", &kind["type=".len()..]), fields.join(","));
    }
    for (kind, spec) in [("provenance", &args.provenance), ("sbom", &args.sbom)] {
        let Some(spec) = spec else { continue };
        let spec = match spec.as_str() {
            "true" => "",
            "false" => {
                attrs.remove(&format!("attest:{kind}"));
                continue;
            }
            fields => fields,
        };
        attrs.insert(format!("attest:{kind}"), spec.into());
    }
    Ok(())
}

fn source_policy(file: Option<&Path>) -> anyhow::Result<Option<client::policy::SourcePolicy>> {
    let Some(file) = file else { return Ok(None) };
    let text = std::fs::read_to_string(file).with_context(|| format!("source policy {}", file.display()))?;
    let policy = client::policy::parse(&text);
    Ok(Some(policy.map_err(|error| anyhow::anyhow!("source policy {}: {error}", file.display()))?))
}

/// A secret. A file that is not there is told before the build, not in the middle of it.
fn secret(spec: &str, is_set: impl Fn(&str) -> bool) -> anyhow::Result<(String, SecretSource)> {
    let secret = flags::parse_secret(spec, is_set)?;
    if let SecretSource::File(path) = &secret.1 {
        ensure!(path.exists(), "--secret {spec:?}: {}: no such file", path.display());
    }
    Ok(secret)
}

/// An SSH agent, whose socket must be there.
fn ssh_agent(spec: &str, agent: Option<&Path>) -> anyhow::Result<(String, SshAgent)> {
    let ssh = flags::parse_ssh(spec, agent)?;
    ensure!(ssh.1.socket.exists(), "--ssh {spec:?}: {}: no such socket", ssh.1.socket.display());
    Ok(ssh)
}

/// The logins that docker's config knows, if there is one.
pub fn credentials() -> Option<Arc<dyn oci::Credentials>> {
    let path = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let config = oci::docker_config::DockerConfig::from_env(path("DOCKER_CONFIG"), path("HOME"))?;
    Some(Arc::new(config))
}

fn put(attrs: &mut BTreeMap<String, String>, name: &str, value: Option<&str>) {
    attrs.extend(value.map(|value| (name.to_string(), value.to_string())));
}

/// `NAME:ADDRESS` as the frontend takes it: `NAME=ADDRESS`, separated by commas.
fn hosts(hosts: &[String]) -> anyhow::Result<String> {
    let mut list = Vec::new();
    for host in hosts {
        let split = host.split_once('=').or_else(|| host.split_once(':'));
        let Some((name, address)) = split.filter(|(name, address)| !name.is_empty() && !address.is_empty()) else {
            bail!("--add-host {host:?}: want NAME:ADDRESS");
        };
        list.push(format!("{name}={}", address.trim_start_matches('[').trim_end_matches(']')));
    }
    Ok(list.join(","))
}

/// Solves over `link`, sharing directories where the engine is in this process.
pub async fn solve(link: &Link, prepared: Prepared, display: &mut dyn Display) -> anyhow::Result<SolveResponse> {
    let id = super::session_id();
    let _shared = match link {
        Link::Embedded { api, .. } => {
            let dirs = prepared.attachments.dirs.iter().chain(&prepared.caches);
            let dirs = dirs.map(|(name, dir)| (name.clone(), dir.clone()));
            Some(api.sessions.share_dirs(&id, dirs.collect()))
        }
        Link::Remote { .. } => None,
    };
    let key = prepared.directories.context.as_deref().map(shared_key).unwrap_or_default();
    let answer = client::build(link.connection(), id, &key, prepared.attachments, prepared.request, display).await;
    Ok(answer?)
}

/// The same for every build of one directory on one machine: by it the engine finds the files that it had before.
fn shared_key(context: &std::path::Path) -> String {
    let path: PathBuf = context.canonicalize().unwrap_or_else(|_| context.to_path_buf());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    llb::Digest::of(format!("{host}\0{}", path.display()).as_bytes()).hex()[..32].to_string()
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_of_memory() {
        let sizes = ["7", "7b", "64k", "64MB", "64m", "1GiB", "1.5g", "m", "-1", "99999999999g"];
        let bytes = sizes.map(super::memory_size);
        let mega = Some(64 << 20);
        assert_eq!(bytes, [Some(7), Some(7), Some(64 << 10), mega, mega, Some(1 << 30), None, None, None, None]);
    }
}
