//! The capabilities of a builder that a vertex needs, by the names that BuildKit's Go client lists them under
//! (`solver/pb/caps.go`). BuildKit refuses a definition that needs what it does not have.

use std::collections::BTreeMap;

use crate::op::*;

/// A source by its scheme, what any of that scheme needs, and what the attributes need. A name that ends in a dot stands for
/// all attributes that begin with it.
const SOURCES: &[(&str, &str, &[(&str, &str)])] = &[
    (
        "docker-image",
        "source.image",
        &[("image.layerlimit", "source.image.layerlimit"), ("image.checksum", "source.image.checksum")],
    ),
    (
        "local",
        "source.local",
        &[
            ("local.unique", "source.local.unique"),
            ("local.session", "source.local.sessionid"),
            ("local.includepattern", "source.local.includepatterns"),
            ("local.followpaths", "source.local.followpaths"),
            ("local.excludepatterns", "source.local.excludepatterns"),
            ("local.sharedkeyhint", "source.local.sharedkeyhint"),
            ("local.metadatatransfer", "source.local.metadatatransfer"),
        ],
    ),
    (
        "git",
        "source.git",
        &[
            ("git.keepgitdir", "source.git.keepgitdir"),
            ("git.fullurl", "source.git.fullurl"),
            ("git.mountsshsock", "source.git.mountsshsock"),
            ("git.mountsshsock", "source.git.knownsshhosts"),
            ("git.checksum", "source.git.checksum"),
            ("git.skipsubmodules", "source.git.skipsubmodules"),
            ("git.mtime", "source.git.mtime"),
            ("git.fetchbycommit", "source.git.fetchbycommit"),
            ("git.bundle", "source.git.bundle"),
            ("git.checkoutbundle", "source.git.checkoutbundle"),
        ],
    ),
    (
        "http",
        "source.http",
        &[
            ("http.checksum", "source.http.checksum"),
            ("http.perm", "source.http.perm"),
            // BuildKit's own spelling.
            ("http.uid", "soruce.http.uidgid"),
            ("http.gid", "soruce.http.uidgid"),
            ("http.authheadersecret", "source.http.auth"),
            ("http.header.", "source.http.header"),
            ("http.sig.", "source.http.signatureverify"),
        ],
    ),
    ("oci-layout", "source.ocilayout", &[]),
    ("docker-image+blob", "source.imageblob", &[]),
    ("oci-layout+blob", "source.imageblob", &[]),
];

/// Secrets that Go's client names even where nobody asked for them: these need nothing.
const GIT_SECRETS: [(&str, &str); 2] =
    [("git.authtokensecret", "GIT_AUTH_TOKEN"), ("git.authheadersecret", "GIT_AUTH_HEADER")];

/// What an op needs. `resources` tells that the vertex has limits of memory or CPU.
pub(crate) fn needed(op: &Op, resources: bool) -> BTreeMap<String, bool> {
    let mut caps = Vec::new();
    match op {
        Op::Source(op) => source(op, &mut caps),
        Op::Exec(op) => {
            process(op, &mut caps);
            caps.extend(resources.then_some("exec.meta.linux.resources"));
            op.mounts.iter().for_each(|it| mount(it, &mut caps));
        }
        // What single actions need, Go's client learns after it has written this list.
        Op::File(_) => caps.push("file.base"),
        Op::Merge(_) => caps.push("mergeop"),
        Op::Diff(_) => caps.push("diffop"),
        Op::Build(_) => caps.push("source.buildop.llbfilename"),
        Op::Passthrough(_) => caps.push("passthroughop"),
    }
    caps.into_iter().map(|cap| (cap.to_owned(), true)).collect()
}

fn source(op: &SourceOp, caps: &mut Vec<&'static str>) {
    let scheme = op.identifier.split_once("://").map_or("", |(scheme, _)| scheme);
    let scheme = if scheme == "https" { "http" } else { scheme };
    let Some((_, base, attrs)) = SOURCES.iter().find(|(name, ..)| *name == scheme) else { return };
    caps.push(base);
    let given = |name: &str| match name.strip_suffix('.') {
        Some(_) => op.attrs.keys().any(|key| key.starts_with(name)),
        None => op.attrs.contains_key(name),
    };
    caps.extend(attrs.iter().filter(|(name, _)| given(name)).map(|(_, cap)| *cap));
    if op.attrs.get("image.resolvemode").is_some_and(|mode| mode == "pull") {
        caps.push("source.image.resolvemode");
    }
    if GIT_SECRETS.iter().any(|(name, usual)| op.attrs.get(*name).is_some_and(|secret| secret != usual)) {
        caps.push("source.git.httpauth");
    }
}

fn process(op: &ExecOp, caps: &mut Vec<&'static str>) {
    caps.push("exec.meta.base");
    // A process without PATH is given one.
    caps.push("exec.meta.setsdefaultpath");
    let parts = [
        (!op.valid_exit_codes.is_empty(), "exec.validexitcode"),
        (!op.ulimits.is_empty(), "exec.meta.ulimit"),
        (op.network != NetMode::Sandbox, "exec.meta.network"),
        (op.security == SecurityMode::Insecure, "exec.meta.security"),
        (op.proxy_env.is_some(), "exec.meta.proxyenv"),
        (!op.secret_env.is_empty(), "exec.mount.secret"),
        (!op.secret_env.is_empty(), "exec.secretenv"),
        (!op.cdi_devices.is_empty(), "exec.meta.cdi"),
    ];
    caps.extend(parts.iter().filter(|(is, _)| *is).map(|(_, cap)| *cap));
}

fn mount(mount: &Mount, caps: &mut Vec<&'static str>) {
    if !mount.selector.is_empty() {
        caps.push("exec.mount.selector");
    }
    if mount.content_cache != ContentCache::Default {
        caps.push("exec.mount.cache.content");
    }
    match mount.kind {
        MountKind::Bind if mount.input.is_some() => caps.push("exec.mount.bind"),
        MountKind::Bind => {}
        MountKind::Cache { .. } => caps.extend(["exec.mount.cache", "exec.mount.cache.sharing"]),
        MountKind::Tmpfs { size } => {
            caps.push("exec.mount.tmpfs");
            caps.extend((size > 0).then_some("exec.mount.tmpfs.size"));
        }
        MountKind::Secret { .. } => caps.push("exec.mount.secret"),
        MountKind::Ssh { .. } => caps.push("exec.mount.ssh"),
    }
}
