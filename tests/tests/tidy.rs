//! The architecture, checked: edges between crates, doors of the wire, unsafe code.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Which crates of the workspace each crate may depend on, tests included.
const EDGES: &[(&str, &[&str])] = &[
    ("sys", &[]),
    ("llb", &[]),
    ("solver", &[]),
    ("oci", &[]),
    ("signatures", &[]),
    ("units", &[]),
    ("store", &["sys"]),
    ("proto", &["llb"]),
    ("session", &["proto", "store", "sys"]),
    ("exec", &["sys", "store"]),
    ("frontend", &["sys", "llb", "proto", "units"]),
    ("sources", &["store", "oci", "session", "sys"]),
    ("exporters", &["store", "oci", "session", "sys"]),
    ("caches", &["exporters", "oci", "session", "solver", "sources", "store"]),
    ("ops", &["llb", "solver", "store", "sources", "exec", "session", "sys"]),
    (
        "build",
        &[
            "ops",
            "caches",
            "exporters",
            "frontend",
            "llb",
            "solver",
            "store",
            "session",
            "sources",
            "exec",
            "oci",
            "signatures",
        ],
    ),
    ("client", &["proto", "session", "oci", "store", "llb"]),
    (
        "pintle",
        &[
            "build",
            "client",
            "proto",
            "session",
            "frontend",
            "store",
            "sys",
            "exec",
            "solver",
            "llb",
            "oci",
            "signatures",
            "units",
        ],
    ),
    ("pintle-sdk", &[]),
    ("dockerfile", &["pintle-sdk"]),
];

/// Where wire types may be seen, besides the crate that defines them.
const WIRE_DOORS: &[&str] = &["host/llb/", "host/proto/", "host/session/", "host/client/", "host/pintle/src/api/"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace is there")
}

#[test]
fn edges_between_crates_are_those_of_the_map() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let allowed: BTreeMap<_, BTreeSet<_>> =
        EDGES.iter().map(|(name, edges)| (*name, edges.iter().copied().collect())).collect();
    let packages = metadata["packages"].as_array().expect("there are packages");
    let names: BTreeSet<_> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().expect("a package has a name");
        let Some(allowed) = allowed.get(name) else { continue };
        for dependency in package["dependencies"].as_array().expect("a list") {
            let to = dependency["name"].as_str().expect("a dependency has a name");
            // What a crate's own tests use is not part of the architecture.
            let normal = dependency["kind"].is_null();
            if normal && names.contains(to) && !allowed.contains(to) {
                wrong.push(format!("{name} -> {to}"));
            }
        }
    }
    assert!(wrong.is_empty(), "edges that ARCHITECTURE.md does not have: {wrong:?}");
    let unknown: Vec<_> = EDGES.iter().map(|(name, _)| name).filter(|name| !names.contains(*name)).collect();
    assert!(unknown.is_empty(), "crates that are gone: {unknown:?}");
}

/// A component that links today links for ever: of what was released nothing goes, and nothing changes its place. Functions may come.
#[test]
fn the_interface_holds_what_was_released() {
    let held = root().join("tests/cases/frozen/v0.1");
    let lines = |text: String| {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
        lines.map(String::from).collect::<Vec<_>>()
    };
    for name in ["types.wit", "llb.wit", "host.wit", "world.wit"] {
        let read = |path: PathBuf| lines(std::fs::read_to_string(path).unwrap());
        let (held, now) = (read(held.join(name)), read(root().join("wit/v0.1").join(name)));
        assert!(!held.is_empty());
        let mut now = now.iter();
        for line in &held {
            assert!(
                now.any(|own| own == line),
                "wit/v0.1/{name} no longer has `{line}` where it was: see wit/README.md"
            );
        }
    }
}

#[test]
fn wire_types_stay_at_their_doors() {
    let seen = sources().into_iter().filter(|(path, text)| {
        let door = WIRE_DOORS.iter().any(|door| path.starts_with(door));
        !door && (text.contains("proto::") || text.contains("prost::") || text.contains("tonic::"))
    });
    // The binary hands a channel from one door to the other without looking inside.
    let seen: Vec<_> = seen
        .map(|(path, _)| path)
        .filter(|path| path != "host/pintle/src/embedded.rs" && path.starts_with("host/"))
        .collect();
    assert!(seen.is_empty(), "wire types outside their doors: {seen:?}");
}

#[test]
fn unsafe_code_stands_in_sys_alone() {
    let seen = sources().into_iter().filter(|(path, text)| {
        !path.starts_with("host/sys/") && text.lines().any(|line| line.contains("allow(unsafe_code"))
    });
    let seen: Vec<_> = seen.map(|(path, _)| path).collect();
    assert!(seen.is_empty(), "unsafe code is allowed outside host/sys: {seen:?}");
}

/// All Rust sources of host, by their path in the repository.
fn sources() -> Vec<(String, String)> {
    let root = root();
    let mut found = Vec::new();
    let mut dirs = vec![root.join("host"), root.join("sdk"), root.join("frontends")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("a directory can be read") {
            let path = entry.expect("an entry can be read").path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned();
                found.push((name, fs::read_to_string(&path).expect("a source is text")));
            }
        }
    }
    found
}
