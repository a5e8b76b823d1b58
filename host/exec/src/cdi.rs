//! Devices by their names, as the Container Device Interface has them (<https://github.com/cncf-tags/container-device-interface>,
//! SPEC.md): vendors lay files that say what a container needs for a device.

mod edits;
mod file;
mod hooks;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, ensure};

pub use edits::Edits;
pub use file::FILE_BYTES_MAX;
use file::{File, FileDevice};
pub use hooks::{Hook, of_runtime as runtime_hooks};

/// Where files are looked for where nobody says where; later directories win.
pub const DIRS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];
/// How many files a directory may have.
pub const FILES_MAX: usize = 1000;
/// BuildKit's annotations of a device: the word that it also answers to, and whether any build may use it.
const CLASS: &str = "org.mobyproject.buildkit.device.class";
const AUTO_ALLOW: &str = "org.mobyproject.buildkit.device.autoallow";
/// What Go takes for true.
const TRUE: [&str; 6] = ["1", "t", "T", "true", "TRUE", "True"];

/// Which devices there are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cdi {
    /// Where files are; without any there are no devices.
    pub dirs: Vec<PathBuf>,
    /// Devices and kinds of them that any build may use.
    pub auto_allowed: BTreeSet<String>,
}

impl Default for Cdi {
    fn default() -> Cdi {
        Cdi { dirs: DIRS.map(PathBuf::from).to_vec(), auto_allowed: BTreeSet::new() }
    }
}

/// A device that there is.
#[derive(Clone, PartialEq, Debug)]
pub struct Device {
    /// `VENDOR/CLASS=NAME`.
    pub name: String,
    /// Any build may use it.
    pub auto_allowed: bool,
    /// Annotations of its file and its own.
    pub annotations: BTreeMap<String, String>,
    /// The file that names it.
    pub file: PathBuf,
    /// What a container needs for any device of the file; not again where it has another one of them.
    pub common: Option<Arc<Edits>>,
    /// What it needs for this one.
    pub own: Edits,
}

impl Device {
    /// What a container needs for it.
    pub fn edits(&self) -> impl Iterator<Item = &Edits> {
        self.common.as_deref().into_iter().chain([&self.own])
    }

    /// Whether all that it needs can be had.
    fn check(&self) -> anyhow::Result<()> {
        let checked = self.edits().try_for_each(Edits::check_possible);
        checked.with_context(|| format!("device {} of {}", self.name, self.file.display()))
    }

    /// `VENDOR/CLASS`.
    pub fn kind(&self) -> &str {
        self.name.split_once('=').map_or(&self.name, |(kind, _)| kind)
    }

    fn class(&self) -> Option<&str> {
        self.annotations.get(CLASS).map(String::as_str)
    }
}

impl Cdi {
    /// None: no file is looked for.
    pub fn disabled() -> Cdi {
        Cdi { dirs: Vec::new(), auto_allowed: BTreeSet::new() }
    }

    /// All devices that there are now, by name. Blocks.
    pub fn devices(&self) -> Vec<Device> {
        let (devices, problems) = self.read();
        problems.iter().for_each(|problem| tracing::debug!("CDI: {problem}"));
        devices
    }

    /// All devices, and what is wrong with files that say nothing therefore.
    fn read(&self) -> (Vec<Device>, Vec<String>) {
        let (mut all, mut problems) = (BTreeMap::new(), Vec::new());
        for dir in &self.dirs {
            let found = self.of_dir(dir, &mut problems).unwrap_or_else(|error| {
                problems.push(format!("{error:#}"));
                Vec::new()
            });
            let mut names = BTreeSet::new();
            for device in found {
                // Two files that are equally right about a device are both wrong.
                if names.insert(device.name.clone()) {
                    all.insert(device.name.clone(), device);
                } else if all.remove(&device.name).is_some() {
                    problems.push(format!("{}: two files name {}", dir.display(), device.name));
                }
            }
        }
        (all.into_values().collect(), problems)
    }

    fn of_dir(&self, dir: &Path, problems: &mut Vec<String>) -> anyhow::Result<Vec<Device>> {
        let list = match std::fs::read_dir(dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.with_context(|| format!("read {}", dir.display()))?,
        };
        let mut paths = list.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
        ensure!(paths.len() <= FILES_MAX, "{} has more than {FILES_MAX} files", dir.display());
        paths.retain(|path| file::is_one(path));
        paths.sort();
        let mut devices = Vec::new();
        for path in paths {
            match file::read(&path).with_context(|| path.display().to_string()) {
                Ok(file) => devices.extend(self.of_file(&path, file)),
                Err(error) => problems.push(format!("{error:#}")),
            }
        }
        Ok(devices)
    }

    fn of_file(&self, path: &Path, file: File) -> Vec<Device> {
        let File { kind, annotations, devices, container_edits, .. } = file;
        let common = Arc::new(container_edits);
        let device = |device: FileDevice| {
            let name = format!("{kind}={}", device.name);
            let mut annotations = annotations.clone();
            annotations.extend(device.annotations);
            let is_allowed = |name: &str| self.auto_allowed.contains(name);
            let says_so = annotations.get(AUTO_ALLOW).is_some_and(|value| TRUE.contains(&value.as_str()));
            let auto_allowed = is_allowed(&name) || is_allowed(&kind) || says_so;
            let (file, common, own) = (path.to_path_buf(), Some(common.clone()), device.container_edits);
            Device { name, auto_allowed, annotations, file, common, own }
        };
        devices.into_iter().map(device).collect()
    }

    /// The devices that are asked for, each with whether it may be missing: by its name, its kind (the first; all with `=*`), or its
    /// class. Blocks.
    pub fn find<'a>(&self, asked: impl IntoIterator<Item = (&'a str, bool)>) -> anyhow::Result<Vec<Device>> {
        let mut asked = asked.into_iter().peekable();
        if asked.peek().is_none() {
            return Ok(Vec::new());
        }
        let (all, problems) = self.read();
        let mut found: Vec<Device> = Vec::new();
        for (name, optional) in asked {
            let devices = named(&all, name);
            ensure!(!devices.is_empty() || optional, "device {name:?}: {}", self.missing(&problems));
            if devices.is_empty() {
                tracing::warn!("a step does without the device {name:?}: {}", self.missing(&problems));
            }
            for device in devices {
                if found.iter().any(|known| known.name == device.name) {
                    continue;
                }
                device.check()?;
                let mut device = device.clone();
                if found.iter().any(|known| known.file == device.file) {
                    device.common = None;
                }
                found.push(device);
            }
        }
        Ok(found)
    }

    /// Why a device is not there.
    fn missing(&self, problems: &[String]) -> String {
        let dirs: Vec<_> = self.dirs.iter().map(|dir| dir.display().to_string()).collect();
        match (dirs.is_empty(), problems.is_empty()) {
            (true, _) => "CDI is disabled in the engine's configuration".into(),
            (false, true) => format!("no CDI file names it in {}", dirs.join(", ")),
            (false, false) => format!("no CDI file names it in {} ({})", dirs.join(", "), problems.join("; ")),
        }
    }
}

fn named<'a>(all: &'a [Device], name: &str) -> Vec<&'a Device> {
    let (kind, rest) = name.split_once('=').unwrap_or((name, ""));
    let mut of_kind = all.iter().filter(|device| device.kind() == kind);
    let found: Vec<_> = match rest {
        "" => of_kind.next().into_iter().collect(),
        "*" => of_kind.collect(),
        _ => of_kind.filter(|device| device.name == name).collect(),
    };
    match found.is_empty() {
        true => all.iter().filter(|device| device.class() == Some(name)).collect(),
        false => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cdi(files: &[(&str, &str)]) -> (tempfile::TempDir, Cdi) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let dirs = ["first", "second", "none"].map(|name| dir.path().join(name)).to_vec();
        (dir, Cdi { dirs, auto_allowed: ["v.com/all".to_string(), "v.com/some=b".to_string()].into() })
    }

    fn file(kind: &str, devices: &[&str], env: &str) -> String {
        let devices = devices.iter().map(|name| serde_json::json!({"name": name, "containerEdits": {"env": [env]}}));
        let devices: Vec<_> = devices.collect();
        serde_json::json!({"cdiVersion": "0.6.0", "kind": kind, "devices": devices,
            "annotations": {CLASS: "fast"}, "containerEdits": {"env": ["ALL=1"]}})
        .to_string()
    }

    #[test]
    fn devices_are_found_by_name_kind_and_class() {
        let (_dir, cdi) = cdi(&[
            ("first/a.json", &file("v.com/some", &["a", "b"], "OF=first")),
            ("second/a.json", &file("v.com/some", &["a"], "OF=second")),
            ("first/b.json", &file("v.com/all", &["0", "1"], "X=1")),
            ("first/twice1.json", &file("w.com/twice", &["a"], "X=1")),
            ("first/twice2.json", &file("w.com/twice", &["a"], "X=2")),
            ("first/broken.json", "{"),
            ("first/kind.json", &file("nobody", &["a"], "X=1")),
            ("first/name.json", &file("v.com/c", &["a b"], "X=1")),
            ("first/edits.json", &file("v.com/d", &["a"], "no variable")),
            ("first/notes.txt", "mine"),
        ]);
        let find = |name: &str| -> Result<Vec<String>, String> {
            let found = cdi.find([(name, false)]).map_err(|error| error.to_string())?;
            Ok(found.into_iter().map(|device| device.name).collect())
        };
        let names = |names: &[&str]| Ok(names.iter().map(|name| name.to_string()).collect::<Vec<_>>());
        assert_eq!(find("v.com/some=a"), names(&["v.com/some=a"]));
        assert_eq!(find("v.com/all"), names(&["v.com/all=0"]));
        assert_eq!(find("v.com/all=*"), names(&["v.com/all=0", "v.com/all=1"]));
        assert_eq!(find("fast"), names(&["v.com/all=0", "v.com/all=1", "v.com/some=a", "v.com/some=b"]));
        for absent in ["v.com/some=c", "w.com/twice=a", "v.com/c=a", "v.com/d=a", "nobody=a", "slow"] {
            let error = find(absent).unwrap_err();
            assert!(
                error.contains("no CDI file names it") && error.contains("two files name w.com/twice=a"),
                "{error}"
            );
            assert!(error.contains("broken.json: ") && error.contains("\"a b\" is no name of a device"), "{error}");
            assert_eq!(cdi.find([(absent, true)]).unwrap(), []);
        }
        let found = cdi.find([("v.com/some=*", false), ("v.com/some=a", false), ("v.com/all=1", false)]).unwrap();
        let env = |one: &Device| one.edits().flat_map(|edits| edits.env.clone()).collect::<Vec<_>>().join(",");
        let seen: Vec<_> = found.iter().map(|one| (env(one), one.auto_allowed)).collect();
        let want = [("ALL=1,OF=second", false), ("ALL=1,OF=first", true), ("ALL=1,X=1", true)];
        assert_eq!(seen, want.map(|(env, allowed)| (env.to_string(), allowed)));
        let both = cdi.find([("v.com/all=*", false)]).unwrap();
        assert_eq!(both.iter().map(env).collect::<Vec<_>>(), ["ALL=1,X=1", "X=1"]);
    }

    #[test]
    fn what_cannot_be_had_is_refused_when_it_is_asked_for() {
        let text = "cdiVersion: 1.1.0\nkind: v.com/c\ndevices:\n\
            - {name: late, containerEdits: {hooks: [{hookName: poststop, path: /bin/x}]}}\n\
            - {name: net, containerEdits: {netDevices: [{hostInterfaceName: eth1, name: eth0}]}}\n";
        let (_dir, cdi) = cdi(&[("first/a.yaml", text)]);
        assert_eq!(cdi.devices().len(), 2);
        for (name, want) in [("late", "hook /bin/x"), ("net", "eth1")] {
            let error = format!("{:#}", cdi.find([(format!("v.com/c={name}").as_str(), false)]).unwrap_err());
            assert!(error.contains(want) && error.contains("a.yaml") && error.contains(name), "{error}");
        }
    }
}
