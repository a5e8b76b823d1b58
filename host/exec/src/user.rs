//! `user[:group]` as a process's user, looked up in an untrusted root.

use std::{fs::File, io::Read, path::Path};

use pathrs::{Root, flags::OpenFlags};
use rustix::fs::FileType;

/// At most so many bytes of /etc/passwd and of /etc/group are read; a longer file is an error.
pub const USER_FILE_BYTES_MAX: u64 = 1 << 20;
/// A user is in at most so many supplementary groups (the kernel's NGROUPS_MAX).
pub const GROUPS_MAX: usize = 65_536;
/// The largest id: 2^32-1 means "no change" to the kernel.
const ID_MAX: u32 = u32::MAX - 1;

/// Whom a process runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups, the primary one among them.
    pub groups: Vec<u32>,
    /// Home directory when /etc/passwd names one.
    pub home: Option<String>,
}

/// Why a user could not be found.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum UserError {
    #[error("no user {0:?} in /etc/passwd of the root")]
    UnknownUser(String),
    #[error("no group {0:?} in /etc/group of the root")]
    UnknownGroup(String),
    #[error("id {0} is out of range: the largest is {ID_MAX}")]
    Range(String),
    #[error("{path} of the root is not a regular file")]
    NotRegular { path: &'static str },
    #[error("{path} of the root is larger than {USER_FILE_BYTES_MAX} bytes")]
    TooLarge { path: &'static str },
    #[error("user {0:?} is in more than {GROUPS_MAX} groups")]
    TooManyGroups(String),
    #[error("read {path} of the root: {source}")]
    Read { path: &'static str, source: std::io::Error },
}

/// Finds `user[:group]`; each half is a name or a number, a name first. Empty is root. A number that is not in /etc/passwd has group 0.
/// With a group given, there are no supplementary groups. Neither file is read when both halves are numbers.
pub fn lookup_user(rootfs: &Path, user: &str) -> Result<User, UserError> {
    let (user, group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (user, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    if let (Some(uid), Some(gid)) = (number(user)?, group.map(number).transpose()?.flatten()) {
        return Ok(User { uid, gid, groups: vec![gid], home: home_of(rootfs, uid) });
    }
    let entry = find_user(&read(rootfs, "/etc/passwd")?, user)?;
    let groups = match group {
        Some(group) => vec![find_group(&read(rootfs, "/etc/group")?, group)?],
        None => groups_of(&read(rootfs, "/etc/group")?, &entry)?,
    };
    Ok(User { uid: entry.uid, gid: groups[0], groups, home: entry.home })
}

/// The home of who has this number. Numbers need no /etc/passwd, so that one that cannot be read is none.
fn home_of(rootfs: &Path, uid: u32) -> Option<String> {
    let passwd = read(rootfs, "/etc/passwd").ok()?;
    passwd.lines().filter_map(parse_user).find(|entry| entry.uid == uid)?.home
}

/// User and primary group of who is called `name` in the text of an /etc/passwd.
pub fn user_named(passwd: &str, name: &str) -> Option<(u32, u32)> {
    let entry = passwd.lines().filter_map(parse_user).find(|entry| entry.name == name)?;
    Some((entry.uid, entry.gid))
}

/// The group called `name` in the text of an /etc/group.
pub fn group_named(group: &str, name: &str) -> Option<u32> {
    group.lines().filter_map(parse_group).find(|(known, ..)| *known == name).map(|(_, gid, _)| gid)
}

struct Entry {
    name: String,
    uid: u32,
    gid: u32,
    home: Option<String>,
}

fn find_user(passwd: &str, user: &str) -> Result<Entry, UserError> {
    let id = number(user)?;
    let mut by_id = None;
    for entry in passwd.lines().filter_map(parse_user) {
        if entry.name == user {
            return Ok(entry);
        }
        if id == Some(entry.uid) && by_id.is_none() {
            by_id = Some(entry);
        }
    }
    match (by_id, id) {
        (Some(entry), _) => Ok(entry),
        (None, Some(uid)) => Ok(Entry { name: String::new(), uid, gid: 0, home: None }),
        (None, None) if user == "root" => Ok(Entry { name: user.into(), uid: 0, gid: 0, home: None }),
        (None, None) => Err(UserError::UnknownUser(user.into())),
    }
}

/// `name:password:uid:gid:comment:home:shell`; a line that is not so is skipped, as the C library does.
fn parse_user(line: &str) -> Option<Entry> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, rest @ ..] = fields.as_slice() else { return None };
    Some(Entry {
        name: name.to_string(),
        uid: number(uid).ok()??,
        gid: number(gid).ok()??,
        home: rest.get(1).filter(|h| !h.is_empty()).map(|h| h.to_string()),
    })
}

/// `name:password:gid:member,member`.
fn parse_group(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
    Some((name, number(gid).ok()??, fields.next().unwrap_or("")))
}

fn find_group(file: &str, group: &str) -> Result<u32, UserError> {
    let number = number(group)?;
    group_named(file, group).or(number).ok_or_else(|| UserError::UnknownGroup(group.into()))
}

fn groups_of(file: &str, user: &Entry) -> Result<Vec<u32>, UserError> {
    let mut groups = vec![user.gid];
    if user.name.is_empty() {
        return Ok(groups);
    }
    for (_, gid, members) in file.lines().filter_map(parse_group) {
        if members.split(',').any(|member| member == user.name) && !groups.contains(&gid) {
            if groups.len() == GROUPS_MAX {
                return Err(UserError::TooManyGroups(user.name.clone()));
            }
            groups.push(gid);
        }
    }
    Ok(groups)
}

/// `None` when `text` is not a number at all.
fn number(text: &str) -> Result<Option<u32>, UserError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id <= ID_MAX => Ok(Some(id)),
        _ => Err(UserError::Range(text.into())),
    }
}

/// The file's text, empty when it is not there. It is opened as a path first and looked at, so that a FIFO does not block and a
/// device is not touched.
fn read(rootfs: &Path, path: &'static str) -> Result<String, UserError> {
    match open_regular(rootfs, path)? {
        None => Ok(String::new()),
        Some(file) => {
            let mut bytes = Vec::new();
            file.take(USER_FILE_BYTES_MAX + 1)
                .read_to_end(&mut bytes)
                .map_err(|source| UserError::Read { path, source })?;
            if bytes.len() as u64 > USER_FILE_BYTES_MAX {
                return Err(UserError::TooLarge { path });
            }
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
    }
}

fn open_regular(rootfs: &Path, path: &'static str) -> Result<Option<File>, UserError> {
    let failed = |e: pathrs::error::Error| UserError::Read { path, source: io_error(e) };
    let root = Root::open(rootfs).map_err(failed)?;
    let handle = match root.resolve(path).map_err(io_error) {
        Ok(handle) => handle,
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(source) => return Err(UserError::Read { path, source }),
    };
    let fd: std::os::fd::OwnedFd = handle.try_clone().map_err(failed)?.into();
    let stat = rustix::fs::fstat(&fd).map_err(|e| UserError::Read { path, source: e.into() })?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(UserError::NotRegular { path });
    }
    handle.reopen(OpenFlags::O_RDONLY | OpenFlags::O_CLOEXEC).map(Some).map_err(failed)
}

/// What the kernel said, under a pathrs error.
pub(crate) fn io_error(error: pathrs::error::Error) -> std::io::Error {
    match error.kind() {
        pathrs::error::ErrorKind::OsError(Some(code)) => std::io::Error::from_raw_os_error(code),
        _ => std::io::Error::other(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nbroken\nu:x:no:1::/:\n1002:x:7:8::/n:\nann:x:1000:100:Ann:/home/ann:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nusers:x:100:\nwheel:x:10:bob,ann\nadm:x:4:ann\n";

    fn check(user: &str, expect: &str) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/passwd"), PASSWD).unwrap();
        std::fs::write(dir.path().join("etc/group"), GROUP).unwrap();
        assert_eq!(show(lookup_user(dir.path(), user)), expect, "{user:?}");
    }

    fn show(result: Result<User, UserError>) -> String {
        match result {
            Ok(u) => format!("{}:{} {:?} {}", u.uid, u.gid, u.groups, u.home.unwrap_or_default()),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn names_numbers_and_groups() {
        check("", "0:0 [0] /root");
        check("root", "0:0 [0] /root");
        check("ann", "1000:100 [100, 10, 4] /home/ann");
        check("1000", "1000:100 [100, 10, 4] /home/ann");
        check("ann:wheel", "1000:10 [10] /home/ann");
        check("ann:", "1000:100 [100, 10, 4] /home/ann");
        check("ann:77", "1000:77 [77] /home/ann");
        check("1002", "7:8 [8] /n");
        check("5:6", "5:6 [6] ");
        check("1000:6", "1000:6 [6] /home/ann");
        check("0:6", "0:6 [6] /root");
        check("55", "55:0 [0] ");
        check(":wheel", "0:10 [10] /root");
        check("4294967294:1", "4294967294:1 [1] ");
        check("nobody", "no user \"nobody\" in /etc/passwd of the root");
        check("ann:nope", "no group \"nope\" in /etc/group of the root");
        check("u", "no user \"u\" in /etc/passwd of the root");
        check("4294967295", "id 4294967295 is out of range: the largest is 4294967294");
        check("999999999999:0", "id 999999999999 is out of range: the largest is 4294967294");
    }

    #[test]
    fn a_root_without_files_has_root_and_numbers() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(show(lookup_user(dir.path(), "")), "0:0 [0] ");
        assert_eq!(show(lookup_user(dir.path(), "root")), "0:0 [0] ");
        assert_eq!(show(lookup_user(dir.path(), "12")), "12:0 [0] ");
        assert!(matches!(lookup_user(dir.path(), "ann"), Err(UserError::UnknownUser(_))));
    }

    #[test]
    fn hostile_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        let passwd = etc.join("passwd");

        rustix::fs::mknodat(rustix::fs::CWD, &passwd, FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        assert!(matches!(lookup_user(dir.path(), "ann"), Err(UserError::NotRegular { .. })));

        std::fs::remove_file(&passwd).unwrap();
        let file = File::create(&passwd).unwrap();
        file.set_len(USER_FILE_BYTES_MAX + 1).unwrap();
        assert!(matches!(lookup_user(dir.path(), "ann"), Err(UserError::TooLarge { .. })));
        file.set_len(USER_FILE_BYTES_MAX).unwrap();
        assert!(matches!(lookup_user(dir.path(), "ann"), Err(UserError::UnknownUser(_))));

        // A link out of the root is resolved inside it, where there is nothing.
        std::fs::remove_file(&passwd).unwrap();
        std::os::unix::fs::symlink("/../../../../etc/passwd.of.the.host", &passwd).unwrap();
        assert!(matches!(lookup_user(dir.path(), "ann"), Err(UserError::UnknownUser(_))));

        std::fs::remove_file(&passwd).unwrap();
        std::os::unix::fs::symlink("passwd", &passwd).unwrap();
        assert!(matches!(lookup_user(dir.path(), "ann"), Err(UserError::Read { .. })));
    }
}
