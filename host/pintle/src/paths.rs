//! Where things are when nobody says.

use std::path::PathBuf;

use crate::rootless;

/// The store: `/var/lib/pintle` for root, else below the user's data directory.
pub fn root() -> PathBuf {
    if rootless::is_root() {
        return PathBuf::from("/var/lib/pintle");
    }
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
    data.unwrap_or_else(|| home().join(".local/share")).join("pintle")
}

/// The daemon's socket: `/run/pintle/pintle.sock` for root, else below the user's runtime directory.
pub fn socket() -> PathBuf {
    if rootless::is_root() {
        return PathBuf::from("/run/pintle/pintle.sock");
    }
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    runtime.unwrap_or_else(std::env::temp_dir).join("pintle/pintle.sock")
}

/// The configuration: `/etc/pintle/pintle.toml` for root, else below the user's configuration directory.
pub fn config() -> PathBuf {
    if rootless::is_root() {
        return PathBuf::from("/etc/pintle/pintle.toml");
    }
    let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
    config.unwrap_or_else(|| home().join(".config")).join("pintle/pintle.toml")
}
