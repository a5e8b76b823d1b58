//! What the keys of buildkitd.toml do.

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};

use super::{
    Settings,
    keys::Meaning,
    read::{Entry, Size, Value},
};
use crate::config::KeyPair;

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
        (["history", "maxAge"], Value::Duration(age)) => settings.history.age = age,
        (["history", "maxEntries"], Value::Int(count)) => {
            settings.history.records = usize::try_from(count).context("want no negative number")?;
        }
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

fn worker(settings: &mut Settings, parts: &[&str], value: Value) -> anyhow::Result<()> {
    let config = &mut settings.config;
    match (parts, value) {
        (["enabled"], Value::Bool(false)) => bail!("there is no other worker"),
        (["labels", name], Value::Text(text)) => drop(config.labels.insert(name.to_string(), text)),
        (["snapshotter"], Value::Text(name)) => config.snapshotter = snapshotter(&name).map_err(|why| anyhow!(why))?,
        (["max-parallelism"], Value::Int(count)) => {
            let count = usize::try_from(count).ok().filter(|count| *count > 0).context("want at least 1")?;
            config.max_parallelism = Some(count);
        }
        (["binary"], Value::Text(program)) if !program.is_empty() => config.executor = Some(program),
        (["maxUsedSpace"], Value::Size(size)) => config.max_used_space = Some(bytes(size, &settings.root)?),
        (["networkMode"], Value::Text(mode)) if !matches!(mode.as_str(), "" | "auto" | "host") => {
            bail!("{mode:?}: want auto or host; other networks are not supported")
        }
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

/// A size as the engine's configuration has it; a part is one of the disk that the store is on.
fn bytes(size: Size, root: &std::path::Path) -> anyhow::Result<String> {
    let bytes = match size {
        Size::Bytes(bytes) => bytes,
        Size::Percent(percent) => {
            let there = root.ancestors().find(|dir| dir.exists()).unwrap_or(std::path::Path::new("/"));
            let disk =
                rustix::fs::statvfs(there).with_context(|| format!("ask for the size of {}", there.display()))?;
            (u128::from(disk.f_blocks) * u128::from(disk.f_frsize) * u128::from(percent) / 100) as u64
        }
    };
    Ok(format!("{bytes}B"))
}
