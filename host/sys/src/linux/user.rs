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

/// Why an owner cannot be set or taken on here, where the reason is that this user namespace has no such user or group.
pub fn unmapped(uid: u32, gid: u32) -> Option<String> {
    let missing = match (is_mapped("uid_map", uid), is_mapped("gid_map", gid)) {
        (true, true) => return None,
        (false, _) => format!("user {uid}"),
        _ => format!("group {gid}"),
    };
    Some(format!(
        "this user namespace has no {missing}: install newuidmap and newgidmap and give the user subordinate ids in /etc/subuid and \
         /etc/subgid, or run as root"
    ))
}

/// Whether this process may choose its supplementary groups: not where an unprivileged user made the user namespace alone.
pub fn may_set_groups() -> bool {
    fs::read_to_string("/proc/self/setgroups").is_ok_and(|word| word.trim() == "allow")
}

/// Whether the group is one of this user namespace.
pub fn has_group(gid: u32) -> bool {
    is_mapped("gid_map", gid)
}

/// Lines of first id inside, first id outside, and how many.
fn is_mapped(map: &str, id: u32) -> bool {
    let Ok(map) = fs::read_to_string(format!("/proc/self/{map}")) else { return true };
    map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        matches!(numbers[..], [first, _, count] if (first..first + count).contains(&u64::from(id)))
    })
}

/// An id that changes with each start of the machine.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}
