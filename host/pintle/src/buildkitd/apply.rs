//! What the keys of buildkitd.toml do.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use build::FrontendPolicy;

use super::{
    Settings,
    gc::bytes,
    keys::Meaning,
    read::{Entry, Value},
};
use crate::{
    config::{KeyPair, Registry},
    trust,
};

/// Does what the entries say.
pub fn apply(settings: &mut Settings, entries: Vec<Entry>) -> anyhow::Result<()> {
    for entry in entries {
        let place = entry.place.clone();
        match entry.meaning {
            Meaning::Nothing(why) => settings.notes.push(format!("{place}: has no effect: {why}")),
            Meaning::Refused(_) if is_off(&entry.value) => {}
            Meaning::Refused(why) => bail!("{place}: cannot be had: {why}; take the key out"),
            Meaning::Set => set(settings, entry).with_context(|| place)?,
        }
    }
    for registry in settings.config.registry.values() {
        if registry.keypair.iter().any(|pair| pair.key.as_os_str().is_empty() || pair.cert.as_os_str().is_empty()) {
            bail!("a keypair of a registry needs both key and cert");
        }
    }
    Ok(())
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Bool(on) => !on,
        Value::Text(text) => text.is_empty(),
        Value::Texts(list) => list.is_empty(),
        _ => false,
    }
}

fn set(settings: &mut Settings, entry: Entry) -> anyhow::Result<()> {
    let parts: Vec<&str> = entry.parts.iter().map(String::as_str).collect();
    match (&parts[..], entry.value) {
        (["root"], Value::Text(path)) => settings.root = path.into(),
        (["debug"], Value::Bool(true)) => settings.log.level = crate::log::Level::Debug,
        (["trace"], Value::Bool(true)) => settings.log.level = crate::log::Level::Trace,
        (["insecure-entitlements"], Value::Texts(names)) => {
            for name in names {
                settings.entitlements.push(name.parse().map_err(|why: String| anyhow!(why))?);
            }
        }
        (["log", what], Value::Text(word)) => log(settings, what, &word)?,
        (["grpc", rest @ ..], value) => grpc(settings, rest, value)?,
        (["dns", what], Value::Texts(list)) => dns(settings, what, list)?,
        (["otel", "socketPath"], Value::Text(path)) => settings.config.otel.socket_path = file(path),
        (["cdi", "disabled"], Value::Bool(off)) => settings.config.cdi.disabled = off,
        (["cdi", "specDirs"], Value::Texts(dirs)) => {
            settings.config.cdi.spec_dirs = dirs.into_iter().map(PathBuf::from).collect();
        }
        (["cdi", "autoAllowed"], Value::Texts(names)) => settings.config.cdi.auto_allowed = names,
        (["history", "maxAge"], Value::Duration(age)) => settings.history.age = age,
        (["history", "maxEntries"], Value::Int(count)) => {
            settings.history.records = usize::try_from(count).context("want no negative number")?;
        }
        (["frontend", "gateway.v0", what], value) => gateway(settings, what, value)?,
        (["frontend", ..], Value::Bool(false)) => bail!("the Dockerfile frontend is always there"),
        (["registry", name, rest @ ..], value) => registry(settings, name, rest, value)?,
        (["worker", "oci", rest @ ..], value) => worker(settings, rest, value)?,
        // Off, as it is anyhow.
        _ => {}
    }
    Ok(())
}

fn log(settings: &mut Settings, what: &str, word: &str) -> anyhow::Result<()> {
    match what {
        "format" => settings.log.format = word.parse().map_err(|why: String| anyhow!(why))?,
        _ => settings.log.level = word.parse().map_err(|why: String| anyhow!(why))?,
    }
    Ok(())
}

fn dns(settings: &mut Settings, what: &str, list: Vec<String>) -> anyhow::Result<()> {
    let dns = &mut settings.config.dns;
    match what {
        "nameservers" => dns.nameservers = list,
        "options" => dns.options = list,
        _ => dns.search_domains = list,
    }
    exec::Dns::from(dns.clone()).check()
}

/// Frontends that are not this program's own may be of these repositories, or none may run.
fn gateway(settings: &mut Settings, what: &str, value: Value) -> anyhow::Result<()> {
    let trust = &mut settings.config.trust;
    match value {
        Value::Bool(false) => *trust = rules("")?,
        // Where none may run it does not matter which.
        Value::Texts(repositories) if !repositories.is_empty() && trust.is_silent() => {
            let name = |text: &String| -> anyhow::Result<String> {
                let reference: oci::Reference = text.parse().with_context(|| format!("{what}: {text:?}"))?;
                Ok(reference.name())
            };
            let names = repositories.iter().map(name).collect::<anyhow::Result<Vec<_>>>()?;
            // Texts without control characters are written alike in JSON and TOML.
            *trust = rules(&format!("[[rule]]\nnames = {}", serde_json::to_string(&names)?))?;
        }
        _ => {}
    }
    Ok(())
}

/// Rules that refuse all that they do not list.
fn rules(listed: &str) -> anyhow::Result<build::Trust> {
    let text = format!("unlisted = \"refuse\"\n{listed}");
    Ok(FrontendPolicy::read(&text, "frontend.\"gateway.v0\" in buildkitd's configuration", trust::read_file)?)
}

fn grpc(settings: &mut Settings, parts: &[&str], value: Value) -> anyhow::Result<()> {
    let daemon = &mut settings.daemon;
    match (parts, value) {
        (["address"], Value::Texts(list)) => daemon.addresses = list,
        (["uid"], Value::Int(id)) => daemon.owner.uid = Some(id.try_into().context("want the number of a user")?),
        (["gid"], Value::Int(id)) => daemon.owner.gid = Some(id.try_into().context("want the number of a group")?),
        (["tls", "cert"], Value::Text(path)) => daemon.tls.cert = file(path),
        (["tls", "key"], Value::Text(path)) => daemon.tls.key = file(path),
        (["tls", "ca"], Value::Text(path)) => daemon.tls.ca = file(path),
        _ => {}
    }
    Ok(())
}

fn file(path: String) -> Option<PathBuf> {
    (!path.is_empty()).then(|| path.into())
}

fn registry(settings: &mut Settings, name: &str, parts: &[&str], value: Value) -> anyhow::Result<()> {
    let registry = settings.config.registry.entry(name.to_string()).or_default();
    match (parts, value) {
        (["mirrors"], Value::Texts(list)) => registry.mirrors = list,
        (["http"], Value::Bool(on)) => registry.http = Some(on),
        (["insecure"], Value::Bool(on)) => registry.insecure = on,
        (["ca"], Value::Texts(list)) => registry.ca = list.into_iter().map(PathBuf::from).collect(),
        (["tlsconfigdir"], Value::Texts(dirs)) => {
            for dir in dirs {
                certificates(registry, Path::new(&dir))?;
            }
        }
        (["keypair", number, what], Value::Text(path)) => {
            let number: usize = number.parse()?;
            if registry.keypair.len() <= number {
                registry.keypair.resize_with(number + 1, || KeyPair { key: PathBuf::new(), cert: PathBuf::new() });
            }
            let pair = &mut registry.keypair[number];
            *if *what == "key" { &mut pair.key } else { &mut pair.cert } = path.into();
        }
        _ => {}
    }
    Ok(())
}

/// The certificates of a directory, as Docker and containerd lay them there: `*.crt` are trusted, `*.cert` are our own, each with its
/// `*.key`.
fn certificates(registry: &mut Registry, dir: &Path) -> anyhow::Result<()> {
    let list = std::fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?;
    let mut paths = list.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => registry.ca.push(path),
            Some("cert") => registry.keypair.push(KeyPair { key: path.with_extension("key"), cert: path }),
            _ => {}
        }
    }
    Ok(())
}

fn worker(settings: &mut Settings, parts: &[&str], value: Value) -> anyhow::Result<()> {
    let config = &mut settings.config;
    match (parts, value) {
        (["gc"], Value::Bool(on)) => settings.gc.off = !on,
        (["gcpolicy", number, name], value) => settings.gc.set_policy(number.parse()?, name, value, &settings.root)?,
        ([name @ ("gckeepstorage" | "reservedSpace" | "minFreeSpace")], Value::Size(size)) => {
            settings.gc.set(name, size, &settings.root)?;
        }
        (["enabled"], Value::Bool(false)) => bail!("there is no other worker"),
        (["labels", name], Value::Text(text)) => drop(config.labels.insert(name.to_string(), text)),
        (["snapshotter"], Value::Text(name)) => config.snapshotter = snapshotter(&name).map_err(|why| anyhow!(why))?,
        (["max-parallelism"], Value::Int(count)) => {
            let count = usize::try_from(count).ok().filter(|count| *count > 0).context("want at least 1")?;
            config.max_parallelism = Some(count);
        }
        (["defaultCgroupParent"], Value::Text(path)) => config.default_cgroup_parent = path,
        (["binary"], Value::Text(program)) if !program.is_empty() => config.executor = Some(program),
        (["maxUsedSpace"], Value::Size(size)) => {
            config.max_used_space = Some(units::Size(bytes(size, &settings.root)?));
            settings.gc.set("maxUsedSpace", size, &settings.root)?;
        }
        (["networkMode"], Value::Text(mode)) => {
            config.network.mode = mode.parse().map_err(|why: String| anyhow!(why))?
        }
        (["cniConfigPath"], Value::Text(path)) => config.network.cni_config_path = path.into(),
        (["cniBinaryPath"], Value::Text(path)) => config.network.cni_binary_path = path.into(),
        (["cniPoolSize"], Value::Int(count)) => {
            config.network.cni_pool_size = usize::try_from(count).context("want no negative number")?;
        }
        (["bridgeName"], Value::Text(name)) => config.network.bridge_name = name,
        (["bridgeSubnet"], Value::Text(subnet)) => config.network.bridge_subnet = subnet,
        _ => {}
    }
    Ok(())
}

/// A snapshotter by buildkitd's name; `None` to choose what works.
pub fn snapshotter(name: &str) -> Result<Option<String>, String> {
    match name {
        "" | "auto" => Ok(None),
        "overlayfs" => Ok(Some("overlay".into())),
        "native" => Ok(Some("copy".into())),
        _ => Err(format!("{name:?}: want auto, overlayfs or native")),
    }
}
