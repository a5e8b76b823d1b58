use std::fmt::Write as _;

use super::{Entry, place, word};
use crate::{Edge, op::*};

/// How much of a file's text is shown, in bytes.
const MAX_DATA_BYTES: usize = 200;

pub(super) fn describe(op: &FileOp, inputs: &[Edge]) -> Entry {
    let base = op.actions.first().and_then(|action| action.input);
    let mut entry = Entry::new(format!("file {}", place(base, inputs)));
    for (number, action) in op.actions.iter().enumerate() {
        let mut line = kind(action, inputs);
        let before = number.checked_sub(1).map(|before| (inputs.len() + before) as u32);
        if number > 0 && action.input != before {
            let _ = write!(line, " on={}", place(action.input, inputs));
        }
        let last = number + 1 == op.actions.len();
        match action.output {
            Some(0) if last => {}
            None if !last => {}
            Some(output) => {
                let _ = write!(line, " output={output}");
            }
            None => line.push_str(" output=none"),
        }
        entry.lines.push(line);
    }
    entry
}

fn kind(action: &FileAction, inputs: &[Edge]) -> String {
    match &action.kind {
        FileActionKind::Copy(op) => copy(op, &place(action.secondary_input, inputs), inputs),
        FileActionKind::Mkfile { path, mode, data, owner, timestamp } => {
            let mut line = format!("mkfile {} mode={mode:04o}", word(path));
            made(&mut line, owner.as_ref(), *timestamp, inputs);
            line + " " + &content(data)
        }
        FileActionKind::Mkdir { path, mode, make_parents, owner, timestamp } => {
            let mut line = format!("mkdir {} mode={mode:04o}", word(path));
            flags(&mut line, &[("parents", *make_parents)]);
            made(&mut line, owner.as_ref(), *timestamp, inputs);
            line
        }
        FileActionKind::Rm { path, allow_not_found, allow_wildcard } => {
            let mut line = format!("rm {}", word(path));
            flags(&mut line, &[("allow-not-found", *allow_not_found), ("wildcard", *allow_wildcard)]);
            line
        }
        FileActionKind::Symlink { oldpath, newpath, owner, timestamp } => {
            let mut line = format!("symlink {} -> {}", word(newpath), word(oldpath));
            made(&mut line, owner.as_ref(), *timestamp, inputs);
            line
        }
    }
}

fn copy(op: &CopyAction, from: &str, inputs: &[Edge]) -> String {
    let mut line = format!("copy {from}:{} -> {}", word(&op.src), word(&op.dest));
    if let Some(mode) = op.mode {
        let _ = write!(line, " mode={mode:04o}");
    }
    if !op.mode_str.is_empty() {
        let _ = write!(line, " mode={}", word(&op.mode_str));
    }
    let all = [
        ("follow-symlinks", op.follow_symlink),
        ("contents", op.dir_copy_contents),
        ("unpack", op.attempt_unpack),
        ("parents", op.create_dest_path),
        ("wildcard", op.allow_wildcard),
        ("allow-empty", op.allow_empty_wildcard),
        ("replace", op.always_replace_existing_dest_paths),
    ];
    flags(&mut line, &all);
    let lists =
        [("include", &op.include_patterns), ("exclude", &op.exclude_patterns), ("required", &op.required_paths)];
    for (name, list) in lists.iter().filter(|(_, list)| !list.is_empty()) {
        let _ = write!(line, " {name}={}", list.iter().map(|text| word(text)).collect::<Vec<_>>().join(","));
    }
    made(&mut line, op.owner.as_ref(), op.timestamp, inputs);
    line
}

fn flags(line: &mut String, flags: &[(&str, bool)]) {
    for (name, _) in flags.iter().filter(|(_, set)| *set) {
        let _ = write!(line, " {name}");
    }
}

/// Owner and time of what an action makes.
fn made(line: &mut String, owner: Option<&Chown>, timestamp: Option<i64>, inputs: &[Edge]) {
    if let Some(owner) = owner {
        let half = |half: &Option<UserOpt>| match half {
            None => String::new(),
            Some(UserOpt::Id(id)) => id.to_string(),
            Some(UserOpt::Name { name, input }) => format!("{}@{}", word(name), place(*input, inputs)),
        };
        let _ = write!(line, " owner={}:{}", half(&owner.user), half(&owner.group));
    }
    if let Some(timestamp) = timestamp {
        let _ = write!(line, " time={timestamp}");
    }
}

fn content(data: &[u8]) -> String {
    match std::str::from_utf8(data) {
        Ok(text) if text.len() <= MAX_DATA_BYTES => format!("{text:?}"),
        _ => format!("<{} bytes, {}>", data.len(), crate::Digest::of(data)),
    }
}
