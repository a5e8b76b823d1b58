//! An exec op in protobuf's JSON, as error details carry it. Names are those of `solver/pb/ops.proto`.

use llb::op::{CacheSharing, ContentCache, ExecOp, Mount, MountKind, NetMode, SecurityMode};
use serde_json::{Value, json};

/// The op, with digest and output of each input.
pub fn op(op: &ExecOp, inputs: &[(String, u32)]) -> Value {
    let inputs: Vec<_> = inputs.iter().map(|(digest, index)| json!({"digest": digest, "index": index})).collect();
    json!({"inputs": inputs, "exec": {
        "meta": meta(op),
        "mounts": op.mounts.iter().map(mount).collect::<Vec<_>>(),
        "network": match op.network {
            NetMode::Sandbox => "UNSET",
            NetMode::Host => "HOST",
            NetMode::None => "NONE",
        },
        "security": match op.security {
            SecurityMode::Sandbox => "SANDBOX",
            SecurityMode::Insecure => "INSECURE",
        },
        "secretenv": op.secret_env.iter()
            .map(|env| json!({"ID": env.id, "name": env.name, "optional": env.optional})).collect::<Vec<_>>(),
        "cdiDevices": op.cdi_devices.iter()
            .map(|device| json!({"name": device.name, "optional": device.optional})).collect::<Vec<_>>(),
    }})
}

fn meta(op: &ExecOp) -> Value {
    let proxy = op.proxy_env.as_ref().map(|proxy| {
        json!({
            "httpProxy": proxy.http_proxy, "httpsProxy": proxy.https_proxy, "ftpProxy": proxy.ftp_proxy,
            "noProxy": proxy.no_proxy, "allProxy": proxy.all_proxy,
        })
    });
    json!({
        "args": op.args, "env": op.env, "cwd": op.cwd, "user": op.user, "hostname": op.hostname,
        "proxyEnv": proxy,
        "extraHosts": op.extra_hosts.iter().map(|line| json!({"Host": line.host, "IP": line.ip})).collect::<Vec<_>>(),
        "ulimit": op.ulimits.iter()
            .map(|limit| json!({"Name": limit.name, "Soft": limit.soft, "Hard": limit.hard})).collect::<Vec<_>>(),
        "cgroupParent": op.cgroup_parent,
        "removeMountStubsRecursive": op.remove_mount_stubs_recursive,
        "validExitCodes": op.valid_exit_codes,
    })
}

fn mount(mount: &Mount) -> Value {
    let number = |number: Option<u32>| number.map_or(-1, i64::from);
    let mut json = json!({
        "input": number(mount.input), "selector": mount.selector, "dest": mount.dest, "output": number(mount.output),
        "readonly": mount.readonly,
        "contentCache": match mount.content_cache {
            ContentCache::Default => "DEFAULT",
            ContentCache::On => "ON",
            ContentCache::Off => "OFF",
        },
    });
    let (kind, options) = match &mount.kind {
        MountKind::Bind => ("BIND", None),
        MountKind::Secret { id, uid, gid, mode, optional } => (
            "SECRET",
            Some(("secretOpt", json!({"ID": id, "uid": uid, "gid": gid, "mode": mode, "optional": optional}))),
        ),
        MountKind::Ssh { id, uid, gid, mode, optional } => {
            ("SSH", Some(("SSHOpt", json!({"ID": id, "uid": uid, "gid": gid, "mode": mode, "optional": optional}))))
        }
        MountKind::Cache { id, sharing } => {
            let sharing = match sharing {
                CacheSharing::Shared => "SHARED",
                CacheSharing::Private => "PRIVATE",
                CacheSharing::Locked => "LOCKED",
            };
            ("CACHE", Some(("cacheOpt", json!({"ID": id, "sharing": sharing}))))
        }
        MountKind::Tmpfs { size } => ("TMPFS", Some(("TmpfsOpt", json!({"size": size})))),
    };
    json["mountType"] = kind.into();
    if let Some((name, value)) = options {
        json[name] = value;
    }
    json
}
