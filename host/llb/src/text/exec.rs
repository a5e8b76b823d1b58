use super::{Entry, place, word, words};
use crate::{Edge, op::*};

pub(super) fn describe(op: &ExecOp, inputs: &[Edge]) -> Entry {
    let root = op.mounts.iter().find(|mount| mount.dest == "/");
    let mut entry = Entry::new(format!("exec {}", place(root.and_then(|root| root.input), inputs)));
    describe_process(op, &mut entry);
    if let Some(root) = root {
        describe_root(root, &mut entry);
    }
    entry.lines.push(format!("run {}", words(&op.args)));
    entry.lines.extend(op.env.iter().map(|env| format!("env {}", word(env))));
    entry.lines.extend(op.secret_env.iter().map(secret_env));
    entry.lines.extend(op.mounts.iter().filter(|mount| mount.dest != "/").map(|mount| self::mount(mount, inputs)));
    entry.lines.extend(op.extra_hosts.iter().map(|line| format!("host {} {}", word(&line.host), word(&line.ip))));
    entry.lines.extend(op.ulimits.iter().map(|limit| format!("ulimit {}={}:{}", limit.name, limit.soft, limit.hard)));
    entry.lines.extend(
        op.cdi_devices.iter().map(|device| format!("device {}{}", word(&device.name), optional(device.optional))),
    );
    entry.lines.extend(op.proxy_env.iter().flat_map(proxies));
    entry
}

fn describe_process(op: &ExecOp, entry: &mut Entry) {
    if !matches!(op.cwd.as_str(), "" | "/") {
        entry.note("cwd", word(&op.cwd));
    }
    for (name, value) in [("user", &op.user), ("hostname", &op.hostname), ("cgroup-parent", &op.cgroup_parent)] {
        if !value.is_empty() {
            entry.note(name, word(value));
        }
    }
    match op.network {
        NetMode::Sandbox => {}
        NetMode::Host => entry.note("network", "host"),
        NetMode::None => entry.note("network", "none"),
    }
    entry.flag("security=insecure", op.security == SecurityMode::Insecure);
    if !op.valid_exit_codes.is_empty() {
        let codes: Vec<String> = op.valid_exit_codes.iter().map(i32::to_string).collect();
        entry.note("exit-codes", codes.join(","));
    }
}

fn describe_root(root: &Mount, entry: &mut Entry) {
    entry.flag("readonly", root.readonly);
    if !root.selector.is_empty() {
        entry.note("selector", word(&root.selector));
    }
    match root.output {
        Some(0) => {}
        Some(output) => entry.note("output", output),
        None => entry.note("output", "none"),
    }
}

fn optional(optional: bool) -> &'static str {
    if optional { " optional" } else { "" }
}

fn secret_env(secret: &SecretEnv) -> String {
    format!("env {}=secret {}{}", word(&secret.name), word(&secret.id), optional(secret.optional))
}

fn proxies(proxy: &ProxyEnv) -> Vec<String> {
    let all = [
        ("http", &proxy.http_proxy),
        ("https", &proxy.https_proxy),
        ("ftp", &proxy.ftp_proxy),
        ("no", &proxy.no_proxy),
        ("all", &proxy.all_proxy),
    ];
    let set = all.iter().filter(|(_, value)| !value.is_empty());
    set.map(|(name, value)| format!("proxy {name}={}", word(value))).collect()
}

fn mount(mount: &Mount, inputs: &[Edge]) -> String {
    let mut line = format!("mount {}", word(&mount.dest));
    let mut add = |text: String| {
        line.push(' ');
        line.push_str(&text);
    };
    match &mount.kind {
        MountKind::Bind => {}
        MountKind::Cache { id, sharing } => {
            add(format!("cache {}", word(id)));
            match sharing {
                CacheSharing::Shared => {}
                CacheSharing::Private => add("sharing=private".into()),
                CacheSharing::Locked => add("sharing=locked".into()),
            }
        }
        MountKind::Tmpfs { size: 0 } => add("tmpfs".into()),
        MountKind::Tmpfs { size } => add(format!("tmpfs size={size}")),
        MountKind::Secret { id, uid, gid, mode, optional } => add(shared("secret", id, *uid, *gid, *mode, *optional)),
        MountKind::Ssh { id, uid, gid, mode, optional } => add(shared("ssh", id, *uid, *gid, *mode, *optional)),
    }
    let has_input = matches!(mount.kind, MountKind::Bind) || mount.input.is_some();
    if has_input {
        let selector = if mount.selector.is_empty() { String::new() } else { format!(":{}", word(&mount.selector)) };
        add(format!("from {}{selector}", place(mount.input, inputs)));
    }
    if mount.readonly {
        add("readonly".into());
    }
    if let Some(output) = mount.output {
        add(format!("output={output}"));
    }
    match mount.content_cache {
        ContentCache::Default => {}
        ContentCache::On => add("content-cache=on".into()),
        ContentCache::Off => add("content-cache=off".into()),
    }
    line
}

fn shared(kind: &str, id: &str, uid: u32, gid: u32, mode: u32, optional: bool) -> String {
    let owner = if (uid, gid) == (0, 0) { String::new() } else { format!(" owner={uid}:{gid}") };
    format!("{kind} {}{owner} mode={mode:04o}{}", word(id), self::optional(optional))
}
