//! What the user asked for, beside the Dockerfile: the options that BuildKit's frontends share.

use std::collections::BTreeMap;

use pintle_sdk::{Error, LinuxResources, Network, Request, Result, source::ResolveMode};

use crate::{
    platform::Platform,
    text::{csv, parse_bool},
};

/// The options of a build, read.
#[derive(Debug)]
pub struct Options {
    /// The stage to build; the last when empty.
    pub target: String,
    /// Look at every stage, also at those that the target does not need: checks do.
    pub all_stages: bool,
    /// What to build for; empty means the build machine, or what the base image is for.
    pub platforms: Vec<Platform>,
    /// The build machine.
    pub build_platform: Platform,
    /// Answer results by platform.
    pub multi_platform: bool,
    /// What a `SOURCE_DATE_EPOCH` that is no number was found to mean: a time, or that there is none.
    pub found_epoch: Option<Option<i64>>,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// A bill of materials is asked for.
    pub sbom: bool,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// Stages whose steps always run.
    pub no_cache: NoCache,
    /// Whether registries are asked.
    pub resolve_mode: ResolveMode,
    /// Lines of /etc/hosts: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// Host name inside of steps.
    pub hostname: String,
    /// Bytes of /dev/shm; 0: the default.
    pub shm_size: i64,
    /// Name, soft and hard limit.
    pub ulimits: Vec<(String, i64, i64)>,
    /// Parent of the steps' cgroups.
    pub cgroup_parent: String,
    /// Network of steps that do not say.
    pub network: Network,
    /// Put in front of the names of cache mounts.
    pub cache_namespace: String,
    /// Memory and CPU limits of steps.
    pub resources: LinuxResources,
}

/// See [`Options::no_cache`].
#[derive(Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum NoCache {
    None,
    All,
    Stages(Vec<String>),
}

impl NoCache {
    /// Whether a stage's steps always run.
    pub fn covers(&self, stage: &str) -> bool {
        match self {
            NoCache::None => false,
            NoCache::All => true,
            NoCache::Stages(stages) => stages.iter().any(|name| name.eq_ignore_ascii_case(stage)),
        }
    }
}

/// What a build is for when nobody says: the host puts its own platform into this option.
pub const BUILD_PLATFORM: &str = "build-platform";

impl Options {
    /// Reads a request's options.
    ///
    /// # Errors
    /// Names the option that is not valid.
    pub fn parse(request: &Request) -> Result<Self> {
        let opt = |name: &str| request.opt(name).unwrap_or_default();
        let arg = |name: &str| request.opt(&format!("build-arg:{name}"));
        let local = Platform::new("linux", "amd64");
        let build_platform = match request.opt(BUILD_PLATFORM) {
            Some(text) => Platform::parse(text, &local).map_err(Error::invalid)?.normalized(),
            None => local,
        };
        let platforms = parse_platforms(opt("platform"), &build_platform)?;
        let multi_platform = arg("BUILDKIT_MULTI_PLATFORM").or(request.opt("multi-platform"));
        let pairs = |prefix| request.opts_with(prefix).map(|(name, value)| (name.to_string(), value.to_string()));
        Ok(Options {
            target: opt("target").to_string(),
            all_stages: false,
            found_epoch: None,
            multi_platform: parse_multi_platform(multi_platform, platforms.len())?,
            platforms,
            build_platform,
            build_args: pairs("build-arg:").collect(),
            sbom: request.opts.contains_key("attest:sbom"),
            labels: pairs("label:").collect(),
            no_cache: match request.opts.get("no-cache").map(String::as_str) {
                None => NoCache::None,
                Some("") => NoCache::All,
                Some(stages) => NoCache::Stages(stages.split(',').map(str::to_string).collect()),
            },
            resolve_mode: parse_resolve_mode(opt("image-resolve-mode"))?,
            extra_hosts: parse_extra_hosts(opt("add-hosts"))?,
            hostname: arg("BUILDKIT_SANDBOX_HOSTNAME").unwrap_or(opt("hostname")).to_string(),
            shm_size: number(request, "shm-size")?,
            ulimits: parse_ulimits(opt("ulimit"))?,
            cgroup_parent: opt("cgroup-parent").to_string(),
            network: parse_network(opt("force-network-mode"))?,
            cache_namespace: arg("BUILDKIT_CACHE_MOUNT_NS").unwrap_or_default().to_string(),
            resources: parse_resources(request)?,
        })
    }

    /// Whether any step has limits.
    pub fn has_resources(&self) -> bool {
        self.resources != LinuxResources::default()
    }
}

fn invalid(option: &str, why: impl std::fmt::Display) -> Error {
    Error::invalid(format!("invalid option {option}: {why}"))
}

fn parse_platforms(text: &str, local: &Platform) -> Result<Vec<Platform>> {
    let names = text.split(',').filter(|name| !name.is_empty());
    let parse = |name| Platform::parse(name, local).map(|platform| platform.normalized());
    names.map(parse).collect::<Result<_, _>>().map_err(|why| invalid("platform", why))
}

fn parse_multi_platform(text: Option<&str>, platforms: usize) -> Result<bool> {
    let Some(text) = text else { return Ok(platforms > 1) };
    let wanted = parse_bool(text).ok_or_else(|| invalid("multi-platform", format!("{text:?} is not true or false")))?;
    if !wanted && platforms > 1 {
        return Err(invalid("multi-platform", "several platforms are asked for, so it cannot be false"));
    }
    Ok(wanted)
}

fn parse_resolve_mode(text: &str) -> Result<ResolveMode> {
    match text {
        "" | "default" => Ok(ResolveMode::Default),
        "pull" => Ok(ResolveMode::Pull),
        "local" => Ok(ResolveMode::Local),
        other => Err(invalid("image-resolve-mode", format!("{other:?} is not default, pull or local"))),
    }
}

fn parse_network(text: &str) -> Result<Network> {
    match text {
        "" | "sandbox" => Ok(Network::Sandbox),
        "host" => Ok(Network::Host),
        "none" => Ok(Network::None),
        other => Err(invalid("force-network-mode", format!("{other:?} is not sandbox, host or none"))),
    }
}

fn list(option: &str, text: &str) -> Result<Vec<String>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    csv::fields(text).map_err(|why| invalid(option, why))
}

fn parse_extra_hosts(text: &str) -> Result<Vec<(String, String)>> {
    let host = |field: String| {
        let lower = field.to_ascii_lowercase();
        let pair =
            lower.split_once('=').ok_or_else(|| invalid("add-hosts", format!("{field:?} is not name=address")))?;
        let address: std::net::IpAddr =
            pair.1.parse().map_err(|_| invalid("add-hosts", format!("{:?} is not an address", pair.1)))?;
        Ok((pair.0.to_string(), address.to_string()))
    };
    list("add-hosts", text)?.into_iter().map(host).collect()
}

const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

fn parse_ulimits(text: &str) -> Result<Vec<(String, i64, i64)>> {
    list("ulimit", text)?.iter().map(|field| parse_ulimit(field)).collect()
}

fn parse_ulimit(field: &str) -> Result<(String, i64, i64)> {
    let wrong = |why: &str| invalid("ulimit", format!("{field:?}: {why}"));
    let (name, limits) = field.split_once('=').ok_or_else(|| wrong("want name=soft[:hard]"))?;
    if !ULIMITS.contains(&name) {
        return Err(wrong("there is no such limit"));
    }
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| text.parse::<i64>().map_err(|_| wrong("want name=soft[:hard]"));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(wrong("the soft limit is above the hard one"));
    }
    Ok((name.to_string(), soft, hard))
}

fn number<T: std::str::FromStr + Default>(request: &Request, option: &str) -> Result<T> {
    let Some(text) = request.opt(option) else { return Ok(T::default()) };
    text.parse().map_err(|_| invalid(option, format!("{text:?} is not a number")))
}

fn parse_resources(request: &Request) -> Result<LinuxResources> {
    let positive = |option: &str| -> Result<i64> {
        let value: i64 = number(request, option)?;
        if request.opt(option).is_some() && value <= 0 {
            return Err(invalid(option, "must be above 0"));
        }
        Ok(value)
    };
    let memory_swap: i64 = number(request, "memswap")?;
    if request.opt("memswap").is_some() && (memory_swap < -1 || memory_swap == 0) {
        return Err(invalid("memswap", "must be -1 (no limit) or above 0"));
    }
    let text = |option: &str| request.opt(option).unwrap_or_default().to_string();
    Ok(LinuxResources {
        memory: positive("memory")?,
        memory_swap,
        cpu_shares: positive("cpushares")?.unsigned_abs(),
        cpu_period: positive("cpuperiod")?.unsigned_abs(),
        cpu_quota: positive("cpuquota")?,
        cpuset_cpus: text("cpusetcpus"),
        cpuset_mems: text("cpusetmems"),
    })
}
