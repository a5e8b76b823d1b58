//! The keys of buildkitd.toml (`cmd/buildkitd/config/config.go`), and what they mean here.

/// What a key may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Bool,
    Int,
    Text,
    Texts,
    /// Bytes as a number, a text with a unit, or a part of the disk (`10%`).
    Size,
    /// Seconds as a number, or a text with units.
    Duration,
    /// Whatever it is.
    Any,
}

/// What a key does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meaning {
    /// What it does in buildkitd.
    Set,
    /// Nothing: who sets it is told why.
    Nothing(&'static str),
    /// It must not be set, or only to what is so anyhow: the daemon would be less safe than its owner believes.
    Refused(&'static str),
}

use Kind::{Any, Bool, Duration, Int, Size, Text, Texts};
use Meaning::{Nothing, Refused, Set};

const NO_CONTAINERD: &str = "containerd is not used";

/// Keys, with `/` between their parts. `*` is any one part, `**` is any that follow.
pub const KEYS: &[(&str, Kind, Meaning)] = &[
    ("root", Text, Set),
    ("debug", Bool, Set),
    ("trace", Bool, Set),
    ("insecure-entitlements", Texts, Set),
    ("proxyNetwork", Bool, Refused("the proxy network is not supported")),
    ("provenanceEnvDir", Text, Nothing("no files are added to provenance")),
    ("log/format", Text, Set),
    ("log/level", Text, Set),
    ("grpc/address", Texts, Set),
    ("grpc/uid", Int, Set),
    ("grpc/gid", Int, Set),
    ("grpc/tls/cert", Text, Set),
    ("grpc/tls/key", Text, Set),
    ("grpc/tls/ca", Text, Set),
    ("grpc/debugAddress", Text, Nothing("there is no debug server")),
    ("grpc/securityDescriptor", Text, Nothing("it is of Windows")),
    ("otel/socketPath", Text, Set),
    ("cdi/disabled", Bool, Set),
    ("cdi/specDirs", Texts, Set),
    ("cdi/autoAllowed", Texts, Set),
    ("dns/nameservers", Texts, Set),
    ("dns/options", Texts, Set),
    ("dns/searchDomains", Texts, Set),
    ("history/maxAge", Duration, Set),
    ("history/maxEntries", Int, Set),
    ("system/platformsCacheMaxAge", Duration, Nothing("platforms are looked up each time that they are asked for")),
    ("system/maxRegistryConcurrency", Int, Nothing("connections to a registry are bounded by the program")),
    ("cache/gha/**", Any, Refused("caches of GitHub Actions are neither signed nor checked")),
    ("frontend/dockerfile.v0/enabled", Bool, Set),
    ("frontend/gateway.v0/enabled", Bool, Set),
    ("frontend/gateway.v0/allowedRepositories", Texts, Set),
    ("registry/*/mirrors", Texts, Set),
    ("registry/*/http", Bool, Set),
    ("registry/*/insecure", Bool, Set),
    ("registry/*/ca", Texts, Set),
    ("registry/*/keypair/*/key", Text, Set),
    ("registry/*/keypair/*/cert", Text, Set),
    ("registry/*/tlsconfigdir", Texts, Set),
    ("worker/oci/enabled", Bool, Set),
    ("worker/oci/labels/*", Text, Set),
    ("worker/oci/platforms", Texts, Nothing("platforms are those of this machine")),
    ("worker/oci/snapshotter", Text, Set),
    ("worker/oci/rootless", Bool, Nothing("how a daemon that is not root works is found out")),
    ("worker/oci/noProcessSandbox", Bool, Nothing("steps always have process ids of their own")),
    ("worker/oci/max-parallelism", Int, Set),
    ("worker/oci/binary", Text, Set),
    ("worker/oci/maxUsedSpace", Size, Set),
    ("worker/oci/gc", Bool, Set),
    ("worker/oci/gckeepstorage", Size, Set),
    ("worker/oci/reservedSpace", Size, Set),
    ("worker/oci/minFreeSpace", Size, Set),
    ("worker/oci/gcpolicy/*/all", Bool, Set),
    ("worker/oci/gcpolicy/*/filters", Texts, Set),
    ("worker/oci/gcpolicy/*/keepDuration", Duration, Set),
    ("worker/oci/gcpolicy/*/keepBytes", Size, Set),
    ("worker/oci/gcpolicy/*/reservedSpace", Size, Set),
    ("worker/oci/gcpolicy/*/maxUsedSpace", Size, Set),
    ("worker/oci/gcpolicy/*/minFreeSpace", Size, Set),
    ("worker/oci/networkMode", Text, Set),
    ("worker/oci/cniConfigPath", Text, Set),
    ("worker/oci/cniBinaryPath", Text, Set),
    ("worker/oci/cniPoolSize", Int, Set),
    ("worker/oci/bridgeName", Text, Set),
    ("worker/oci/bridgeSubnet", Text, Set),
    ("worker/oci/proxySnapshotterPath", Text, Refused("other snapshotters are not supported")),
    ("worker/oci/stargzSnapshotter/**", Any, Nothing("layers are not read lazily by file")),
    ("worker/oci/defaultCgroupParent", Text, Set),
    ("worker/oci/apparmor-profile", Text, Refused("AppArmor profiles are not supported")),
    ("worker/oci/selinux", Bool, Refused("SELinux labels are not supported")),
    ("worker/containerd/enabled", Bool, Refused(NO_CONTAINERD)),
    ("worker/containerd/**", Any, Nothing(NO_CONTAINERD)),
];

/// The row of a key.
pub fn find(parts: &[String]) -> Option<(Kind, Meaning)> {
    let row = KEYS.iter().find(|(pattern, ..)| matches(pattern, parts, false));
    row.map(|(_, kind, meaning)| (*kind, *meaning))
}

/// Whether keys below these parts exist.
pub fn has_below(parts: &[String]) -> bool {
    KEYS.iter().any(|(pattern, ..)| matches(pattern, parts, true))
}

/// The last parts of the keys beside this one.
pub fn beside(parts: &[String]) -> Vec<&'static str> {
    let Some((_, above)) = parts.split_last() else { return Vec::new() };
    let mut names: Vec<&str> = KEYS
        .iter()
        .filter(|(pattern, ..)| above.is_empty() || matches(pattern, above, true))
        .filter_map(|(pattern, ..)| pattern.split('/').nth(above.len()))
        .filter(|name| !name.starts_with('*'))
        .collect();
    names.dedup();
    names
}

/// Whether the pattern is of these parts; with `begins`, of something below them.
fn matches(pattern: &str, parts: &[String], begins: bool) -> bool {
    let mut wanted = pattern.split('/');
    for part in parts {
        match wanted.next() {
            Some("**") => return true,
            Some("*") => {}
            Some(name) if name == part => {}
            _ => return false,
        }
    }
    match wanted.next() {
        None => !begins,
        Some(_) => begins,
    }
}
