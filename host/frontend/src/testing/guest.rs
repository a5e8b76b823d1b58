use std::{
    path::{Path, PathBuf},
    process::Command,
};

const TARGET: &str = "wasm32-unknown-unknown";

/// Builds a package of this workspace as a component, as `make frontends` does.
///
/// # Errors
/// What cargo says, for instance that the target is not installed.
pub fn component(package: &str) -> Result<Vec<u8>, String> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--profile", "component", "--target", TARGET, "--package", package]);
    // Flags and wrappers of the surrounding run are for the host, not for the guest.
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER"] {
        command.env_remove(name);
    }
    let output = command.current_dir(&workspace).output().map_err(|error| format!("cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo build {package}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let directory = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let module = directory.join(TARGET).join("component").join(format!("{}.wasm", package.replace('-', "_")));
    let bytes = std::fs::read(&module).map_err(|error| format!("{}: {error}", module.display()))?;
    crate::encode(&bytes).map_err(|error| error.to_string())
}
