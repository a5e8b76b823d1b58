//! Finds the shipped frontends, which are built before the binary: `make frontends`.

use std::{env, fs, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=PINTLE_FRONTENDS");
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
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
    }
}
