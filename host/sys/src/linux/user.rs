//! Who we are.

use std::{fs, io};

/// Whether this process lives in a user namespace other than the first, where overlay keeps its marks in `user.` attributes.
pub fn in_user_namespace() -> bool {
    // The first namespace maps all 2^32 - 1 ids to themselves (user_namespaces(7)).
    fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().collect::<Vec<_>>() != ["0", "0", "4294967295"])
}

/// Whether the effective user is root (of its user namespace).
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// An id that changes with each start of the machine.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}
