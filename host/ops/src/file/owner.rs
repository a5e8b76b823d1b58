//! Who owns what a file action makes: numbers, or names looked up in a tree's /etc/passwd and /etc/group.

use std::io::Read;

use anyhow::{Context, bail};
use llb::op::{Chown, UserOpt};
use store::Dir;

use super::paths;

/// How much of /etc/passwd or /etc/group is read: more is refused, for the file comes from an image that nobody vouches for.
pub const MAX_NAMES_BYTES: u64 = 1 << 20;

/// A user and a group by number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// The numbers of `chown`; `tree` finds the root of an input by its number. A user alone brings its group: its own from
/// /etc/passwd for a name, the same number for a number.
pub fn resolve<'a>(chown: &Chown, tree: impl Fn(u32) -> Option<&'a Dir>) -> anyhow::Result<Owner> {
    let mut owner = Owner { uid: 0, gid: 0 };
    match &chown.user {
        None => {}
        Some(UserOpt::Id(id)) => owner = Owner { uid: *id, gid: *id },
        Some(UserOpt::Name { name, input }) => {
            let fields = lookup(name, "passwd", input.and_then(&tree))?;
            owner = Owner { uid: number(&fields, 2)?, gid: number(&fields, 3)? };
        }
    }
    match &chown.group {
        None => {}
        Some(UserOpt::Id(id)) => owner.gid = *id,
        Some(UserOpt::Name { name, input }) => owner.gid = number(&lookup(name, "group", input.and_then(&tree))?, 2)?,
    }
    Ok(owner)
}

fn number(fields: &[String], index: usize) -> anyhow::Result<u32> {
    let field = fields.get(index).map_or("", String::as_str);
    field.parse().with_context(|| format!("{field:?} is not a user or group number"))
}

/// The fields of the line for `name` in /etc/`file`.
fn lookup(name: &str, file: &str, root: Option<&Dir>) -> anyhow::Result<Vec<String>> {
    if let Ok(id) = name.parse::<u32>() {
        return Ok(["", "", &id.to_string(), &id.to_string()].map(String::from).to_vec());
    }
    let root = root.with_context(|| format!("no tree in which {name:?} could be looked up: give a number"))?;
    let text = read_names(root, file)?;
    let lines = text.lines().map(|line| line.split(':').map(String::from).collect::<Vec<_>>());
    let mut lines = lines.filter(|fields| fields.first().is_some_and(|first| first == name));
    lines.next().with_context(|| format!("{name:?} is not in /etc/{file} of the image"))
}

fn read_names(root: &Dir, file: &str) -> anyhow::Result<String> {
    let what = || format!("read /etc/{file} of the image");
    let found = paths::find(root, &["etc".into(), file.into()], true).with_context(what)?;
    let found = found.with_context(|| format!("/etc/{file} is not there")).with_context(what)?;
    // The type is looked at before the file is opened for reading: opening a fifo would wait for ever.
    if !paths::file_type(found.stat()).is_file() || found.stat().st_size as u64 > MAX_NAMES_BYTES {
        bail!("/etc/{file} of the image is not a regular file of at most {MAX_NAMES_BYTES} bytes");
    }
    let mut text = Vec::new();
    found.open()?.take(MAX_NAMES_BYTES).read_to_end(&mut text).with_context(what)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
