//! What a container needs for a device, and how that comes into its specification.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use oci_spec::runtime::{
    LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType, LinuxIntelRdt,
    Mount, MountBuilder,
};
use rustix::fs::{FileType, major, minor};
use serde::Deserialize;

use super::Hook;
use crate::{User, spec::clean};

/// What a container needs. A file with a key that is not here is refused, for half of a device is none.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Edits {
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    /// Device nodes.
    device_nodes: Vec<Node>,
    /// Files and directories of the host.
    mounts: Vec<Bind>,
    /// Programs of the host that the runtime calls.
    pub hooks: Vec<Hook>,
    /// Groups of the process; 0 is none.
    #[serde(rename = "additionalGids")]
    gids: Vec<u32>,
    /// What of the processor's caches and memory bandwidth it gets.
    pub intel_rdt: Option<LinuxIntelRdt>,
    /// Network interfaces of the host.
    net_devices: Vec<NetDevice>,
}

#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Node {
    path: String,
    /// Where the host has it; `path` without.
    host_path: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    major: Option<i64>,
    minor: Option<i64>,
    file_mode: Option<u32>,
    permissions: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
}

#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Bind {
    host_path: String,
    container_path: String,
    #[serde(default)]
    options: Vec<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NetDevice {
    host_interface_name: String,
    #[serde(rename = "name")]
    _name: String,
}

impl Edits {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        check_env(&self.env)?;
        self.hooks.iter().try_for_each(Hook::check)?;
        for Node { path, .. } in &self.device_nodes {
            ensure!(clean(path)?.starts_with("/dev") && path.starts_with('/'), "{path}: want a path below /dev");
        }
        for Node { path, kind, permissions, .. } in &self.device_nodes {
            let kind = kind.as_deref().unwrap_or_default();
            ensure!(matches!(kind, "" | "b" | "c" | "u" | "p"), "{path}: type {kind:?} is none of b, c, u, p");
            let access = permissions.as_deref().unwrap_or_default();
            ensure!(access.chars().all(|one| "rwm".contains(one)), "{path}: permissions {access:?}: want r, w, m");
        }
        for bind in &self.mounts {
            let Bind { host_path, container_path, .. } = bind;
            ensure!(
                !bind.is_bind() || Path::new(host_path).is_absolute(),
                "mount of {host_path:?}: want an absolute path"
            );
            ensure!(clean(container_path)? != Path::new("/"), "the root cannot be mounted over");
        }
        Ok(())
    }

    /// Refuses what a step's container cannot have.
    pub(super) fn check_possible(&self) -> anyhow::Result<()> {
        if let Some(hook) = self.hooks.iter().find(|hook| !hook.is_possible()) {
            bail!("hook {}: nothing runs after a step's container has ended (poststop)", hook.path().display());
        }
        if let Some(NetDevice { host_interface_name, .. }) = self.net_devices.first() {
            bail!("network interface {host_interface_name}: steps are not given interfaces of this machine");
        }
        Ok(())
    }

    /// Groups of the process.
    pub(crate) fn gids(&self) -> impl Iterator<Item = &u32> {
        self.gids.iter().filter(|gid| **gid != 0)
    }

    /// Device nodes to make for a user, and the rules that let the process open them. Blocks.
    pub(crate) fn devices(&self, user: &User) -> anyhow::Result<Vec<(LinuxDevice, Option<LinuxDeviceCgroup>)>> {
        let node = |node: &Node| node.device(user).with_context(|| format!("device node {}", node.path));
        self.device_nodes.iter().map(node).collect()
    }

    /// Mount points in the container, and whether they are directories. Blocks.
    pub(crate) fn targets(&self) -> impl Iterator<Item = (&str, bool)> {
        self.mounts.iter().map(|bind| {
            let is_dir = !bind.is_bind() || Path::new(&bind.host_path).is_dir();
            (bind.container_path.as_str(), is_dir)
        })
    }

    pub(crate) fn binds(&self) -> anyhow::Result<Vec<Mount>> {
        self.mounts.iter().map(Bind::mount).collect()
    }
}

/// Refuses what is no variable.
pub(super) fn check_env(env: &[String]) -> anyhow::Result<()> {
    for variable in env {
        let is_variable = variable.split_once('=').is_some_and(|(name, _)| !name.is_empty());
        ensure!(is_variable && !variable.contains('\0'), "{variable:?} is not NAME=VALUE");
    }
    Ok(())
}

/// A device node of the host.
struct OnHost {
    kind: LinuxDeviceType,
    major: i64,
    minor: i64,
    mode: u32,
}

impl Node {
    /// What the file does not say is as on the host, and belongs to the user. The process may open it where there is a rule; a pipe
    /// needs none.
    fn device(&self, user: &User) -> anyhow::Result<(LinuxDevice, Option<LinuxDeviceCgroup>)> {
        let (host, given) = (self.on_host(), self.kind());
        // Then the machine need not have it.
        let is_whole = given.is_some() && (self.major() != 0 || given == Some(LinuxDeviceType::P));
        let mode = self.file_mode.or(host.as_ref().ok().map(|host| host.mode)).unwrap_or(0o666);
        let (kind, major, minor) = match (is_whole, host) {
            (true, _) => (given.unwrap_or_default(), self.major(), self.minor.unwrap_or_default()),
            (false, Err(error)) => return Err(error),
            (false, Ok(OnHost { kind, major, minor, .. })) => {
                ensure!(given.is_none_or(|given| given == kind), "it is of another type on this machine");
                match self.major() {
                    0 => (kind, major, minor),
                    given => (kind, given, self.minor.unwrap_or_default()),
                }
            }
        };
        let mut device = LinuxDeviceBuilder::default().path(&self.path).typ(kind).major(major).minor(minor);
        device = device.uid(self.uid.unwrap_or(user.uid)).gid(self.gid.unwrap_or(user.gid)).file_mode(mode);
        let access = self.permissions.clone().filter(|access| !access.is_empty()).unwrap_or_else(|| "rwm".into());
        let rule = LinuxDeviceCgroupBuilder::default().allow(true).typ(kind).major(major).minor(minor).access(access);
        let opened = matches!(kind, LinuxDeviceType::B | LinuxDeviceType::C);
        Ok((device.build()?, opened.then(|| rule.build()).transpose()?))
    }

    fn major(&self) -> i64 {
        self.major.unwrap_or_default()
    }

    fn kind(&self) -> Option<LinuxDeviceType> {
        match self.kind.as_deref()? {
            "b" => Some(LinuxDeviceType::B),
            "c" | "u" => Some(LinuxDeviceType::C),
            "p" => Some(LinuxDeviceType::P),
            _ => None,
        }
    }

    fn on_host(&self) -> anyhow::Result<OnHost> {
        let path = self.host_path.as_deref().filter(|path| !path.is_empty()).unwrap_or(&self.path);
        let status = rustix::fs::stat(path).with_context(|| format!("look at {path}"))?;
        let kind = match FileType::from_raw_mode(status.st_mode) {
            FileType::BlockDevice => LinuxDeviceType::B,
            FileType::CharacterDevice => LinuxDeviceType::C,
            FileType::Fifo => LinuxDeviceType::P,
            _ => bail!("{path} is no device"),
        };
        let (major, minor) = (major(status.st_rdev).into(), minor(status.st_rdev).into());
        Ok(OnHost { kind, major, minor, mode: status.st_mode & 0o7777 })
    }
}

impl Bind {
    /// Whether it shows files of the host, and is no file system of its own.
    fn is_bind(&self) -> bool {
        let is_so_named = self.kind.as_deref().is_none_or(|kind| matches!(kind, "" | "bind"));
        is_so_named || self.options.iter().any(|option| option == "bind" || option == "rbind")
    }

    fn mount(&self) -> anyhow::Result<Mount> {
        let kind = self.kind.as_deref().filter(|kind| !kind.is_empty()).unwrap_or("bind");
        let mut options = self.options.clone();
        if kind == "bind" && !options.iter().any(|option| option == "bind" || option == "rbind") {
            options.push("rbind".into());
        }
        let mount = MountBuilder::default().destination(clean(&self.container_path)?).typ(kind);
        Ok(mount.source(&self.host_path).options(options).build()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edits(value: serde_json::Value) -> anyhow::Result<Edits> {
        let edits: Edits = serde_json::from_value(value)?;
        edits.check().map(|()| edits)
    }

    #[test]
    fn nodes_and_mounts() {
        let edits = edits(serde_json::json!({
            "deviceNodes": [{"path": "/dev/mine", "hostPath": "/dev/null", "permissions": "rw"},
                {"path": "/dev/other", "type": "b", "major": 7, "minor": 3, "fileMode": 0o600, "uid": 5}],
            "mounts": [{"hostPath": "/usr/lib/x.so", "containerPath": "/lib/x.so", "options": ["ro", "nosuid"]}],
        }))
        .unwrap();
        let user = User { uid: 7, gid: 8, ..User::default() };
        let devices = serde_json::to_value(edits.devices(&user).unwrap()).unwrap();
        assert_eq!(devices[0][0]["path"], "/dev/mine");
        assert_eq!((&devices[0][1]["major"], &devices[0][1]["minor"]), (&1.into(), &3.into()));
        assert_eq!((&devices[0][1]["access"], &devices[0][1]["type"]), (&"rw".into(), &"c".into()));
        assert_eq!((&devices[1][0]["type"], &devices[1][0]["uid"]), (&"b".into(), &5.into()));
        assert_eq!((&devices[0][0]["uid"], &devices[1][0]["gid"]), (&7.into(), &8.into()));
        assert_eq!((&devices[0][0]["fileMode"], &devices[1][0]["fileMode"]), (&0o666.into(), &0o600.into()));
        let mounts = serde_json::to_value(edits.binds().unwrap()).unwrap();
        assert_eq!(mounts[0]["options"], serde_json::json!(["ro", "nosuid", "rbind"]));
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        for wrong in [
            serde_json::json!({"hooks": [{"hookName": "someday", "path": "/bin/x"}]}),
            serde_json::json!({"hooks": [{"hookName": "createContainer", "path": "bin/x"}]}),
            serde_json::json!({"hooks": [{"hookName": "createContainer", "path": "/bin/x", "timeout": 0}]}),
            serde_json::json!({"deviceNodes": [{"path": "/dev/x", "type": "d"}]}),
            serde_json::json!({"deviceNodes": [{"path": "/dev/x", "permissions": "rx"}]}),
            serde_json::json!({"env": ["=x"]}),
            serde_json::json!({"deviceNodes": [{"path": "/etc/passwd"}]}),
            serde_json::json!({"deviceNodes": [{"path": "/dev/../etc/passwd"}]}),
            serde_json::json!({"mounts": [{"hostPath": "x", "containerPath": "/x"}]}),
            serde_json::json!({"mounts": [{"hostPath": "/x", "containerPath": "/"}]}),
        ] {
            assert!(edits(wrong.clone()).is_err(), "{wrong}");
        }
        let absent = edits(serde_json::json!({"deviceNodes": [{"path": "/dev/no/such/device"}]})).unwrap();
        assert!(absent.devices(&User::default()).is_err());
        let other = edits(serde_json::json!({"deviceNodes": [{"path": "/dev/null", "type": "b"}]})).unwrap();
        assert!(other.devices(&User::default()).is_err());
    }
}
