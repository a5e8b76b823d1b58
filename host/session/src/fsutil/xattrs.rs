//! Extended attributes: which of them travel, and how they are read and set.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use bytes::Bytes;
use rustix::{fs::XattrFlags, io::Errno};

/// Longest list of names and longest value that are read, in bytes: the kernel's own limits.
const XATTR_MAX_BYTES: usize = 64 << 10;

/// Whether an attribute from the other end may be set here. `trusted.overlay.*` and `user.overlay.*` would steer the overlay
/// filesystem that a tree becomes a layer of, and access lists and labels belong to this machine.
pub(super) fn may_be_set(name: &str) -> bool {
    name == "security.capability" || (name.starts_with("user.") && !name.starts_with("user.overlay."))
}

/// The attributes of `name` in `dir`. A filesystem without attributes, or one that cannot be read, has none.
pub(super) fn read(dir: &OwnedFd, name: &str) -> BTreeMap<String, Bytes> {
    // There is no listxattrat before Linux 6.13. The parent is held open, so that this resolves one component and no symlink.
    let path = format!("/proc/self/fd/{}/{name}", dir.as_raw_fd());
    let mut names = [0u8; 4096];
    let mut many = Vec::new();
    let names: &[u8] = match rustix::fs::llistxattr(&path, &mut names) {
        Ok(0) => return BTreeMap::new(),
        Ok(n) => &names[..n],
        Err(Errno::RANGE) => {
            many.resize(XATTR_MAX_BYTES, 0);
            let Ok(n) = rustix::fs::llistxattr(&path, &mut many[..]) else { return BTreeMap::new() };
            &many[..n]
        }
        Err(_) => return BTreeMap::new(),
    };
    let mut out = BTreeMap::new();
    for name in names.split(|b| *b == 0).filter_map(|name| std::str::from_utf8(name).ok()).filter(|n| may_be_set(n)) {
        let mut value = vec![0; XATTR_MAX_BYTES];
        if let Ok(n) = rustix::fs::lgetxattr(&path, name, &mut value[..]) {
            out.insert(name.to_owned(), Bytes::copy_from_slice(&value[..n]));
        }
    }
    out
}

/// Sets those of `attributes` that may be set on an open file. A filesystem that refuses them is no error, as in BuildKit.
pub(super) fn set(file: impl AsFd, attributes: &BTreeMap<String, Bytes>) {
    for (name, value) in attributes.iter().filter(|(name, _)| may_be_set(name)) {
        if let Err(e) = rustix::fs::fsetxattr(&file, name.as_str(), value, XattrFlags::empty()) {
            tracing::debug!(name, error = %e, "extended attribute not set");
        }
    }
}
