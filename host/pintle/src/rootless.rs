//! The engine of a user who is not root: in a user namespace of its own, where that user is.
//!
//! Files that the engine makes as root belong to the user outside. Other owners are the user's subordinate ids (/etc/subuid and
//! /etc/subgid), which newuidmap and newgidmap map; without those there is root alone, and an image with files of others is refused.

use std::{
    io::{BufRead, Write},
    process::{Child, Command, ExitCode, Stdio},
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, ensure};

/// The hidden first argument that makes this program map the ids of the process that started it.
const MAP_WORD: &str = "userns-map";
/// What maps users and groups, and where the subordinate ids are.
const MAPS: [(&str, &str, &str); 2] =
    [("uid_map", "newuidmap", "/etc/subuid"), ("gid_map", "newgidmap", "/etc/subgid")];

static ENTERED: AtomicBool = AtomicBool::new(false);

/// Whether this process is root of the machine, or of a container, and not just of the namespace that it made.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root() && !ENTERED.load(Ordering::Relaxed)
}

/// Makes this process, which must have one thread, root of a user namespace of its own, if it is not root already.
pub fn enter() -> anyhow::Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let ids = [rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()];
    // Outside of the namespace, where newuidmap may do what it does.
    let mapper = Mapper::start()?;
    sys::namespaces::unshare_user().context(
        "make a user namespace, which an engine needs that is not root: allow users to have them (sysctl \
         user.max_user_namespaces, kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns), run as root, \
         or build against a daemon with --addr",
    )?;
    mapper.run()?;
    for ((map, _, _), id) in MAPS.iter().zip(ids) {
        if std::fs::read_to_string(format!("/proc/self/{map}"))?.trim().is_empty() {
            map_alone(map, id).with_context(|| format!("map {id} to root in the user namespace ({map})"))?;
        }
    }
    ENTERED.store(true, Ordering::Relaxed);
    Ok(())
}

/// Maps nothing but the user itself, which needs nobody's help.
fn map_alone(map: &str, id: u32) -> std::io::Result<()> {
    if map == "gid_map" {
        std::fs::write("/proc/self/setgroups", "deny")?;
    }
    std::fs::write(format!("/proc/self/{map}"), format!("0 {id} 1\n"))
}

/// This program once more, waiting to map the ids of the process that started it.
struct Mapper(Child);

impl Mapper {
    fn start() -> anyhow::Result<Mapper> {
        let child = Command::new("/proc/self/exe").arg(MAP_WORD).stdin(Stdio::piped()).spawn();
        Ok(Mapper(child.context("start the process that maps ids")?))
    }

    fn run(mut self) -> anyhow::Result<()> {
        let mut stdin = self.0.stdin.take().context("the process that maps ids has no standard input")?;
        writeln!(stdin, "{}", std::process::id())?;
        drop(stdin);
        // What it could not do it has said; then the user is mapped alone.
        self.0.wait().context("wait for the process that maps ids")?;
        Ok(())
    }
}

/// Called first thing in `main`: does the work of a [`Mapper`], if this process is one.
pub fn helper_main() -> Option<ExitCode> {
    if std::env::args_os().nth(1)? != MAP_WORD {
        return None;
    }
    Some(match map_parent() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("WARNING: no ids are mapped but the user's own: {error:#}");
            ExitCode::FAILURE
        }
    })
}

fn map_parent() -> anyhow::Result<()> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let Ok(pid) = line.trim().parse::<u32>() else { return Ok(()) };
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let names = [uid.to_string(), user_name(uid).unwrap_or_default()];
    for ((_, program, file), own) in MAPS.iter().zip([uid, gid]) {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let ranges = subordinate(&text, &names);
        if ranges.is_empty() {
            // Nothing was promised to the user, so nothing is missing.
            return Ok(());
        }
        let output = Command::new(program).arg(pid.to_string()).args(arguments(own, &ranges)).output();
        let output = output.with_context(|| format!("{file} has ids for this user, but {program} cannot be run"))?;
        ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// The user's name, which the files of subordinate ids go by.
fn user_name(uid: u32) -> Option<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let listed = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2)?.parse::<u32>().ok()? == uid).then(|| fields[0].to_owned())
    });
    listed.or_else(|| std::env::var("USER").ok())
}

/// First and count of each range that `text` (lines of `name:first:count`) gives to one of `names`.
fn subordinate(text: &str, names: &[String]) -> Vec<(u32, u32)> {
    let range = |line: &str| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let [name, first, count] = fields[..] else { return None };
        let wanted = !name.is_empty() && names.iter().any(|own| own == name);
        wanted.then(|| Some((first.parse().ok()?, count.parse().ok()?)))?
    };
    text.lines().filter_map(range).filter(|(_, count)| *count > 0).collect()
}

/// Triples of first inside, first outside and count: root is the user, and the ranges follow one after the other.
fn arguments(own: u32, ranges: &[(u32, u32)]) -> Vec<String> {
    let mut triples = vec![0, own, 1];
    let mut next = 1u32;
    for (first, count) in ranges {
        triples.extend([next, *first, *count]);
        next = next.saturating_add(*count);
    }
    triples.iter().map(u32::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_mapped_one_range_after_the_other() {
        let text = "ann:100000:65536\nbob:165536:65536\n# x\n1000:300000:10\nann:1:0\nann:x:5\n:5:5\n";
        let names = ["1000".to_string(), "ann".to_string()];
        let ranges = subordinate(text, &names);
        assert_eq!(ranges, [(100_000, 65_536), (300_000, 10)]);
        assert_eq!(arguments(1000, &ranges).join(" "), "0 1000 1 1 100000 65536 65537 300000 10");
        assert_eq!(subordinate(text, &["5".into(), String::new()]), []);
    }
}
