//! Network configurations: which plugins, in which order.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde_json::{Map, Value, json};

use crate::oci;

/// The version of a configuration that names none (SPEC.md of version 0.1).
const OLDEST: &str = "0.1.0";
/// The plugins of [`List::bridge`], as they are called in a directory of plugins; beside BuildKit's own daemon they have this prefix.
const PREFIX: &str = "buildkit-cni-";

/// A configuration list.
#[derive(Debug)]
pub struct List {
    /// Its name, a key of what plugins keep.
    pub name: String,
    /// As it is written: `1.0.0`.
    pub version: String,
    pub plugins: Vec<Plugin>,
    /// Directories in which plugins find others (of addresses), joined by `:`.
    pub path: String,
}

/// One plugin of a list.
#[derive(Debug)]
pub struct Plugin {
    pub kind: String,
    pub program: PathBuf,
    /// Its part of the configuration.
    pub config: Map<String, Value>,
}

impl List {
    /// Reads `file`, a list (`plugins`) or a single configuration (`type`).
    pub fn read(file: &Path, plugins: &Path) -> anyhow::Result<List> {
        let shown = file.display();
        let text = std::fs::read_to_string(file).with_context(|| format!("read the CNI configuration {shown}"))?;
        let value: Value = serde_json::from_str(&text).with_context(|| format!("CNI configuration {shown}"))?;
        List::parse(value, &[plugins.to_owned()]).with_context(|| format!("CNI configuration {shown}"))
    }

    /// A bridge with addresses for all, as BuildKit makes it.
    pub fn bridge(name: &str, subnet: &str, plugins: &Path) -> anyhow::Result<List> {
        let own =
            ["bridge", "host-local", "firewall"].map(|kind| oci::find_program(format!("{PREFIX}{kind}").as_ref()));
        let has_own = own.iter().all(Option::is_some);
        let mut dirs: Vec<PathBuf> = own.into_iter().flatten().filter_map(|file| Some(file.parent()?.into())).collect();
        dirs.dedup();
        let (prefix, dirs) = if has_own { (PREFIX, dirs) } else { ("", vec![plugins.to_owned()]) };
        let kind = |kind: &str| format!("{prefix}{kind}");
        let ipam = json!({ "type": kind("host-local"), "ranges": [[{ "subnet": subnet }]] });
        let plugins = json!([
            { "type": kind("bridge"), "bridge": name, "isDefaultGateway": true, "ipMasq": true, "ipam": ipam },
            { "type": kind("firewall"), "ingressPolicy": "same-bridge" },
        ]);
        List::parse(json!({ "cniVersion": "1.0.0", "name": "buildkit", "plugins": plugins }), &dirs)
    }

    pub fn parse(value: Value, dirs: &[PathBuf]) -> anyhow::Result<List> {
        let Value::Object(mut all) = value else { bail!("want an object") };
        let text = |of: &Map<String, Value>, key: &str| of.get(key).and_then(Value::as_str).map(String::from);
        let name = text(&all, "name").filter(|name| !name.is_empty()).context("\"name\" is missing")?;
        let version = text(&all, "cniVersion").unwrap_or_else(|| OLDEST.to_owned());
        ensure!(numbers(&version).is_some(), "\"cniVersion\": {version:?}: want a version such as 1.0.0");
        let configs = match all.remove("plugins") {
            Some(Value::Array(plugins)) => plugins,
            Some(_) => bail!("\"plugins\": want a list"),
            None => vec![Value::Object(all)],
        };
        ensure!(!configs.is_empty(), "\"plugins\" is empty");
        let plugins = configs.into_iter().map(|config| {
            let Value::Object(config) = config else { bail!("\"plugins\": want a list of objects") };
            let kind = text(&config, "type").context("a plugin without a \"type\"")?;
            // What is no plain name could be a program anywhere.
            ensure!(
                !kind.is_empty() && !kind.contains('/') && kind != "..",
                "\"type\": {kind:?}: want a plugin's name"
            );
            let program = dirs.iter().map(|dir| dir.join(&kind)).find(|file| file.is_file());
            let searched = dirs.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", ");
            let program = program.with_context(|| format!("the plugin {kind:?} is not in {searched}"))?;
            Ok(Plugin { kind, program, config })
        });
        let path = std::env::join_paths(dirs).context("directories of plugins")?.to_string_lossy().into_owned();
        Ok(List { name, version, plugins: plugins.collect::<anyhow::Result<_>>()?, path })
    }

    /// Whether plugins of this version know what those before answered when they add; since 0.4.0 also when they delete.
    pub fn passes_results(&self, deletes: bool) -> bool {
        numbers(&self.version) >= Some(if deletes { [0, 4, 0] } else { [0, 3, 0] })
    }
}

fn numbers(version: &str) -> Option<[u32; 3]> {
    let numbers = version.split('.').map(|part| part.parse().ok()).collect::<Option<Vec<u32>>>()?;
    numbers.try_into().ok()
}
