//! The program under the name `buildkitd`: its flags and its configuration file, and behind them `pintle daemon`.

mod apply;
mod flags;
mod gc;
mod keys;
mod read;

use std::path::{Path, PathBuf};

use anyhow::Context;
use client::TlsFiles;

use crate::{
    config::{Config, NetworkMode},
    daemon,
};

/// The name that this program must have to be that.
const NAME: &str = "buildkitd";

/// Whether the program was started under the name.
pub fn is_called() -> bool {
    let name = std::env::args_os().next().map(PathBuf::from);
    name.as_deref().and_then(Path::file_name).is_some_and(|name| name == NAME)
}

/// buildkitd's flags. Those that are set win over the file.
#[derive(clap::Parser, Debug, Default)]
#[command(name = "buildkitd", version, about = "BuildKit's daemon, by pintle", max_term_width = 110)]
pub struct Flags {
    /// The configuration file; /etc/buildkit/buildkitd.toml, or ~/.config/buildkit/buildkitd.toml, when it is there.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Log what the daemon does.
    #[arg(long)]
    debug: bool,
    /// Log everything.
    #[arg(long)]
    trace: bool,
    /// Where the store is.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Where to listen: unix:///path, tcp://host:port, fd://; may be given several times.
    #[arg(long, value_name = "URL")]
    addr: Vec<String>,
    /// text or json.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<crate::log::Format>,
    /// error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<crate::log::Level>,
    /// Group (a number) that may use unix sockets.
    #[arg(long, value_name = "GID")]
    group: Option<u32>,
    /// Our certificate.
    #[arg(long, value_name = "FILE")]
    tlscert: Option<PathBuf>,
    /// The key of our certificate.
    #[arg(long, value_name = "FILE")]
    tlskey: Option<PathBuf>,
    /// What certificates of clients are checked against.
    #[arg(long, value_name = "FILE")]
    tlscacert: Option<PathBuf>,
    /// Listen on TCP for anybody, from anywhere.
    #[arg(long)]
    allow_unauthenticated_tcp: bool,
    /// What builds may ask for; may be given several times.
    #[arg(long, value_name = "NAME")]
    allow_insecure_entitlement: Vec<build::Entitlement>,
    /// Where steps send the spans of their traces, a socket.
    #[arg(long, value_name = "PATH")]
    otel_socket_path: Option<PathBuf>,
    /// Steps may ask for no devices.
    #[arg(long)]
    cdi_disabled: bool,
    /// Where files of the Container Device Interface are; may be given several times.
    #[arg(long, value_name = "DIR")]
    cdi_spec_dir: Vec<PathBuf>,
    /// Directories of the user, not of the system.
    #[arg(long)]
    rootless: bool,
    /// true, false or auto.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    oci_worker: Option<String>,
    /// NAME=VALUE; may be given several times.
    #[arg(long, value_name = "NAME=VALUE")]
    oci_worker_labels: Vec<String>,
    /// auto, overlayfs or native.
    #[arg(long, value_name = "NAME")]
    oci_worker_snapshotter: Option<String>,
    /// auto, host, cni or bridge.
    #[arg(long, value_name = "MODE")]
    oci_worker_net: Option<NetworkMode>,
    /// The CNI configuration.
    #[arg(long, value_name = "FILE")]
    oci_cni_config_path: Option<PathBuf>,
    /// Where CNI's plugins are.
    #[arg(long, value_name = "DIR")]
    oci_cni_binary_dir: Option<PathBuf>,
    /// How many network namespaces are kept ready.
    #[arg(long, value_name = "COUNT")]
    oci_cni_pool_size: Option<usize>,
    /// An OCI runtime: crun, runc or a path.
    #[arg(long, value_name = "PROGRAM")]
    oci_worker_binary: Option<String>,
    /// How many steps may run at once.
    #[arg(long, value_name = "COUNT")]
    oci_max_parallelism: Option<usize>,
    /// true, false or auto: there is no other worker.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    containerd_worker: Option<String>,
    #[command(flatten)]
    keys: flags::KeyFlags,
}

/// All that the daemon is told.
#[derive(Debug, Default)]
pub struct Settings {
    /// Where the store is.
    pub root: PathBuf,
    /// The engine.
    pub config: Config,
    /// Where to listen.
    pub daemon: daemon::Options,
    /// What builds may ask for.
    pub entitlements: Vec<build::Entitlement>,
    /// How to log.
    pub log: crate::log::Options,
    /// How long builds are remembered.
    pub history: crate::api::HistoryLimits,
    /// What is deleted after builds.
    pub gc: gc::Gc,
    /// Keys of the file that change nothing here, with the reason.
    pub notes: Vec<String>,
}

impl Flags {
    /// Flags and file as one.
    pub fn settings(self) -> anyhow::Result<Settings> {
        let mut settings =
            Settings { root: self.default("lib/buildkit", ".local/share/buildkit"), ..Settings::default() };
        settings.config.network.mode = NetworkMode::Auto;
        if let Some((path, text)) = self.file()? {
            apply::apply(&mut settings, read::read(&text, &path.display().to_string())?)?;
        }
        apply::apply(&mut settings, self.keys.entries()?)?;
        self.over(&mut settings)?;
        let root = settings.root.clone();
        settings.gc.measure(&root);
        if settings.daemon.addresses.is_empty() {
            settings.daemon.addresses.push(format!("unix://{}", self.socket().display()));
        }
        Ok(settings)
    }

    fn file(&self) -> anyhow::Result<Option<(PathBuf, String)>> {
        let default = match self.rootless {
            true => home().join(".config/buildkit/buildkitd.toml"),
            false => PathBuf::from("/etc/buildkit/buildkitd.toml"),
        };
        let path = match &self.config {
            Some(path) => path.clone(),
            None if default.exists() => default,
            None => return Ok(None),
        };
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("read the configuration {}", path.display()))?;
        Ok(Some((path, text)))
    }

    /// A directory of the system, or of the user.
    fn default(&self, system: &str, user: &str) -> PathBuf {
        if self.rootless { home().join(user) } else { Path::new("/var").join(system) }
    }

    fn socket(&self) -> PathBuf {
        let runtime =
            std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| self.rootless && path.is_absolute());
        runtime.unwrap_or_else(|| "/run".into()).join("buildkit/buildkitd.sock")
    }

    /// Puts the flags that are set over the file.
    fn over(&self, settings: &mut Settings) -> anyhow::Result<()> {
        fn put<T: Clone>(to: &mut Option<T>, from: &Option<T>) {
            if from.is_some() {
                to.clone_from(from);
            }
        }
        if let Some(root) = &self.root {
            settings.root.clone_from(root);
        }
        if !self.addr.is_empty() {
            settings.daemon.addresses.clone_from(&self.addr);
        }
        put(&mut settings.daemon.owner.gid, &self.group);
        let TlsFiles { ca, cert, key, .. } = &mut settings.daemon.tls;
        put(ca, &self.tlscacert);
        put(cert, &self.tlscert);
        put(key, &self.tlskey);
        settings.daemon.allow_unauthenticated |= self.allow_unauthenticated_tcp;
        settings.entitlements.extend(self.allow_insecure_entitlement.iter().cloned());
        settings.log.format = self.log_format.unwrap_or(settings.log.format);
        settings.log.level = self.level().unwrap_or(settings.log.level);
        let config = &mut settings.config;
        put(&mut config.executor, &self.oci_worker_binary);
        put(&mut config.max_parallelism, &self.oci_max_parallelism);
        put(&mut config.otel.socket_path, &self.otel_socket_path);
        config.cdi.disabled |= self.cdi_disabled;
        if !self.cdi_spec_dir.is_empty() {
            config.cdi.spec_dirs.clone_from(&self.cdi_spec_dir);
        }
        let network = &mut config.network;
        network.mode = self.oci_worker_net.unwrap_or(network.mode);
        network.cni_pool_size = self.oci_cni_pool_size.unwrap_or(network.cni_pool_size);
        for (to, path) in [
            (&mut network.cni_config_path, &self.oci_cni_config_path),
            (&mut network.cni_binary_path, &self.oci_cni_binary_dir),
        ] {
            path.iter().for_each(|path| to.clone_from(path));
        }
        if let Some(name) = &self.oci_worker_snapshotter {
            config.snapshotter =
                apply::snapshotter(name).map_err(|why| anyhow::anyhow!("--oci-worker-snapshotter: {why}"))?;
        }
        for label in &self.oci_worker_labels {
            let (name, value) =
                label.split_once('=').with_context(|| format!("--oci-worker-labels {label:?}: want NAME=VALUE"))?;
            config.labels.insert(name.into(), value.into());
        }
        self.refuse()
    }

    /// What cannot be had is refused, not forgotten.
    fn refuse(&self) -> anyhow::Result<()> {
        if self.oci_worker.as_deref() == Some("false") {
            anyhow::bail!("--oci-worker=false: there is no other worker");
        }
        if self.containerd_worker.as_deref() == Some("true") {
            anyhow::bail!("--containerd-worker=true: containerd is not used; leave the flag out");
        }
        Ok(())
    }

    fn level(&self) -> Option<crate::log::Level> {
        let short = [(self.trace, crate::log::Level::Trace), (self.debug, crate::log::Level::Debug)];
        let short = short.into_iter().find(|(set, _)| *set).map(|(_, level)| level);
        short.or(self.log_level)
    }
}

fn home() -> PathBuf {
    std::env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn settings(toml: &str, flags: &[&str]) -> Result<Settings, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), toml).unwrap();
        let path = file.path().to_str().unwrap();
        let flags = ["buildkitd", "--config", path].into_iter().chain(flags.iter().copied());
        let flags = Flags::try_parse_from(flags).map_err(|error| error.to_string())?;
        flags.settings().map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_whole_file() {
        let toml = r#"
            root = "/srv/b"
            insecure-entitlements = ["network.host"]
            [log]
            format = "json"
            level = "debug"
            [grpc]
            address = ["tcp://0.0.0.0:1234"]
            gid = 7
            [grpc.tls]
            cert = "c.pem"
            key = "k.pem"
            ca = "ca.pem"
            [worker.oci]
            max-parallelism = 3
            snapshotter = "overlayfs"
            maxUsedSpace = "20GB"
            gc = true
            networkMode = "cni"
            cniConfigPath = "/etc/cni/a.conflist"
            cniBinaryPath = "/cni"
            cniPoolSize = 4
            bridgeName = "br9"
            [worker.oci.labels]
            zone = "a"
            [[worker.oci.gcpolicy]]
            keepDuration = "48h"
            filters = ["type==source.local"]
            [[worker.oci.gcpolicy]]
            all = true
            maxUsedSpace = "2GB"
            keepBytes = 1000
            minFreeSpace = "0%"
            [frontend."gateway.v0"]
            enabled = true
            allowedRepositories = ["mine/lang"]
            [otel]
            socketPath = "/x"
            [dns]
            nameservers = ["10.0.0.1"]
            searchDomains = ["a.b"]
            [registry."docker.io"]
            mirrors = ["mirror.example:5000"]
            [registry."mirror.example:5000"]
            http = true
            [[registry."mirror.example:5000".keypair]]
            key = "k"
            cert = "c"
            [frontend."dockerfile.v0"]
            enabled = true
            [history]
            maxAge = "24h"
            maxEntries = 5
        "#;
        let got = settings(toml, &[]).unwrap();
        assert_eq!(got.root, Path::new("/srv/b"));
        assert_eq!((got.config.max_parallelism, got.config.snapshotter.as_deref()), (Some(3), Some("overlay")));
        assert_eq!(got.config.max_bytes(), Some(20_000_000_000));
        assert_eq!(got.config.labels["zone"], "a");
        assert_eq!(got.config.registry["docker.io"].mirrors, ["mirror.example:5000"]);
        assert_eq!(got.config.registry["mirror.example:5000"].http, Some(true));
        assert_eq!(got.config.registry["mirror.example:5000"].keypair[0].key, Path::new("k"));
        assert_eq!(got.daemon.addresses, ["tcp://0.0.0.0:1234"]);
        assert_eq!(
            (got.config.dns.nameservers, got.config.dns.search_domains),
            (vec!["10.0.0.1".into()], vec!["a.b".into()])
        );
        assert_eq!(got.daemon.tls.ca.as_deref(), Some(Path::new("ca.pem")));
        assert_eq!(got.daemon.owner.gid, Some(7));
        assert_eq!(got.entitlements, [build::Entitlement::NetworkHost]);
        assert_eq!((got.log.format, got.log.level), (crate::log::Format::Json, crate::log::Level::Debug));
        assert_eq!((got.history.records, got.history.age.as_secs()), (5, 86_400));
        let networks = exec::Networks::from(got.config.network);
        let wanted = exec::NetworkMode::Cni("/etc/cni/a.conflist".into());
        assert_eq!(networks, exec::Networks { mode: wanted, plugins: "/cni".into(), ready: 4 });
        let policies = got.gc.policies();
        assert_eq!(policies.len(), 2);
        assert_eq!(policies[0].keep_duration, Some(std::time::Duration::from_secs(48 * 3600)));
        assert_eq!(policies[0].filters, ["type==source.local"]);
        let last = &policies[1];
        assert_eq!((last.all, last.max_used, last.reserved), (true, Some(2_000_000_000), Some(1000)));
        let trust = format!("{:?}", got.config.trust);
        assert!(trust.contains("Refuse") && trust.contains("docker.io/mine/lang"), "{trust}");
        assert_eq!(got.config.otel.socket_path.as_deref(), Some(Path::new("/x")));
    }

    #[test]
    fn flags_win_over_the_file() {
        let toml = "root = \"/a\"\n[grpc]\naddress = [\"unix:///a\"]\n[log]\nlevel = \"warn\"";
        let flags = ["--root", "/b", "--addr", "unix:///b", "--addr", "fd://", "--debug", "--oci-worker=true"];
        let got = settings(toml, &flags).unwrap();
        assert_eq!(
            (got.root.as_path(), got.daemon.addresses),
            (Path::new("/b"), vec!["unix:///b".into(), "fd://".into()])
        );
        assert_eq!(got.log.level, crate::log::Level::Debug);
    }

    /// What buildx's drivers and BuildKit's own examples start the daemon with.
    #[test]
    fn flags_that_are_keys() {
        let flags = ["--oci-worker-no-process-sandbox", "--oci-worker-rootless=true", "--oci-worker-selinux=false"];
        let got = settings("", &flags).unwrap();
        let named = |flag: &str| got.notes.iter().any(|note| note.starts_with(&format!("{flag}: has no effect")));
        assert!(named(flags[0]) && named("--oci-worker-rootless") && got.notes.len() == 2, "{:?}", got.notes);
        assert!(settings("", &["--oci-worker-gc=false"]).unwrap().gc.policies().is_empty());
        let kept = settings("", &["--oci-worker-gc-keepstorage", "1,2,3"]).unwrap().gc.policies();
        let last = kept.last().unwrap();
        assert_eq!((last.reserved, last.min_free, last.max_used), (Some(1_000_000), Some(2_000_000), Some(3_000_000)));
        for (flags, want) in [
            (["--oci-worker-gc-keepstorage", "1,x"], "want megabytes, RESERVED[,FREE[,MAXIMUM]]"),
            (["--oci-worker-apparmor-profile", "x"], "AppArmor profiles are not supported"),
        ] {
            let error = settings("", &flags).unwrap_err();
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn mistakes_are_named_with_file_line_and_hint() {
        let table = [
            ("rooot = \"/x\"", ":1: rooot: unknown key; there are"),
            ("\n[worker.oci]\nmax_parallelism = 4", ":3: worker.oci.max_parallelism: unknown key"),
            ("\nroot = 5", ":2: root: want a text"),
            ("[worker.oci]\nmax-parallelism = 0", ":2: worker.oci.max-parallelism: want at least 1"),
            ("[worker.oci]\nmax-parallelism = \"4\"", ":2: worker.oci.max-parallelism: want a number"),
            ("[worker.oci]\nmaxUsedSpace = \"much\"", ":2: worker.oci.maxUsedSpace"),
            ("[worker.oci]\nsnapshotter = \"stargz\"", "want auto, overlayfs or native"),
            ("[worker.oci]\nenabled = false", "there is no other worker"),
            ("[worker.oci]\nnetworkMode = \"moon\"", "want auto, host, cni or bridge"),
            ("[worker.oci]\napparmor-profile = \"x\"", "apparmor-profile"),
            ("[worker.containerd]\nenabled = true", "containerd"),
            ("proxyNetwork = true", "proxyNetwork"),
            ("insecure-entitlements = [\"all\"]", ":1: insecure-entitlements: unknown entitlement"),
            ("[[worker.oci.gcpolicy]]\nfilters = [\"colour==red\"]", ":2: worker.oci.gcpolicy.0.filters: filter"),
            ("[[worker.oci.gcpolicy]]\nkeepDuraton = 5", ":2: worker.oci.gcpolicy.0.keepDuraton: unknown key"),
            ("[[worker.oci.gcpolicy]]\nmaxUsedSpace = \"200%\"", ":2: worker.oci.gcpolicy.0.maxUsedSpace: want a part"),
            ("[frontend.\"gateway.v0\"]\nallowedRepositories = [\"A\"]", "allowedRepositories"),
            ("[registry.\"a\"]\ntlsconfigdir = [\"/no/such\"]", "read /no/such"),
            ("[log]\nformat = \"xml\"", "want text or json"),
            ("[log]\nlevel = \"loud\"", "want error, warn, info, debug or trace"),
            ("[registry.\"a\"]\nmirror = []", ":2: registry.\"a\".mirror: unknown key"),
            ("[dns]\nnameservers = [\"here\"]", ":2: dns.nameservers: name server \"here\": want an IP address"),
            ("[registry.\"a\"]\nmirrors = \"b\"", "want a list of texts"),
            ("[history]\nmaxAge = \"old\"", ":2: history.maxAge"),
            ("a = [", ":1"),
        ];
        for (toml, want) in table {
            let error = settings(toml, &[]).err().unwrap_or_else(|| panic!("{toml:?} is taken"));
            assert!(error.contains(want), "{toml:?}: {error}");
        }
        for flags in
            [&["--oci-worker=false"][..], &["--oci-worker-net", "moon"], &["--containerd-worker=true"], &["--oops"]]
        {
            assert!(settings("", flags).is_err(), "{flags:?}");
        }
    }
}
