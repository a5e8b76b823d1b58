//! Mounts.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::OwnedFd,
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags,
        fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
    },
};

/// The most lower directories that the kernel takes in one overlay (`OVL_MAX_STACK`).
pub const OVERLAY_LAYERS_MAX: usize = 500;

/// An overlay to mount.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    /// Read-only directories, the topmost first. At least one; at least two where there is no `upper`.
    pub lower: Vec<PathBuf>,
    /// Where changes go, and an empty directory for the kernel's work on the same file system. `None` mounts read-only.
    pub upper: Option<(PathBuf, PathBuf)>,
    /// Keep marks in `user.overlay.*` instead of `trusted.overlay.*`: the way in a user namespace.
    pub user_xattr: bool,
}

/// Mounts `overlay` at `target`: no redirects, no metadata-only copies, no index, so that the upper directory is plain OCI
/// layering; and no syncing of the upper directory, whose loss in a crash of the machine is the caller's to handle.
pub fn overlay(overlay: &Overlay, target: &Path) -> io::Result<()> {
    match overlay_by_handle(overlay, target) {
        // No new mount API (before Linux 5.2), or no `lowerdir+` in it (before 6.8).
        Err(Errno::NOSYS | Errno::INVAL) => Ok(overlay_by_text(overlay, target)?),
        other => Ok(other?),
    }
}

fn overlay_by_handle(overlay: &Overlay, target: &Path) -> Result<(), Errno> {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&fs, "source", "overlay")?;
    for lower in &overlay.lower {
        fsconfig_set_string(&fs, "lowerdir+", lower)?;
    }
    if let Some((upper, work)) = &overlay.upper {
        // Here, other than in `lowerdir+`, the kernel takes backslashes away.
        for (key, path) in [("upperdir", upper), ("workdir", work)] {
            let mut escaped = Vec::new();
            escape(path.as_os_str().as_bytes(), b"\\", &mut escaped);
            fsconfig_set_string(&fs, key, escaped.as_slice())?;
        }
        fsconfig_set_flag(&fs, "volatile")?;
    }
    for (key, value) in FIXED_OPTIONS {
        fsconfig_set_string(&fs, *key, *value)?;
    }
    if overlay.user_xattr {
        fsconfig_set_flag(&fs, "userxattr")?;
    }
    fsconfig_create(&fs)?;
    let attributes = if overlay.upper.is_none() { MountAttrFlags::MOUNT_ATTR_RDONLY } else { MountAttrFlags::empty() };
    attach(fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?, target)
}

fn attach(mount: OwnedFd, target: &Path) -> Result<(), Errno> {
    move_mount(&mount, "", rustix::fs::CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

const FIXED_OPTIONS: &[(&str, &str)] = &[("redirect_dir", "off"), ("metacopy", "off"), ("index", "off")];

/// mount(2) takes its options as one text of at most a page.
fn overlay_by_text(overlay: &Overlay, target: &Path) -> Result<(), Errno> {
    let flags = if overlay.upper.is_none() { MountFlags::RDONLY } else { MountFlags::empty() };
    let mut last = Errno::INVAL;
    // `volatile` is refused before Linux 5.10, `userxattr` before 5.11, where a mount in a user namespace fails anyway.
    for volatile in [true, false] {
        let text = overlay_text(overlay, volatile);
        let text = std::ffi::CString::new(text).map_err(|_| Errno::INVAL)?;
        match rustix::mount::mount("overlay", target, "overlay", flags, Some(text.as_c_str())) {
            Ok(()) => return Ok(()),
            Err(error) => last = error,
        }
        if overlay.upper.is_none() {
            break;
        }
    }
    Err(last)
}

fn overlay_text(overlay: &Overlay, volatile: bool) -> Vec<u8> {
    let mut text = b"lowerdir=".to_vec();
    for (i, lower) in overlay.lower.iter().enumerate() {
        text.extend((i > 0).then_some(b':'));
        escape(lower.as_os_str().as_bytes(), b"\\,:", &mut text);
    }
    if let Some((upper, work)) = &overlay.upper {
        for (key, path) in [(",upperdir=", upper), (",workdir=", work)] {
            text.extend(key.bytes());
            escape(path.as_os_str().as_bytes(), b"\\,:", &mut text);
        }
        if volatile {
            text.extend(b",volatile");
        }
    }
    for (key, value) in FIXED_OPTIONS {
        text.extend(format!(",{key}={value}").bytes());
    }
    if overlay.user_xattr {
        text.extend(b",userxattr");
    }
    text
}

fn escape(path: &[u8], special: &[u8], text: &mut Vec<u8>) {
    for &byte in path {
        text.extend(special.contains(&byte).then_some(b'\\'));
        text.push(byte);
    }
}

/// Makes `source`, a file or a directory with all that is mounted in it, appear at `target`, which must be of the same kind.
pub fn bind(source: &Path, target: &Path, read_only: bool) -> io::Result<()> {
    rustix::mount::mount_bind_recursive(source, target)?;
    if read_only {
        rustix::mount::mount_remount(target, MountFlags::BIND | MountFlags::RDONLY, c"")?;
    }
    Ok(())
}

/// Mounts an empty file system in memory at `target`; `size` is in bytes, 0 is the kernel's default.
pub fn tmpfs(target: &Path, size: u64) -> io::Result<()> {
    let options = if size == 0 { c"".to_owned() } else { std::ffi::CString::new(format!("size={size}"))? };
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    Ok(rustix::mount::mount("tmpfs", target, "tmpfs", flags, Some(options.as_c_str()))?)
}

/// Keeps what is mounted under `target`, itself a mount, from spreading to other mount namespaces.
pub fn make_private(target: &Path) -> io::Result<()> {
    Ok(rustix::mount::mount_change(target, MountPropagationFlags::PRIVATE)?)
}

/// Takes away what is mounted at `target`, now for new users and later for those who still use it.
pub fn unmount(target: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?)
}

/// All mount points strictly under `root`, the innermost first. `root` must be absolute and free of symlinks.
pub fn under(root: &Path) -> io::Result<Vec<PathBuf>> {
    let table = fs::read("/proc/self/mountinfo")?;
    // Field 5 of a line is the mount point (proc_pid_mountinfo(5)). Mounts stand in the order in which they were made.
    let mut points: Vec<PathBuf> = table
        .split(|&byte| byte == b'\n')
        .filter_map(|line| line.split(|&byte| byte == b' ').nth(4))
        .map(|field| PathBuf::from(std::ffi::OsString::from_vec(unescape(field))))
        .filter(|point| point.starts_with(root) && point != root)
        .collect();
    points.reverse();
    Ok(points)
}

/// Space, tab, newline and backslash stand as `\040` and so on.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| byte == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(code) => {
                plain.push(code);
                rest = &tail[3..];
            }
            None => {
                plain.push(byte);
                rest = tail;
            }
        }
    }
    plain
}

/// Whether the kernel has overlay at all, for messages; a mount may be refused all the same.
pub fn overlay_known() -> bool {
    fs::read_to_string("/proc/filesystems")
        .is_ok_and(|list| list.lines().any(|line| line.trim_start_matches("nodev").trim() == "overlay"))
        || File::open("/sys/module/overlay").is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(test: &str) -> bool {
        let root = crate::user::is_root();
        if !root {
            eprintln!("{test}: skipped: mounting needs root");
        }
        root
    }

    /// Both ways to mount give the same tree, for names that need escaping and for many layers.
    #[test]
    fn overlays_of_many_layers() {
        if !root("overlays_of_many_layers") {
            return;
        }
        type Way = fn(&Overlay, &Path) -> Result<(), Errno>;
        let ways: [(Way, usize); 2] = [(overlay_by_handle, 400), (overlay_by_text, 20)];
        for (way, layers) in ways {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().canonicalize().unwrap().join("a:b,c\\d e");
            let mut overlay = Overlay::default();
            for i in 0..layers {
                let lower = root.join(i.to_string());
                fs::create_dir_all(&lower).unwrap();
                fs::write(lower.join(i.to_string()), "").unwrap();
                fs::write(lower.join("last"), i.to_string()).unwrap();
                overlay.lower.insert(0, lower);
            }
            let [upper, work, target] = ["upper", "work", "target"].map(|name| root.join(name));
            for dir in [&upper, &work, &target] {
                fs::create_dir(dir).unwrap();
            }
            overlay.upper = Some((upper.clone(), work));
            way(&overlay, &target).unwrap();
            assert_eq!(under(&root).unwrap(), std::slice::from_ref(&target));
            assert_eq!(fs::read_to_string(target.join("last")).unwrap(), (layers - 1).to_string());
            fs::write(target.join("0"), "changed").unwrap();
            unmount(&target).unwrap();
            assert_eq!(fs::read_to_string(upper.join("0")).unwrap(), "changed");
            assert_eq!(under(&root).unwrap(), [] as [PathBuf; 0]);
        }
    }

    #[test]
    fn a_read_only_bind_refuses_writes() {
        if !root("a_read_only_bind_refuses_writes") {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let [source, target] = ["source", "target"].map(|name| dir.path().join(name));
        fs::create_dir(&source).unwrap();
        fs::create_dir(&target).unwrap();
        bind(&source, &target, true).unwrap();
        let written = fs::write(target.join("f"), "");
        unmount(&target).unwrap();
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
    }

    #[test]
    fn mount_points_are_read_back() {
        assert_eq!(unescape(br"/a\040b\134c\011"), b"/a b\\c\t");
        assert_eq!(unescape(br"/a\9\0"), br"/a\9\0");
    }
}
