use std::net::IpAddr;

use llb::op::{
    CacheSharing, CdiDevice, ContentCache, ExecOp, HostIp, Mount, MountKind, NetMode, ProxyEnv, SecretEnv,
    SecurityMode, Ulimit,
};

use super::{
    bindings::pintle::frontend::llb as wit_llb, convert::Fault, graph::GuestGraph, vertex::Inputs, vertex::VertexWords,
    wit,
};
use crate::words::{Attrs, Table};

/// What `add-exec` was given.
pub(super) struct Call {
    pub(super) root: Option<wit::Edge>,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<wit::Attr>,
    pub(super) mounts: Vec<wit_llb::Mount>,
    pub(super) attrs: Vec<wit::Attr>,
}

/// Adds an exec.
pub(super) fn add(graph: &mut GuestGraph, call: Call) -> Result<wit::Edge, Fault> {
    let attrs = Table::get().check(&["vertex", "exec"], &call.attrs)?;
    if call.args.is_empty() {
        return Err(Fault::invalid("a command needs arguments"));
    }
    let mut mounts = Mounts::default();
    let root = call.root.map(|edge| graph.edge_in(edge)).transpose()?;
    mounts.root(root, &attrs);
    for mount in &call.mounts {
        mounts.add(graph, mount).map_err(|fault| fault.at(&format!("mount {:?}", mount.target)))?;
    }
    let op = ExecOp {
        env: call.env.iter().map(env).collect::<Result<_, _>>()?,
        mounts: mounts.mounts,
        secret_env: mounts.secret_env,
        ..exec(call.args, &attrs)?
    };
    graph.add(llb::Op::Exec(op), mounts.inputs.into_edges(), VertexWords::new(&attrs)?)
}

/// What the words of `exec` say.
fn exec(args: Vec<String>, attrs: &Attrs<'_>) -> Result<ExecOp, Fault> {
    let device = |optional| move |name: &str| CdiDevice { name: name.to_owned(), optional };
    let devices = attrs.list("device").map(device(false)).chain(attrs.list("optional-device").map(device(true)));
    Ok(ExecOp {
        args,
        cwd: attrs.get("cwd").unwrap_or("/").to_owned(),
        user: attrs.text("user"),
        proxy_env: proxy(attrs),
        extra_hosts: attrs.list("extra-host").map(extra_host).collect::<Result<_, _>>()?,
        hostname: attrs.text("hostname"),
        ulimits: attrs.list("ulimit").map(ulimit).collect::<Result<_, _>>()?,
        cgroup_parent: attrs.text("cgroup-parent"),
        remove_mount_stubs_recursive: !attrs.flag("keep-mount-stubs"),
        valid_exit_codes: attrs.list("valid-exit-code").map(exit_code).collect::<Result<_, _>>()?,
        network: match attrs.get("network") {
            Some("host") => NetMode::Host,
            Some("none") => NetMode::None,
            _ => NetMode::Sandbox,
        },
        security: match attrs.get("security") {
            Some("insecure") => SecurityMode::Insecure,
            _ => SecurityMode::Sandbox,
        },
        cdi_devices: devices.collect(),
        ..ExecOp::default()
    })
}

fn env((name, value): &wit::Attr) -> Result<String, Fault> {
    if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
        return Err(Fault::invalid(format!("environment variable {name:?}: want a name without \"=\"")));
    }
    Ok(format!("{name}={value}"))
}

fn proxy(attrs: &Attrs<'_>) -> Option<ProxyEnv> {
    let proxy = ProxyEnv {
        http_proxy: attrs.text("proxy-http"),
        https_proxy: attrs.text("proxy-https"),
        ftp_proxy: attrs.text("proxy-ftp"),
        no_proxy: attrs.text("proxy-no"),
        all_proxy: attrs.text("proxy-all"),
    };
    (proxy != ProxyEnv::default()).then_some(proxy)
}

fn extra_host(text: &str) -> Result<HostIp, Fault> {
    let parts = text.split_once('=').filter(|(host, ip)| !host.is_empty() && ip.parse::<IpAddr>().is_ok());
    let (host, ip) = parts.ok_or_else(|| Fault::invalid(format!("extra host {text:?}: want NAME=IP")))?;
    Ok(HostIp { host: host.to_owned(), ip: ip.to_owned() })
}

fn ulimit(text: &str) -> Result<Ulimit, Fault> {
    let parsed = text.split_once('=').and_then(|(name, limits)| {
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        Some(Ulimit { name: name.to_owned(), soft: soft.parse().ok()?, hard: hard.parse().ok()? })
    });
    let valid = |limit: &Ulimit| !limit.name.is_empty() && limit.soft >= -1 && limit.hard >= -1;
    parsed.filter(valid).ok_or_else(|| Fault::invalid(format!("ulimit {text:?}: want NAME=SOFT[:HARD]")))
}

fn exit_code(text: &str) -> Result<i32, Fault> {
    let code = text.parse().ok().filter(|code| (0..=255).contains(code));
    code.ok_or_else(|| Fault::invalid(format!("exit code {text:?}: want a number from 0 to 255")))
}

/// Mounts with their inputs, and outputs numbered densely in the order of those that have one.
#[derive(Default)]
struct Mounts {
    inputs: Inputs,
    outputs: u32,
    mounts: Vec<Mount>,
    secret_env: Vec<SecretEnv>,
}

impl Mounts {
    fn root(&mut self, root: Option<llb::Edge>, attrs: &Attrs<'_>) {
        let input = root.map(|edge| self.inputs.number(edge));
        let readonly = attrs.flag("readonly-root");
        let output = self.output(!readonly && !attrs.flag("no-root-output"));
        self.mounts.push(Mount { input, dest: "/".to_owned(), output, readonly, ..Mount::default() });
    }

    fn output(&mut self, wanted: bool) -> Option<u32> {
        wanted.then(|| {
            self.outputs += 1;
            self.outputs - 1
        })
    }

    fn add(&mut self, graph: &GuestGraph, mount: &wit_llb::Mount) -> Result<(), Fault> {
        let on = format!("mount.{}", mount.kind);
        if !Table::get().supports(&on) {
            return Err(Fault::unknown_kind("mount", &mount.kind));
        }
        let attrs = Table::get().check(&[&on], &mount.attrs)?;
        if let Some(name) = attrs.get("env") {
            return self.secret_env(mount, &attrs, name);
        }
        if !mount.target.starts_with('/') || mount.target.trim_matches('/').is_empty() {
            return Err(Fault::invalid("want an absolute path below \"/\""));
        }
        if mount.input.is_some() && !matches!(mount.kind.as_str(), "bind" | "cache") {
            return Err(Fault::invalid(format!("a {} mount has no input", mount.kind)));
        }
        let input = mount.input.map(|edge| graph.edge_in(edge)).transpose()?;
        let input = input.map(|edge| self.inputs.number(edge));
        let readonly = attrs.flag("readonly");
        let output = self.output(mount.kind == "bind" && !readonly && attrs.get("output") != Some("false"));
        self.mounts.push(Mount {
            input,
            selector: attrs.text("selector"),
            dest: mount.target.clone(),
            output,
            readonly,
            kind: kind(&mount.kind, &attrs)?,
            content_cache: match attrs.get("content-cache") {
                Some("on") => ContentCache::On,
                Some("off") => ContentCache::Off,
                _ => ContentCache::Default,
            },
        });
        Ok(())
    }

    fn secret_env(&mut self, mount: &wit_llb::Mount, attrs: &Attrs<'_>, name: &str) -> Result<(), Fault> {
        if !mount.target.is_empty() || mount.input.is_some() {
            return Err(Fault::invalid("a secret as an environment variable has neither target nor input"));
        }
        if name.is_empty() || name.contains('=') {
            return Err(Fault::invalid(format!("environment variable {name:?}: want a name without \"=\"")));
        }
        let (id, optional) = (attrs.needed("id")?.to_owned(), attrs.flag("optional"));
        self.secret_env.push(SecretEnv { id, name: name.to_owned(), optional });
        Ok(())
    }
}

/// Mode of a secret's file, unless it is given.
const SECRET_MODE: u32 = 0o400;
/// Mode of an agent's socket, unless it is given.
const SSH_MODE: u32 = 0o600;

fn kind(kind: &str, attrs: &Attrs<'_>) -> Result<MountKind, Fault> {
    let (uid, gid) = (attrs.number("uid").unwrap_or(0), attrs.number("gid").unwrap_or(0));
    let optional = attrs.flag("optional");
    Ok(match kind {
        "cache" => MountKind::Cache {
            id: attrs.needed("id")?.to_owned(),
            sharing: match attrs.get("sharing") {
                Some("private") => CacheSharing::Private,
                Some("locked") => CacheSharing::Locked,
                _ => CacheSharing::Shared,
            },
        },
        "tmpfs" => MountKind::Tmpfs { size: attrs.number("size").unwrap_or(0) },
        "secret" => MountKind::Secret {
            id: attrs.needed("id")?.to_owned(),
            uid,
            gid,
            mode: attrs.mode("mode").unwrap_or(SECRET_MODE),
            optional,
        },
        "ssh" => MountKind::Ssh {
            // As in BuildKit's definitions, no name is the default agent's.
            id: attrs.text("id"),
            uid,
            gid,
            mode: attrs.mode("mode").unwrap_or(SSH_MODE),
            optional,
        },
        _ => MountKind::Bind,
    })
}
