//! The configuration file: how the engine is set up, in buildkitd.toml's words where it has them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use build::{Freshness, FrontendPolicy, FrontendSettings, ImageSettings};
use frontend::LimitChanges;
use serde::Deserialize;
use units::{Size, Time};

use crate::{text, trust};

/// The largest file of a configuration, in bytes.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// The whole file. Every key may be missing; one that is not known is an error that names its line.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// Where the store is.
    pub root: Option<PathBuf>,
    /// `builtin`, `crun`, `runc`, or the path of an OCI runtime.
    pub executor: Option<String>,
    /// `overlay` or `copy`.
    pub snapshotter: Option<String>,
    /// The most that the store may hold: `20GB`.
    pub max_used_space: Option<Size>,
    /// How many steps may run at once.
    #[serde(rename = "max-parallelism")]
    pub max_parallelism: Option<usize>,
    /// What the daemon says of itself, beside what it is.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Fetch nothing: registries, repositories and servers are not asked.
    #[serde(default)]
    pub offline: bool,
    /// Which network steps have that ask for none in particular.
    #[serde(default)]
    pub network: Network,
    /// Who is asked for names in steps with a network, in place of those that this machine asks.
    #[serde(default)]
    pub dns: Dns,
    /// Which devices steps may ask for.
    #[serde(default)]
    pub cdi: Cdi,
    /// The parent cgroup of steps that name none.
    #[serde(default)]
    pub default_cgroup_parent: String,
    /// Where steps send the spans of their traces.
    #[serde(default)]
    pub otel: Otel,
    /// Registries by name.
    #[serde(default)]
    pub registry: BTreeMap<String, Registry>,
    /// How build languages are found.
    #[serde(default)]
    pub frontends: Frontends,
    /// The rules on frontends that count: those of [`Config::frontends`] with the keys that they name, or others in their place.
    #[serde(skip)]
    pub trust: build::Trust,
}

/// The traces of steps.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Otel {
    /// The socket; one beside the store where there is none.
    pub socket_path: Option<PathBuf>,
}

/// What steps find in /etc/resolv.conf; what is empty is as on this machine.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Dns {
    /// Addresses.
    #[serde(default)]
    pub nameservers: Vec<String>,
    /// Options of resolv.conf(5).
    #[serde(default)]
    pub options: Vec<String>,
    /// Domains in which a name is looked up.
    #[serde(default)]
    pub search_domains: Vec<String>,
}

/// The network of steps. Without a word of it, it is the host's.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Network {
    /// How it is set up.
    pub mode: NetworkMode,
    /// A CNI configuration, or a list of such.
    pub cni_config_path: PathBuf,
    /// Where CNI's plugins are.
    pub cni_binary_path: PathBuf,
    /// How many network namespaces are kept ready.
    pub cni_pool_size: usize,
    /// The network device of the bridge.
    pub bridge_name: String,
    /// The addresses of steps on the bridge, in CIDR notation.
    pub bridge_subnet: String,
}

/// See [`Network`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NetworkMode {
    /// The host's network.
    #[default]
    Host,
    /// By CNI where the configuration is there, else the host's.
    Auto,
    /// By CNI.
    Cni,
    /// A bridge.
    Bridge,
}

impl std::str::FromStr for NetworkMode {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "" | "auto" => Ok(NetworkMode::Auto),
            "host" => Ok(NetworkMode::Host),
            "cni" => Ok(NetworkMode::Cni),
            "bridge" => Ok(NetworkMode::Bridge),
            _ => Err(format!("{word:?}: want auto, host, cni or bridge")),
        }
    }
}

/// The paths and names are those of BuildKit's daemon.
impl Default for Network {
    fn default() -> Self {
        Network {
            mode: NetworkMode::default(),
            cni_config_path: "/etc/buildkit/cni.json".into(),
            cni_binary_path: "/opt/cni/bin".into(),
            cni_pool_size: 0,
            bridge_name: "buildkit0".into(),
            bridge_subnet: "10.10.0.0/16".into(),
        }
    }
}

impl From<Network> for exec::Networks {
    fn from(network: Network) -> exec::Networks {
        let Network { mode, cni_config_path: file, bridge_name: name, bridge_subnet: subnet, .. } = network;
        let mode = match mode {
            NetworkMode::Cni => exec::NetworkMode::Cni(file),
            NetworkMode::Auto if file.exists() => exec::NetworkMode::Cni(file),
            NetworkMode::Bridge => exec::NetworkMode::Bridge { name, subnet },
            NetworkMode::Host | NetworkMode::Auto => exec::NetworkMode::Host,
        };
        exec::Networks { mode, plugins: network.cni_binary_path, ready: network.cni_pool_size }
    }
}

/// How devices are found by the names that `RUN --device` has.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Cdi {
    /// There are none.
    #[serde(default)]
    pub disabled: bool,
    /// Where files name them; /etc/cdi and /var/run/cdi without any.
    #[serde(default)]
    pub spec_dirs: Vec<PathBuf>,
    /// Devices (`vendor.com/class=name`) and kinds (`vendor.com/class`) that any build may use.
    #[serde(default)]
    pub auto_allowed: Vec<String>,
}

impl From<Cdi> for exec::Cdi {
    fn from(cdi: Cdi) -> exec::Cdi {
        let auto_allowed = cdi.auto_allowed.into_iter().collect();
        match (cdi.disabled, cdi.spec_dirs.is_empty()) {
            (true, _) => exec::Cdi::disabled(),
            (false, true) => exec::Cdi { auto_allowed, ..exec::Cdi::default() },
            (false, false) => exec::Cdi { dirs: cdi.spec_dirs, auto_allowed },
        }
    }
}

impl From<Dns> for exec::Dns {
    fn from(dns: Dns) -> exec::Dns {
        exec::Dns { nameservers: dns.nameservers, options: dns.options, search: dns.search_domains }
    }
}

/// How build languages are found by the names that `# syntax=` lines have.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Frontends {
    /// Names that stand for others: `mine = "registry.example/lang:1"`.
    #[serde(default)]
    pub alias: BTreeMap<String, String>,
    /// For how long a registry is not asked again what a tag means: `24h`.
    pub check_interval: Option<Time>,
    /// Take what was fetched before, and ask no registry.
    #[serde(default)]
    pub offline: bool,
    /// Whether `docker/dockerfile` is answered by the frontend of this program, or fetched.
    #[serde(default)]
    pub dockerfile: Dockerfile,
    /// How those run that are images.
    #[serde(default)]
    pub image: Image,
    /// What those may use that are components, in place of the usual [`frontend::Limits`].
    #[serde(default)]
    pub limits: LimitChanges,
    /// Which may run, and what they may ask, as it is written: [`Config::trust`] is what counts.
    #[serde(default)]
    trust: FrontendPolicy,
    /// The same in a file of its own, whose keys are relative to it.
    policy: Option<PathBuf>,
}

/// How frontends run that are images.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Repositories whose frontends have a network: `["registry.example/lang"]`.
    #[serde(default)]
    pub network: Vec<Repository>,
    /// The most memory that one may have: `1GB`.
    pub memory: Option<Size>,
    /// How long one may do nothing before it is stopped: `5m`.
    pub idle: Option<Time>,
}

/// The complete name of a repository, from one that may leave parts of it out.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Repository(String);

impl TryFrom<String> for Repository {
    type Error = String;

    fn try_from(name: String) -> Result<Repository, String> {
        let reference: oci::Reference = name.parse().map_err(|error| format!("{name:?}: {error}"))?;
        match name.contains('@') || reference.repository().is_empty() || name.ends_with(':') {
            true => Err(format!("{name:?}: want a repository without tag or digest")),
            false => Ok(Repository(reference.name())),
        }
    }
}

/// Who answers for `docker/dockerfile`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dockerfile {
    /// The frontend of this program.
    #[default]
    Builtin,
    /// What is published under the name.
    Image,
}

/// How a registry is reached.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// Asked first when something is read, in order.
    #[serde(default)]
    pub mirrors: Vec<String>,
    /// Plain http.
    pub http: Option<bool>,
    /// Any certificate is taken.
    #[serde(default)]
    pub insecure: bool,
    /// Certificates that are trusted.
    #[serde(default)]
    pub ca: Vec<PathBuf>,
    /// Our own certificates; the first is used.
    #[serde(default)]
    pub keypair: Vec<KeyPair>,
}

/// A certificate with its key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyPair {
    /// The key's file.
    pub key: PathBuf,
    /// The certificate's file.
    pub cert: PathBuf,
}

impl Frontends {
    /// The rules, which stand here or in a file. `text` is all of the configuration.
    fn trust(&self, text: &str) -> anyhow::Result<build::Trust> {
        match &self.policy {
            None => {
                let trust = self.trust.trust("frontends.trust in the engine's configuration", trust::read_file);
                trust.map_err(|error| anyhow::anyhow!("line {}: frontends.trust: {error}", error.line(text)))
            }
            Some(_) if !self.trust.is_silent() => {
                anyhow::bail!("frontends: rules stand in trust, or in the file that policy names, not in both")
            }
            Some(file) => Ok(trust::PolicyFile::open(file).context("frontends.policy")?.read()?),
        }
    }
}

impl Image {
    fn settings(&self) -> ImageSettings {
        ImageSettings {
            network: self.network.iter().map(|repository| repository.0.clone()).collect(),
            memory: self.memory.map(|size| size.0),
            idle: self.idle.map_or(ImageSettings::IDLE, |time| time.0),
        }
    }
}

impl Config {
    /// Reads `path`, or the default file when it is there.
    pub fn load(path: Option<&Path>) -> anyhow::Result<Self> {
        let default = crate::paths::config();
        let path = match path {
            Some(path) => path,
            None if default.exists() => &default,
            None => return Self::parse(""),
        };
        let text = text::read(path, CONFIG_BYTES_MAX).context("the configuration")?;
        Self::parse(&text).with_context(|| format!("in the configuration {}", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut config: Config = toml::from_str(text).map_err(hinted)?;
        config.trust = config.frontends.trust(text)?;
        Ok(config)
    }

    /// The most bytes that the store may hold.
    pub fn max_bytes(&self) -> Option<u64> {
        self.max_used_space.map(|size| size.0)
    }

    /// How names of frontends are understood.
    pub fn frontends(&self) -> FrontendSettings {
        let own = &self.frontends;
        FrontendSettings {
            aliases: own.alias.clone(),
            freshness: match own.offline || self.offline {
                true => Freshness::Offline,
                false => {
                    Freshness::After(own.check_interval.map_or(FrontendSettings::CHECK_INTERVAL, |interval| interval.0))
                }
            },
            fetch_dockerfile: own.dockerfile == Dockerfile::Image,
            image: own.image.settings(),
            trust: self.trust.clone(),
        }
    }

    /// What frontends that are components may use.
    pub fn limits(&self) -> frontend::Limits {
        self.frontends.limits.over(frontend::Limits::default())
    }

    /// The registries, as the engine takes them.
    pub fn registries(&self) -> Arc<oci::Hosts> {
        let configs = self.registry.iter().map(|(name, registry)| {
            let config = oci::HostConfig {
                mirrors: registry.mirrors.clone(),
                plain_http: registry.http,
                insecure: registry.insecure,
                ca: registry.ca.clone(),
                key_pair: registry.keypair.first().map(|pair| (pair.key.clone(), pair.cert.clone())),
            };
            (name.clone(), config)
        });
        let hosts = oci::Hosts::new(configs.collect());
        Arc::new(if self.offline { hosts.offline() } else { hosts })
    }
}

/// What TOML's reader says, after what is likely meant, where the key is one of another place or file.
fn hinted(error: toml::de::Error) -> anyhow::Error {
    let message = error.message();
    let is_unknown = |keys: &[&str]| keys.iter().any(|key| message.starts_with(&format!("unknown field `{key}`")));
    let hint = match () {
        () if is_unknown(&["frontend", "trust", "rule", "unlisted"]) => "rules on frontends stand in frontends.trust",
        () if is_unknown(&["worker", "grpc"]) => "buildkitd.toml is read by this program when it is called buildkitd",
        () if message == "invalid type: map, expected a sequence" => {
            "each table of a list begins in two brackets: [[...]]"
        }
        () => return error.into(),
    };
    anyhow::Error::new(error).context(hint)
}

#[cfg(test)]
mod tests {
    use super::Config;

    #[test]
    fn a_whole_file() {
        let text = r#"
            root = "/srv/pintle"
            executor = "runc"
            maxUsedSpace = "20GB"
            max-parallelism = 3
            [frontends.limits]
            memory = "1GB"
            running = "90s"
            vertices = 12
            [registry."docker.io"]
            mirrors = ["mirror.example:5000/hub"]
            [registry."mirror.example:5000"]
            http = true
            [[registry."mirror.example:5000".keypair]]
            key = "k.pem"
            cert = "c.pem"
        "#;
        let config = Config::parse(text).unwrap();
        assert_eq!(config.max_bytes(), Some(20_000_000_000));
        let limits = config.limits();
        assert_eq!((limits.memory_bytes, limits.running.as_secs(), limits.vertices), (1_000_000_000, 90, 12));
        assert_eq!(config.registry["docker.io"].mirrors, ["mirror.example:5000/hub"]);
        assert_eq!(config.registry["mirror.example:5000"].http, Some(true));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, want) in [
            ("rooot = \"/x\"", "unknown field `rooot`"),
            ("\nroot = 5", "line 2"),
            ("\nmaxUsedSpace = \"much\"", "line 2"),
            ("maxUsedSpace = \"much\"", "\"much\" is no size: want for instance 500MB"),
            ("[frontends]\ncheckInterval = \"soon\"", "line 2"),
            ("frontends.dockerfile = \"mine\"", "unknown variant `mine`"),
            ("\nfrontends.image.network = [\"A\"]", "line 2"),
            ("frontends.image.network = [\"a:1@b\"]", "frontends.image.network"),
            ("\nfrontends.image.memory = \"much\"", "line 2"),
            ("frontends.image.memory = true", "a size: \"500MB\", or a number of bytes"),
            ("[frontends.image]\n\nidle = \"soon\"", "line 3"),
            ("[frontends.limits]\npatience = 3", "line 2"),
            ("frontends.limits.patience = 3", "there is no limit \"patience\", but component, memory"),
            ("[frontends.limits]\nrefs = 1\nmemory = \"much\"", "line 3"),
            ("[[frontends.trust.rule]]\nlimits = { refs = 1,\nrunning = \"1GB\" }", "line 3"),
            ("frontends.image.cpu = 1", "unknown field `cpu`"),
            ("frontends.trust.unlisted = \"ask\"", "unknown variant `ask`"),
            ("[[frontends.trust.rule]]\ngrants = [\"all\"]", "unknown variant `all`"),
            ("[[frontends.trust.rule]]\ndigests = [\"x\"]", "line 2"),
            ("[[frontends.trust.rule]]\nkeys = [\"/no/such\"]", "line 2: frontends.trust: open /no/such"),
            ("[trust]\nunlisted = \"warn\"", "rules on frontends stand in frontends.trust: TOML parse error at line 1"),
            (
                "[frontends]\nunlisted = \"warn\"",
                "rules on frontends stand in frontends.trust: TOML parse error at line 2",
            ),
            ("[frontends.trust.rule]\nnames = [\"a\"]", "two brackets: [[...]]: TOML parse error at line 1"),
            ("[worker.oci]\ngc = true", "when it is called buildkitd: TOML parse error at line 1"),
            ("frontends.policy = \"/no/such\"", "frontends.policy: open /no/such"),
            ("[frontends]\npolicy = \"/x\"\ntrust.unlisted = \"warn\"", "not in both"),
            ("[registry.\"a\"]\nmirror = []", "unknown field `mirror`"),
        ] {
            let error = format!("{:#}", Config::parse(text).unwrap_err());
            assert!(error.contains(want), "{text:?}: {error}");
        }
    }
}
