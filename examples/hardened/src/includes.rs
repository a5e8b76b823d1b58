//! A description of several files: those that a file includes say what it does not say itself.

use std::collections::BTreeMap;

use pintle_sdk::{Error, Host, Result, VertexBuilder};

use crate::{
    lower::at,
    placed::{Placed, Sources},
    spec::{Accounts, Contents, OsRelease, Spec},
};

/// The most files of a description.
const FILES_MAX: usize = 32;
/// Where the build file is, and where those are that it includes: from the root of the repository on.
const BUILD_FILE: &str = "dockerfile";
const REPOSITORY: &str = "context";

/// Reads a file, and what it includes.
pub(crate) fn read(cx: &Host, filename: &str) -> Result<(Spec, Sources)> {
    let mut sources = Sources::default();
    let own = file(cx, BUILD_FILE, filename, &mut sources)?;
    let spec = whole(cx, own, &mut sources, &mut Vec::new())?;
    Ok((spec, sources))
}

fn file(cx: &Host, local: &str, path: &str, sources: &mut Sources) -> Result<Spec> {
    let files = cx.local(local).follow([path]).shared_key(local).name(format!("load {path}")).add()?;
    let text = cx.solve(&files)?.read_text(path)?;
    sources.read(cx.source_file(path, "yaml", text.as_str(), Some(&files))?, text)
}

/// A description over those that it includes, which come one over the other as they are listed. `open` are the files that led here.
fn whole(cx: &Host, mut own: Spec, sources: &mut Sources, open: &mut Vec<String>) -> Result<Spec> {
    let mut below = Spec::default();
    for include in std::mem::take(&mut own.includes) {
        let read = included(cx, &include, sources, open);
        below = read.map_err(|error| at(error, sources.place(&include)))?.over(below);
    }
    Ok(own.over(below))
}

fn included(cx: &Host, include: &Placed<String>, sources: &mut Sources, open: &mut Vec<String>) -> Result<Spec> {
    let path = include.value.trim_start_matches("./");
    if path.is_empty() || path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(Error::invalid(format!("{path:?}: want the path of a file from the repository's root on")));
    }
    if open.iter().any(|file| file == path) {
        return Err(Error::invalid(format!("{path} includes itself")));
    }
    if sources.len() >= FILES_MAX {
        return Err(Error::invalid(format!("a description has at most {FILES_MAX} files")));
    }
    open.push(path.to_owned());
    let own = file(cx, REPOSITORY, path, sources)?;
    let spec = whole(cx, own, sources, open)?;
    open.pop();
    Ok(spec)
}

/// Lists go on, a text or a map's entry takes the place of the one below.
impl Spec {
    fn over(mut self, below: Spec) -> Spec {
        self.name = self.name.or(below.name);
        self.platforms = instead(self.platforms, below.platforms);
        self.vars = entries(self.vars, below.vars);
        self.contents = self.contents.over(below.contents);
        self.accounts = self.accounts.over(below.accounts);
        self.os_release = self.os_release.over(below.os_release);
        self.work_dir = self.work_dir.or(below.work_dir);
        self.stop_signal = self.stop_signal.or(below.stop_signal);
        self.environment = entries(self.environment, below.environment);
        self.paths = after(self.paths, below.paths);
        self.annotations = entries(self.annotations, below.annotations);
        self.labels = entries(self.labels, below.labels);
        self.entrypoint = instead(self.entrypoint, below.entrypoint);
        self.cmd = instead(self.cmd, below.cmd);
        self.ports = after(self.ports, below.ports);
        self.variant = self.variant.or(below.variant);
        self.flavor = self.flavor.or(below.flavor);
        self.fips_compliant = self.fips_compliant.or(below.fips_compliant);
        self
    }
}

impl Contents {
    fn over(mut self, below: Contents) -> Contents {
        self.repositories = after(self.repositories, below.repositories);
        self.keyring = after(self.keyring, below.keyring);
        self.packages = after(self.packages, below.packages);
        self.files = after(self.files, below.files);
        self.artifacts = after(self.artifacts, below.artifacts);
        self.builds = after(self.builds, below.builds);
        self
    }
}

impl Accounts {
    fn over(self, below: Accounts) -> Accounts {
        Accounts {
            root: self.root || below.root,
            run_as: self.run_as.or(below.run_as),
            users: after(self.users, below.users),
            groups: after(self.groups, below.groups),
        }
    }
}

impl OsRelease {
    fn over(self, below: OsRelease) -> OsRelease {
        OsRelease {
            name: self.name.or(below.name),
            id: self.id.or(below.id),
            id_like: self.id_like.or(below.id_like),
            version_id: self.version_id.or(below.version_id),
            version_codename: self.version_codename.or(below.version_codename),
            pretty_name: self.pretty_name.or(below.pretty_name),
            home_url: self.home_url.or(below.home_url),
            bug_report_url: self.bug_report_url.or(below.bug_report_url),
        }
    }
}

fn after<T>(own: Vec<T>, mut below: Vec<T>) -> Vec<T> {
    below.extend(own);
    below
}

/// Lists that mean one thing as a whole.
fn instead<T>(own: Vec<T>, below: Vec<T>) -> Vec<T> {
    if own.is_empty() { below } else { own }
}

fn entries(own: BTreeMap<String, String>, mut below: BTreeMap<String, String>) -> BTreeMap<String, String> {
    below.extend(own);
    below
}
