//! Users, groups and the name of the system, as files.

use pintle_sdk::{Error, Result, State, VertexBuilder, file};

use crate::{
    lower::{Lowering, at, octal, owner},
    spec::{Accounts, OsRelease},
};

/// The shell of accounts that nobody logs into.
const NO_SHELL: &str = "/sbin/nologin";

/// `state` with the files of accounts and of the release.
pub(crate) fn written(to: &Lowering<'_>, state: State) -> Result<State> {
    let accounts = &to.spec.accounts;
    check(to, accounts)?;
    let mut files = state
        .file()
        .mkdir(file::Mkdir::new("/etc").parents(true))
        .mkfile(file::Mkfile::new("/etc/passwd", passwd(accounts)))
        .mkfile(file::Mkfile::new("/etc/group", group(accounts)));
    if !accounts.users.is_empty() {
        // It is root's, whoever lives in it.
        files = files.mkdir(file::Mkdir::new("/home").parents(true));
    }
    for user in &accounts.users {
        let mode =
            user.value.mode.as_deref().map_or(Ok(0o755), octal).map_err(|error| at(error, to.source.place(user)))?;
        let owner = owner(Some(user.value.uid), Some(user.value.gid));
        let home = file::Mkdir::new(home(&user.value.name)).parents(true).mode(mode).owner(owner);
        files = files.mkdir(home);
    }
    let release = release(to, &to.spec.os_release);
    if !release.is_empty() {
        files = files
            .mkdir(file::Mkdir::new("/usr/lib").parents(true))
            .mkfile(file::Mkfile::new("/usr/lib/os-release", release))
            .rm(file::Rm::new("/etc/os-release").allow_not_found(true))
            .symlink(file::Symlink::new("/etc/os-release", "../usr/lib/os-release"));
    }
    files.name("accounts and release").add()
}

fn check(to: &Lowering<'_>, accounts: &Accounts) -> Result<()> {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.".contains(&b))
    };
    let users = accounts.users.iter().map(|user| (&user.value.name, to.source.place(user)));
    let groups = accounts.groups.iter().map(|group| (&group.value.name, to.source.place(group)));
    for (name, place) in users.chain(groups) {
        if !is_name(name) {
            return Err(Error::invalid(format!("{name:?} is no name of an account")).at(place));
        }
    }
    let known = |name: &str| name == "root" || accounts.users.iter().any(|user| user.value.name == name);
    let member = accounts.groups.iter().find_map(|group| {
        let stranger = group.value.members.iter().find(|name| !known(name))?;
        Some((stranger, to.source.place(group)))
    });
    let run_as = accounts.run_as.as_ref().filter(|name| !known(&name.value));
    match member.or(run_as.map(|name| (&name.value, to.source.place(name)))) {
        Some((name, place)) => Err(Error::not_found(format!("there is no user {name:?} among the accounts")).at(place)),
        None => Ok(()),
    }
}

/// Where a user is at home.
fn home(name: &str) -> String {
    format!("/home/{name}")
}

fn passwd(accounts: &Accounts) -> String {
    let shell = if accounts.root { "/bin/sh" } else { NO_SHELL };
    let mut lines = format!("root:x:0:0:root:/root:{shell}\n");
    for user in accounts.users.iter().map(|user| &user.value) {
        lines += &format!("{0}:x:{1}:{2}:{0}:{3}:{NO_SHELL}\n", user.name, user.uid, user.gid, home(&user.name));
    }
    lines
}

fn group(accounts: &Accounts) -> String {
    let mut lines = String::from("root:x:0:\n");
    for group in accounts.groups.iter().map(|group| &group.value) {
        lines += &format!("{}:x:{}:{}\n", group.name, group.gid, group.members.join(","));
    }
    lines
}

/// The lines of os-release(5).
fn release(to: &Lowering<'_>, release: &OsRelease) -> String {
    let fields = [
        ("PRETTY_NAME", &release.pretty_name),
        ("NAME", &release.name),
        ("ID", &release.id),
        ("ID_LIKE", &release.id_like),
        ("VERSION_ID", &release.version_id),
        ("VERSION_CODENAME", &release.version_codename),
        ("HOME_URL", &release.home_url),
        ("BUG_REPORT_URL", &release.bug_report_url),
    ];
    let line = |(key, value): (&str, &String)| format!("{key}={}\n", quoted(&to.vars.expand(value)));
    fields.iter().filter_map(|(key, value)| Some((*key, value.as_ref()?))).map(line).collect()
}

/// A value as a shell reads it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars().filter(|letter| !letter.is_control()) {
        if matches!(letter, '"' | '\\' | '$' | '`') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted + "\""
}
