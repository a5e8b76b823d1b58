//! What a container needs for a device, and how that comes into its specification.

use std::{os::unix::fs::FileTypeExt, path::Path};

use anyhow::{Context, ensure};
use oci_spec::runtime::{
    LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType, Mount, MountBuilder,
};
use rustix::fs::{major, minor};
use serde::Deserialize;

use crate::spec::clean;

/// What a container needs. Keys that are not here change what is no part of a build's container, or have it run programs of the host:
/// a file with such a key is refused, for half of a device is none.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Edits {
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    /// Device nodes.
    device_nodes: Vec<Node>,
    /// Files and directories of the host.
    mounts: Vec<Bind>,
    /// Groups of the process.
    #[serde(rename = "additionalGids")]
    pub gids: Vec<u32>,
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

impl Edits {
    /// These, and then those.
    pub(super) fn and(mut self, more: Edits) -> Edits {
        self.env.extend(more.env);
        self.device_nodes.extend(more.device_nodes);
        self.mounts.extend(more.mounts);
        self.gids.extend(more.gids);
        self
    }

    pub(super) fn check(&self) -> anyhow::Result<()> {
        for variable in &self.env {
            let is_variable = variable.split_once('=').is_some_and(|(name, _)| !name.is_empty());
            ensure!(is_variable && !variable.contains('\0'), "{variable:?} is not NAME=VALUE");
        }
        for Node { path, .. } in &self.device_nodes {
            ensure!(clean(path)?.starts_with("/dev") && path.starts_with('/'), "{path}: want a path below /dev");
        }
        for Bind { host_path, container_path, .. } in &self.mounts {
            ensure!(Path::new(host_path).is_absolute(), "mount of {host_path:?}: want an absolute path");
            ensure!(clean(container_path)? != Path::new("/"), "the root cannot be mounted over");
        }
        Ok(())
    }

    /// Device nodes to make, and the rules that let the process open them. Blocks.
    pub(crate) fn devices(&self) -> anyhow::Result<Vec<(LinuxDevice, LinuxDeviceCgroup)>> {
        let node = |node: &Node| node.device().with_context(|| format!("device node {}", node.path));
        self.device_nodes.iter().map(node).collect()
    }

    /// What will be at which place in the container, for the mount points.
    pub(crate) fn targets(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.mounts.iter().map(|bind| (bind.container_path.as_str(), Path::new(&bind.host_path)))
    }

    pub(crate) fn binds(&self) -> anyhow::Result<Vec<Mount>> {
        self.mounts.iter().map(Bind::mount).collect()
    }
}

impl Node {
    /// What the file does not say is as on the host.
    fn device(&self) -> anyhow::Result<(LinuxDevice, LinuxDeviceCgroup)> {
        let (kind, major, minor) = match (self.kind(), self.major, self.minor) {
            (Some(kind), Some(major), Some(minor)) => (kind, major, minor),
            (kind, major, minor) => {
                let (known, known_major, known_minor) = self.on_host()?;
                (kind.unwrap_or(known), major.unwrap_or(known_major), minor.unwrap_or(known_minor))
            }
        };
        let mut device = LinuxDeviceBuilder::default().path(&self.path).typ(kind).major(major).minor(minor);
        device = device.uid(self.uid.unwrap_or(0)).gid(self.gid.unwrap_or(0));
        device = device.file_mode(self.file_mode.unwrap_or(0o666));
        let rule = LinuxDeviceCgroupBuilder::default().allow(true).typ(kind).major(major).minor(minor);
        let access = self.permissions.clone().filter(|access| !access.is_empty()).unwrap_or_else(|| "rwm".into());
        Ok((device.build()?, rule.access(access).build()?))
    }

    fn kind(&self) -> Option<LinuxDeviceType> {
        match self.kind.as_deref()? {
            "b" => Some(LinuxDeviceType::B),
            "c" | "u" => Some(LinuxDeviceType::C),
            _ => None,
        }
    }

    fn on_host(&self) -> anyhow::Result<(LinuxDeviceType, i64, i64)> {
        let path = self.host_path.as_deref().unwrap_or(&self.path);
        let status = rustix::fs::stat(path).with_context(|| format!("look at {path}"))?;
        let kind = std::fs::metadata(path)?.file_type();
        ensure!(kind.is_block_device() || kind.is_char_device(), "{path} is no device");
        let kind = if kind.is_block_device() { LinuxDeviceType::B } else { LinuxDeviceType::C };
        Ok((kind, major(status.st_rdev).into(), minor(status.st_rdev).into()))
    }
}

impl Bind {
    fn mount(&self) -> anyhow::Result<Mount> {
        let kind = self.kind.as_deref().unwrap_or("bind");
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
        let devices = serde_json::to_value(edits.devices().unwrap()).unwrap();
        assert_eq!(devices[0][0]["path"], "/dev/mine");
        assert_eq!((&devices[0][1]["major"], &devices[0][1]["minor"]), (&1.into(), &3.into()));
        assert_eq!((&devices[0][1]["access"], &devices[0][1]["type"]), (&"rw".into(), &"c".into()));
        assert_eq!((&devices[1][0]["type"], &devices[1][0]["uid"]), (&"b".into(), &5.into()));
        let mounts = serde_json::to_value(edits.binds().unwrap()).unwrap();
        assert_eq!(mounts[0]["options"], serde_json::json!(["ro", "nosuid", "rbind"]));
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        for wrong in [
            serde_json::json!({"hooks": [{"hookName": "createContainer", "path": "/bin/x"}]}),
            serde_json::json!({"env": ["=x"]}),
            serde_json::json!({"deviceNodes": [{"path": "/etc/passwd"}]}),
            serde_json::json!({"deviceNodes": [{"path": "/dev/../etc/passwd"}]}),
            serde_json::json!({"mounts": [{"hostPath": "x", "containerPath": "/x"}]}),
            serde_json::json!({"mounts": [{"hostPath": "/x", "containerPath": "/"}]}),
        ] {
            assert!(edits(wrong.clone()).is_err(), "{wrong}");
        }
        let absent = edits(serde_json::json!({"deviceNodes": [{"path": "/dev/no/such/device"}]})).unwrap();
        assert!(absent.devices().is_err());
    }
}
