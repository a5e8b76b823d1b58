//! Who owns what a file action makes: numbers, or names looked up in a tree's /etc/passwd and /etc/group.

use std::io::Read;

use anyhow::{Context, bail};
use exec::{USER_FILE_BYTES_MAX, group_named, user_named};
use llb::op::{Chown, UserOpt};
use store::Dir;

use super::paths;

/// A user and a group by number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// The numbers of `chown`; `tree` finds the root of an input by its number. A user alone brings its group: its own from
/// /etc/passwd for a name, the same number for a number. A name that is in no file there changes nothing of that, or means root, as
/// in BuildKit; `warn` is told so.
pub fn resolve<'a>(
    chown: &Chown,
    tree: impl Fn(u32) -> Option<&'a Dir>,
    warn: impl Fn(String),
) -> anyhow::Result<Owner> {
    let mut owner = Owner { uid: 0, gid: 0 };
    match &chown.user {
        None => {}
        Some(UserOpt::Id(id)) => owner = Owner { uid: *id, gid: *id },
        Some(UserOpt::Name { name, input }) => match lookup(name, "passwd", input.and_then(&tree), user_named)? {
            Some((uid, gid)) => owner = Owner { uid, gid },
            None => warn(format!("no user {name:?} in /etc/passwd of the image: root is taken instead")),
        },
    }
    match &chown.group {
        None => {}
        Some(UserOpt::Id(id)) => owner.gid = *id,
        Some(UserOpt::Name { name, input }) => match lookup(name, "group", input.and_then(&tree), group_named)? {
            Some(gid) => owner.gid = gid,
            None => warn(format!("no group {name:?} in /etc/group of the image: {} is taken instead", owner.gid)),
        },
    }
    Ok(owner)
}

/// What `find` finds for `name` in /etc/`file` of `root`.
fn lookup<T>(
    name: &str,
    file: &str,
    root: Option<&Dir>,
    find: impl Fn(&str, &str) -> Option<T>,
) -> anyhow::Result<Option<T>> {
    let root = root.with_context(|| format!("no tree in which {name:?} could be looked up: give a number"))?;
    Ok(find(&read_names(root, file)?, name))
}

/// The text of /etc/`file`, empty where it is not there.
fn read_names(root: &Dir, file: &str) -> anyhow::Result<String> {
    let what = || format!("read /etc/{file} of the image");
    let Some(found) = paths::find(root, &["etc".into(), file.into()], true).with_context(what)? else {
        return Ok(String::new());
    };
    // The type is looked at before the file is opened for reading: opening a fifo would wait for ever.
    if !paths::file_type(found.stat()).is_file() || found.stat().st_size as u64 > USER_FILE_BYTES_MAX {
        bail!("/etc/{file} of the image is not a regular file of at most {USER_FILE_BYTES_MAX} bytes");
    }
    let mut text = Vec::new();
    found.open()?.take(USER_FILE_BYTES_MAX).read_to_end(&mut text).with_context(what)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
