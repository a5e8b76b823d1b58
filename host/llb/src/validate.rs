//! What an op must hold to, whoever made it: a definition on the wire, a frontend, the host itself.

use std::collections::BTreeSet;

use crate::{GraphError, Op, op::*};

/// The longest path that the kernel takes, in bytes (`PATH_MAX` without its final zero).
pub const MAX_PATH_BYTES: usize = 4095;
/// The longest source identifier, in bytes.
pub const MAX_IDENTIFIER_BYTES: usize = 64 << 10;
/// Permission bits, with set-uid, set-gid and sticky.
pub const MAX_MODE: u32 = 0o7777;
/// `uid_t` -1 means "leave it" to the kernel, so it is no user.
const NO_ID: u32 = u32::MAX;
/// The builder of a build op that reads LLB; there is no other.
const LLB_BUILDER: i64 = -1;
/// Names of resource limits, without `RLIMIT_`.
const ULIMITS: &[&str] = &[
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

type Check = Result<(), GraphError>;

fn fail<T>(message: impl Into<String>) -> Result<T, GraphError> {
    Err(GraphError::new(message))
}

/// Checks `op` for a vertex of `inputs` inputs.
pub(crate) fn op(op: &Op, inputs: usize) -> Check {
    match op {
        Op::Source(op) => source(op, inputs),
        Op::Exec(op) => exec(op, inputs),
        Op::File(op) => file(op, inputs),
        Op::Merge(op) if op.inputs.is_empty() => fail("a merge needs an input"),
        Op::Merge(op) => op.inputs.iter().try_for_each(|input| optional_input(*input, inputs, "merge input")),
        Op::Diff(op) => {
            optional_input(op.lower, inputs, "lower input")?;
            optional_input(op.upper, inputs, "upper input")
        }
        Op::Build(op) => build(op, inputs),
        Op::Passthrough(op) => passthrough(op, inputs),
    }
}

/// What is asked of new ops only: a definition on the wire may have mounts relative to the working directory, and decoding
/// makes them absolute.
pub(crate) fn paths_are_absolute(op: &Op) -> Check {
    let Op::Exec(exec) = op else { return Ok(()) };
    match exec.mounts.iter().find(|mount| !mount.dest.starts_with('/')) {
        Some(mount) => fail(format!("mount {:?}: want an absolute path", mount.dest)),
        None => Ok(()),
    }
}

fn input(number: u32, count: usize, what: &str) -> Check {
    if (number as usize) < count { Ok(()) } else { fail(format!("{what} {number} is out of range: there are {count}")) }
}

fn optional_input(number: Option<u32>, count: usize, what: &str) -> Check {
    number.map_or(Ok(()), |number| input(number, count, what))
}

/// Output numbers are 0 to n-1, each once.
fn outputs(numbers: impl Iterator<Item = u32>) -> Check {
    let mut seen = BTreeSet::new();
    for number in numbers {
        if !seen.insert(number) {
            return fail(format!("output {number} is made twice"));
        }
    }
    match seen.iter().zip(0u32..).find(|(number, want)| **number != *want) {
        Some((_, missing)) => fail(format!("output {missing} is missing")),
        None => Ok(()),
    }
}

fn no_nul(text: &str, what: &str) -> Check {
    if text.contains('\0') { fail(format!("{what} {text:?} has a zero byte")) } else { Ok(()) }
}

fn path(path: &str, what: &str) -> Check {
    no_nul(path, what)?;
    if path.len() > MAX_PATH_BYTES {
        return fail(format!("{what} is {} bytes long, more than {MAX_PATH_BYTES}", path.len()));
    }
    Ok(())
}

fn nonempty_path(text: &str, what: &str) -> Check {
    if text.is_empty() { fail(format!("{what} is empty")) } else { path(text, what) }
}

fn mode(mode: u32, what: &str) -> Check {
    if mode <= MAX_MODE { Ok(()) } else { fail(format!("{what} {mode:#o} is over {MAX_MODE:#o}")) }
}

fn id(id: u32, what: &str) -> Check {
    if id == NO_ID { fail(format!("{what} {id} is no user or group")) } else { Ok(()) }
}

/// `path` under `/` without `.`, `..` and doubled slashes; `None` when `..` climbs above `/`.
pub(crate) fn clean(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            _ => parts.push(part),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

fn source(op: &SourceOp, inputs: usize) -> Check {
    if inputs != 0 {
        return fail("a source has no inputs");
    }
    if op.identifier.len() > MAX_IDENTIFIER_BYTES {
        return fail(format!("the identifier is {} bytes long, more than {MAX_IDENTIFIER_BYTES}", op.identifier.len()));
    }
    no_nul(&op.identifier, "identifier")?;
    match op.identifier.split_once("://") {
        Some((scheme, rest)) if !scheme.is_empty() && !rest.is_empty() => Ok(()),
        _ => fail(format!("identifier {:?}: want SCHEME://NAME", op.identifier)),
    }
}

fn exec(op: &ExecOp, inputs: usize) -> Check {
    if op.args.is_empty() {
        return fail("no arguments");
    }
    op.args.iter().try_for_each(|arg| no_nul(arg, "argument"))?;
    op.env.iter().try_for_each(|entry| env(entry))?;
    path(&op.cwd, "working directory")?;
    if !op.cwd.is_empty() && !op.cwd.starts_with('/') {
        return fail(format!("working directory {:?}: want an absolute path", op.cwd));
    }
    no_nul(&op.user, "user")?;
    no_nul(&op.hostname, "host name")?;
    path(&op.cgroup_parent, "cgroup parent")?;
    op.ulimits.iter().try_for_each(ulimit)?;
    if let Some(code) = op.valid_exit_codes.iter().find(|code| !(0..=255).contains(*code)) {
        return fail(format!("exit code {code} is not between 0 and 255"));
    }
    op.secret_env.iter().try_for_each(secret_env)?;
    if op.cdi_devices.iter().any(|device| device.name.is_empty()) {
        return fail("a device has no name");
    }
    mounts(&op.mounts, inputs)
}

fn env(entry: &str) -> Check {
    no_nul(entry, "environment entry")?;
    match entry.split_once('=') {
        Some((name, _)) if !name.is_empty() => Ok(()),
        _ => fail(format!("environment entry {entry:?}: want NAME=VALUE")),
    }
}

fn ulimit(limit: &Ulimit) -> Check {
    if !ULIMITS.contains(&limit.name.as_str()) {
        return fail(format!("unknown ulimit {:?}: want one of {}", limit.name, ULIMITS.join(", ")));
    }
    if limit.soft < -1 || limit.hard < -1 {
        return fail(format!("ulimit {}: {}:{} is negative; -1 is unlimited", limit.name, limit.soft, limit.hard));
    }
    Ok(())
}

fn secret_env(secret: &SecretEnv) -> Check {
    if secret.id.is_empty() {
        return fail(format!("secret for environment variable {:?} has no id", secret.name));
    }
    if secret.name.is_empty() || secret.name.contains(['=', '\0']) {
        return fail(format!("secret {:?}: {:?} is no name of an environment variable", secret.id, secret.name));
    }
    Ok(())
}

fn mounts(mounts: &[Mount], inputs: usize) -> Check {
    for mount in mounts {
        self::mount(mount, inputs).map_err(|error| error.at(format_args!("mount {:?}", mount.dest)))?;
    }
    match mounts.iter().filter(|mount| mount.dest == "/").count() {
        0 => fail("no root filesystem: want a mount at /"),
        1 => outputs(mounts.iter().filter_map(|mount| mount.output)),
        count => fail(format!("{count} mounts at /")),
    }
}

fn mount(mount: &Mount, inputs: usize) -> Check {
    nonempty_path(&mount.dest, "destination")?;
    match clean(&mount.dest) {
        None => return fail("the destination climbs above /"),
        Some(clean) if clean == "/" && mount.dest != "/" => return fail("write / for the root filesystem"),
        Some(_) => {}
    }
    path(&mount.selector, "selector")?;
    optional_input(mount.input, inputs, "input")?;
    let root = mount.dest == "/";
    match &mount.kind {
        MountKind::Bind => {}
        _ if root => return fail("the root filesystem must be a bind mount"),
        MountKind::Cache { id, .. } => no_nul(id, "cache id")?,
        MountKind::Tmpfs { size } if *size < 0 => return fail(format!("tmpfs size {size} is negative")),
        MountKind::Tmpfs { .. } => {}
        MountKind::Secret { id, .. } if id.is_empty() => return fail("a secret has no id"),
        MountKind::Secret { uid, gid, mode: bits, .. } | MountKind::Ssh { uid, gid, mode: bits, .. } => {
            id_pair(*uid, *gid)?;
            mode(*bits, "mode")?;
        }
    }
    let has_output = matches!(mount.kind, MountKind::Bind | MountKind::Cache { .. });
    if mount.output.is_some() && !has_output { fail("this kind of mount has no output") } else { Ok(()) }
}

fn id_pair(uid: u32, gid: u32) -> Check {
    id(uid, "uid")?;
    id(gid, "gid")
}

fn file(op: &FileOp, inputs: usize) -> Check {
    if op.actions.is_empty() {
        return fail("no file action");
    }
    for (number, action) in op.actions.iter().enumerate() {
        file_action(action, inputs, number).map_err(|error| error.at(format_args!("action {number}")))?;
    }
    if op.actions.iter().all(|action| action.output.is_none()) {
        return fail("no output");
    }
    outputs(op.actions.iter().filter_map(|action| action.output))
}

fn file_action(action: &FileAction, inputs: usize, earlier: usize) -> Check {
    // An action sees the inputs and the actions before it; so there is no cycle.
    optional_input(action.input, inputs + earlier, "input")?;
    optional_input(action.secondary_input, inputs + earlier, "secondary input")?;
    if action.secondary_input.is_some() && !matches!(action.kind, FileActionKind::Copy(_)) {
        return fail("only a copy has a secondary input");
    }
    match &action.kind {
        FileActionKind::Copy(copy) => self::copy(copy, inputs),
        FileActionKind::Mkfile { path: text, mode, owner, .. }
        | FileActionKind::Mkdir { path: text, mode, owner, .. } => {
            nonempty_path(text, "path")?;
            match u32::try_from(*mode) {
                Ok(bits) => self::mode(bits, "mode")?,
                Err(_) => return fail(format!("mode {mode} is negative")),
            }
            chown(owner.as_ref(), inputs)
        }
        FileActionKind::Rm { path, .. } => rm(path),
        FileActionKind::Symlink { oldpath, newpath, owner, .. } => {
            nonempty_path(oldpath, "old path")?;
            nonempty_path(newpath, "new path")?;
            chown(owner.as_ref(), inputs)
        }
    }
}

fn copy(copy: &CopyAction, inputs: usize) -> Check {
    path(&copy.src, "source")?;
    path(&copy.dest, "destination")?;
    for patterns in [&copy.include_patterns, &copy.exclude_patterns, &copy.required_paths] {
        patterns.iter().try_for_each(|pattern| path(pattern, "pattern"))?;
    }
    copy.mode.map_or(Ok(()), |bits| mode(bits, "mode"))?;
    if copy.mode.is_some() && !copy.mode_str.is_empty() {
        return fail(format!("a numeric mode and a symbolic one ({:?}) exclude each other", copy.mode_str));
    }
    chown(copy.owner.as_ref(), inputs)
}

fn rm(path: &str) -> Check {
    nonempty_path(path, "path")?;
    match clean(path) {
        None => fail(format!("path {path:?} climbs above /")),
        Some(clean) if clean == "/" => fail(format!("path {path:?} is the whole tree")),
        Some(_) => Ok(()),
    }
}

fn chown(owner: Option<&Chown>, inputs: usize) -> Check {
    let Some(owner) = owner else { return Ok(()) };
    for half in [&owner.user, &owner.group].into_iter().flatten() {
        match half {
            UserOpt::Id(number) => id(*number, "owner")?,
            UserOpt::Name { name, .. } if name.is_empty() => return fail("an owner's name is empty"),
            UserOpt::Name { name, input: None } => {
                return fail(format!("owner {name:?} has no input to be looked up in: use a number"));
            }
            UserOpt::Name { name, input: Some(number) } => {
                no_nul(name, "owner")?;
                input(*number, inputs, "owner's input")?;
            }
        }
    }
    Ok(())
}

fn build(op: &BuildOp, inputs: usize) -> Check {
    if op.builder != LLB_BUILDER {
        return fail(format!("unknown builder {}: want {LLB_BUILDER}", op.builder));
    }
    if op.inputs.is_empty() && op.definition.is_none() {
        return fail("neither an input nor a definition");
    }
    op.inputs.iter().try_for_each(|(name, number)| input(*number, inputs, &format!("input {name:?}:")))
}

fn passthrough(op: &PassthroughOp, inputs: usize) -> Check {
    if op.id.is_empty() {
        return fail("no id");
    }
    if op.outputs.is_empty() {
        return fail("no output");
    }
    op.outputs.iter().try_for_each(|number| input(*number, inputs, "output's input"))
}
