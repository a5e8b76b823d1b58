//! How each registry is reached: scheme, TLS, mirrors, how often to try, and how much at once.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use tokio::sync::Semaphore;
use url::Url;

use crate::Reference;

/// How long a connection may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long an answer may be silent.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// How many redirects are followed.
const REDIRECTS_MAX: usize = 10;
/// How many blobs are read from, and apart from that written to, one registry at once.
const TRANSFERS_MAX: usize = 6;

/// How one registry is reached.
#[derive(Clone, Debug, Default)]
pub struct HostConfig {
    /// `HOST[:PORT][/PATH]` to try first when something is read, in order. How a mirror is reached, its own entry says.
    pub mirrors: Vec<String>,
    /// Whether to speak http instead of https. `None`: only to this machine itself.
    pub plain_http: Option<bool>,
    /// Takes any certificate, and plain http where https fails.
    pub insecure: bool,
    /// Files of certificates (PEM) that are trusted beside the system's.
    pub ca: Vec<PathBuf>,
    /// A client certificate: files of the key and of the certificate (PEM).
    pub key_pair: Option<(PathBuf, PathBuf)>,
}

/// How often a call is tried, and how long between.
#[derive(Clone, Debug)]
pub struct Retry {
    /// Calls in all.
    pub attempts: u32,
    /// The wait after the first failure; it doubles each time.
    pub first_delay: Duration,
    /// The longest wait by our own choice.
    pub delay_max: Duration,
    /// The longest that we wait because a registry says so (`Retry-After`); it asks for more, and the call fails.
    pub retry_after_max: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Retry {
            attempts: 5,
            first_delay: Duration::from_millis(200),
            delay_max: Duration::from_secs(5),
            retry_after_max: Duration::from_secs(30),
        }
    }
}

/// All registries' configurations and connections.
#[derive(Default)]
pub struct Hosts {
    configs: BTreeMap<String, HostConfig>,
    offline: bool,
    retry: Retry,
    live: Mutex<HashMap<String, Arc<Live>>>,
}

/// What is kept for a host that was spoken to.
pub(crate) struct Live {
    http: reqwest::Client,
    pub(crate) reads: Arc<Semaphore>,
    pub(crate) writes: Arc<Semaphore>,
}

/// One way to speak to a registry.
#[derive(Clone)]
pub(crate) struct Endpoint {
    /// `HOST[:PORT]`, by which credentials are asked for.
    pub(crate) host: String,
    /// `https://HOST[:PORT]/v2/`, and for a mirror its path.
    pub(crate) base: Url,
    /// What a mirror puts before the repository, with a slash at its end; else empty.
    pub(crate) prefix: String,
    /// For a mirror: the registry that it stands for.
    pub(crate) mirror_of: Option<String>,
    pub(crate) live: Arc<Live>,
}

impl Endpoint {
    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.live.http
    }
}

impl Hosts {
    /// Registries by name (`docker.io`, `localhost:5000`); what is not in it is reached by the defaults.
    pub fn new(configs: BTreeMap<String, HostConfig>) -> Hosts {
        Hosts { configs, ..Hosts::default() }
    }

    /// The same with another patience.
    pub fn with_retry(self, retry: Retry) -> Hosts {
        Hosts { retry, ..self }
    }

    /// The same, and nothing is asked: each call fails with [`Kind::Offline`](crate::Kind::Offline).
    pub fn offline(self) -> Hosts {
        Hosts { offline: true, ..self }
    }

    /// Whether nothing is asked.
    pub fn is_offline(&self) -> bool {
        self.offline
    }

    pub(crate) fn retry(&self) -> &Retry {
        &self.retry
    }

    /// Where to read from, in order: mirrors, then the registry itself.
    pub(crate) fn to_read(&self, reference: &Reference, insecure: bool) -> anyhow::Result<Vec<Endpoint>> {
        let mut endpoints = Vec::new();
        for mirror in self.configs.get(reference.registry()).map(|config| &config.mirrors[..]).unwrap_or_default() {
            endpoints.extend(self.mirror(mirror, reference.registry())?);
        }
        endpoints.extend(self.to_write(reference, insecure)?);
        Ok(endpoints)
    }

    /// The registry itself: one endpoint, or https and http when anything goes.
    pub(crate) fn to_write(&self, reference: &Reference, insecure: bool) -> anyhow::Result<Vec<Endpoint>> {
        self.endpoints(reference.registry(), reference.host(), "", None, insecure)
    }

    fn mirror(&self, mirror: &str, of: &str) -> anyhow::Result<Vec<Endpoint>> {
        let bare = mirror.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
        let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        self.endpoints(host, host, &prefix, Some(of.to_string()), false)
    }

    fn endpoints(
        &self,
        name: &str,
        host: &str,
        prefix: &str,
        mirror_of: Option<String>,
        insecure: bool,
    ) -> anyhow::Result<Vec<Endpoint>> {
        let mut config = self.configs.get(name).cloned().unwrap_or_default();
        config.insecure |= insecure;
        let schemes: &[&str] = match (config.plain_http.unwrap_or_else(|| is_loopback(host)), config.insecure) {
            (true, _) => &["http"],
            (false, true) => &["https", "http"],
            (false, false) => &["https"],
        };
        let live = self.live(host, &config)?;
        let endpoint = |scheme: &&str| {
            let base = format!("{scheme}://{host}/v2/");
            Ok(Endpoint {
                host: host.to_string(),
                base: Url::parse(&base).with_context(|| format!("registry {host:?} is not a host name"))?,
                prefix: prefix.to_string(),
                mirror_of: mirror_of.clone(),
                live: live.clone(),
            })
        };
        schemes.iter().map(endpoint).collect()
    }

    /// The connections to a host; made once for each way of trusting it.
    fn live(&self, host: &str, config: &HostConfig) -> anyhow::Result<Arc<Live>> {
        let key = format!("{host} insecure={}", config.insecure);
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = live.get(&key) {
            return Ok(found.clone());
        }
        let made = Arc::new(Live {
            http: http_client(host, config).with_context(|| format!("registry {host}"))?,
            reads: Arc::new(Semaphore::new(TRANSFERS_MAX)),
            writes: Arc::new(Semaphore::new(TRANSFERS_MAX)),
        });
        live.insert(key, made.clone());
        Ok(made)
    }
}

pub(crate) fn http_client(host: &str, config: &HostConfig) -> anyhow::Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("pintle/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .referer(false)
        .redirect(redirects());
    if is_loopback(host) {
        builder = builder.no_proxy();
    }
    if config.insecure {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    for file in &config.ca {
        let certificates = reqwest::Certificate::from_pem_bundle(&read(file)?)
            .with_context(|| format!("certificates in {}", file.display()))?;
        builder = builder.tls_certs_merge(certificates);
    }
    if let Some((key, certificate)) = &config.key_pair {
        let mut pem = read(certificate)?;
        pem.push(b'\n');
        pem.extend(read(key)?);
        let identity = reqwest::Identity::from_pem(&pem)
            .with_context(|| format!("client certificate {} with key {}", certificate.display(), key.display()))?;
        builder = builder.identity(identity);
    }
    Ok(builder.build()?)
}

/// Follows to http and https alone, and never from https to http: what was safe stays so.
fn redirects() -> reqwest::redirect::Policy {
    reqwest::redirect::Policy::custom(|attempt| {
        let downgrade =
            attempt.previous().last().is_some_and(|from| from.scheme() == "https") && attempt.url().scheme() != "https";
        if attempt.previous().len() > REDIRECTS_MAX {
            attempt.error(format!("more than {REDIRECTS_MAX} redirects"))
        } else if downgrade || !matches!(attempt.url().scheme(), "http" | "https") {
            attempt.error("redirect from https to something else")
        } else {
            attempt.follow()
        }
    })
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

/// Whether `host` (maybe with a port) is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host.split(':').next().unwrap_or(""),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(hosts: &Hosts, name: &str, insecure: bool) -> Vec<String> {
        let endpoints = hosts.to_read(&name.parse().unwrap(), insecure).unwrap();
        endpoints.iter().map(|e| format!("{}{}", e.base, e.prefix)).collect()
    }

    #[test]
    fn where_a_registry_is() {
        let mirrors = vec!["mirror.example:5000/hub".to_string(), "https://other.example".to_string()];
        let hub = HostConfig { mirrors, ..HostConfig::default() };
        let plain = HostConfig { plain_http: Some(true), ..HostConfig::default() };
        let tls = HostConfig { plain_http: Some(false), ..HostConfig::default() };
        let hosts = Hosts::new(BTreeMap::from([
            ("docker.io".to_string(), hub),
            ("mirror.example:5000".to_string(), plain),
            ("localhost:1".to_string(), tls),
        ]));
        let table: [(&str, bool, &[&str]); 8] = [
            (
                "alpine",
                false,
                &[
                    "http://mirror.example:5000/v2/hub/",
                    "https://other.example/v2/",
                    "https://registry-1.docker.io/v2/",
                ],
            ),
            ("quay.io/a/b", false, &["https://quay.io/v2/"]),
            ("quay.io/a/b", true, &["https://quay.io/v2/", "http://quay.io/v2/"]),
            ("localhost:5000/a", false, &["http://localhost:5000/v2/"]),
            ("127.0.0.2:5000/a", true, &["http://127.0.0.2:5000/v2/"]),
            ("[::1]:5000/a", false, &["http://[::1]:5000/v2/"]),
            ("localhost:1/a", false, &["https://localhost:1/v2/"]),
            ("mirror.example:5000/a", false, &["http://mirror.example:5000/v2/"]),
        ];
        for (name, insecure, want) in table {
            assert_eq!(urls(&hosts, name, insecure), want, "{name}");
        }
    }

    #[test]
    fn a_missing_certificate_is_named() {
        let config = HostConfig { ca: vec!["/nonexistent/ca.pem".into()], ..HostConfig::default() };
        let hosts = Hosts::new(BTreeMap::from([("quay.io".to_string(), config)]));
        let error = hosts.to_read(&"quay.io/a".parse().unwrap(), false).err().unwrap();
        assert!(format!("{error:#}").contains("/nonexistent/ca.pem"), "{error:#}");
    }
}
