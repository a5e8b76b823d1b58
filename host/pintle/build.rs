//! Finds the shipped frontends, which are built before the binary (`make frontends`), and takes in the templates of projects.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    frontends(&manifest);
    let table = templates(&manifest.join("../../sdk/templates"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("templates.rs"), table).expect("cargo's directory can be written");
    // At a fixed address there is nothing to relocate: of a start, of which each container step has one of its own, the loader had
    // taken more than half, and every process had 1.3 MB of pages to itself. The stack, the heap, libraries and compiled frontends are
    // still somewhere else each time.
    println!("cargo::rustc-link-arg-bins=-no-pie");
}

fn frontends(manifest: &Path) {
    println!("cargo::rerun-if-env-changed=PINTLE_FRONTENDS");
    let default = manifest.join("../../target/frontends");
    let dir = env::var_os("PINTLE_FRONTENDS").map_or(default, PathBuf::from);
    for name in ["dockerfile.wasm", "dockerfile.cwasm"] {
        let path = dir.join(name);
        println!("cargo::rerun-if-changed={}", path.display());
        if !path.exists() {
            panic!("{} is missing: run `make frontends` first", path.display());
        }
        let path = fs::canonicalize(&path).expect("it is there");
        let variable = name.replace('.', "_").to_uppercase();
        println!("cargo::rustc-env=PINTLE_{variable}={}", path.display());
        if name == "dockerfile.wasm" {
            let bytes = fs::read(&path).expect("it can be read");
            println!("cargo::rustc-env=PINTLE_DOCKERFILE_SHA256={}", hex::encode(Sha256::digest(bytes)));
        }
    }
}

/// A Rust expression: languages, each with the paths of its template's files and their texts.
fn templates(dir: &Path) -> String {
    let mut table = String::from("&[");
    for language in entries(dir).into_iter().filter(|path| path.is_dir()) {
        let mut files = Vec::new();
        walk(&language, &mut files);
        let _ = write!(table, "({:?}, &[", language.file_name().expect("an entry has a name").to_string_lossy());
        for file in files {
            let path = file.strip_prefix(&language).expect("it lies in there");
            let full = fs::canonicalize(&file).expect("it is there");
            let _ = write!(table, "({:?}, include_str!({:?})),", path.to_string_lossy(), full.to_string_lossy());
        }
        table.push_str("]),");
    }
    table.push(']');
    table
}

/// The files below a directory.
fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
    for path in entries(dir) {
        match path.is_dir() {
            true => walk(&path, files),
            false => files.push(path),
        }
    }
}

/// What is in a directory, by name; cargo looks at it for changes.
fn entries(dir: &Path) -> Vec<PathBuf> {
    println!("cargo::rerun-if-changed={}", dir.display());
    let listed = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<PathBuf> = listed.map(|entry| entry.expect("the directory can be read").path()).collect();
    paths.sort();
    paths
}
