//! Flags of buildkitd that are keys of its file under other names: they do what the keys do, and those of them that can do nothing here,
//! or must not be given, are named or refused as the keys are.

use anyhow::Context;

use super::{
    keys,
    read::{Entry, Size, Value},
};

/// See the module.
#[derive(clap::Args, Debug, Default)]
pub struct KeyFlags {
    /// true or false: whether builds are followed by a clean-up.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    oci_worker_gc: Option<bool>,
    /// What is kept, in megabytes: RESERVED[,FREE[,MAXIMUM]].
    #[arg(long, value_name = "MB")]
    oci_worker_gc_keepstorage: Option<String>,
    /// Has no effect: platforms are those of this machine.
    #[arg(long, value_name = "PLATFORM")]
    oci_worker_platform: Vec<String>,
    /// Has no effect: how a daemon that is not root works is found out.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    oci_worker_rootless: Option<bool>,
    /// Has no effect: steps always have process ids of their own.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    oci_worker_no_process_sandbox: Option<bool>,
    /// Refused: AppArmor is not supported.
    #[arg(long, value_name = "NAME")]
    oci_worker_apparmor_profile: Option<String>,
    /// Refused: SELinux is not supported.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    oci_worker_selinux: Option<bool>,
    /// Refused: other snapshotters are not supported.
    #[arg(long, value_name = "PATH")]
    oci_worker_proxy_snapshotter_path: Option<String>,
    /// Refused: the proxy network is not supported.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    proxy_network: Option<bool>,
    /// Has no effect: there is no debug server.
    #[arg(long, value_name = "ADDRESS")]
    debugaddr: Option<String>,
}

impl KeyFlags {
    /// Those that are given, as keys.
    ///
    /// # Errors
    /// A value that is none.
    pub fn entries(&self) -> anyhow::Result<Vec<Entry>> {
        let worker = |name: &'static str| ["worker", "oci", name].join("/");
        let text = |value: &Option<String>| value.clone().map(Value::Text);
        let flag = |value: Option<bool>| value.map(Value::Bool);
        let platforms = (!self.oci_worker_platform.is_empty()).then(|| Value::Texts(self.oci_worker_platform.clone()));
        let mut all = vec![
            ("--oci-worker-gc", worker("gc"), flag(self.oci_worker_gc)),
            ("--oci-worker-platform", worker("platforms"), platforms),
            ("--oci-worker-rootless", worker("rootless"), flag(self.oci_worker_rootless)),
            ("--oci-worker-no-process-sandbox", worker("noProcessSandbox"), flag(self.oci_worker_no_process_sandbox)),
            ("--oci-worker-apparmor-profile", worker("apparmor-profile"), text(&self.oci_worker_apparmor_profile)),
            ("--oci-worker-selinux", worker("selinux"), flag(self.oci_worker_selinux)),
            (
                "--oci-worker-proxy-snapshotter-path",
                worker("proxySnapshotterPath"),
                text(&self.oci_worker_proxy_snapshotter_path),
            ),
            ("--proxy-network", "proxyNetwork".into(), flag(self.proxy_network)),
            ("--debugaddr", "grpc/debugAddress".into(), text(&self.debugaddr)),
        ];
        for (key, megabytes) in self.kept()? {
            all.push(("--oci-worker-gc-keepstorage", worker(key), Some(Value::Size(Size::Bytes(megabytes)))));
        }
        let given = all.into_iter().filter_map(|(place, key, value)| Some((place, key, value?)));
        given.map(|(place, key, value)| entry(place, &key, value)).collect()
    }

    /// The sizes of what is kept, in bytes, by their keys.
    fn kept(&self) -> anyhow::Result<Vec<(&'static str, u64)>> {
        const KEYS: [&str; 3] = ["reservedSpace", "minFreeSpace", "maxUsedSpace"];
        const MEGABYTE: u64 = 1_000_000;
        let Some(list) = self.oci_worker_gc_keepstorage.as_deref().filter(|list| !list.is_empty()) else {
            return Ok(Vec::new());
        };
        let parts: Vec<&str> = list.split(',').collect();
        let read = |part: &str| part.parse::<u64>().ok()?.checked_mul(MEGABYTE);
        let sizes: Option<Vec<u64>> = parts.iter().map(|part| read(part)).collect();
        let sizes = sizes.filter(|sizes| sizes.len() <= KEYS.len());
        let sizes = sizes.with_context(|| {
            format!("--oci-worker-gc-keepstorage {list:?}: want megabytes, RESERVED[,FREE[,MAXIMUM]]")
        })?;
        Ok(KEYS.into_iter().zip(sizes).collect())
    }
}

fn entry(place: &str, key: &str, value: Value) -> anyhow::Result<Entry> {
    let parts: Vec<String> = key.split('/').map(String::from).collect();
    let (_, meaning) = keys::find(&parts).with_context(|| format!("{place} is no key of the file"))?;
    Ok(Entry { parts, value, meaning, place: place.into() })
}
