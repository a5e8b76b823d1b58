//! Trees of Debian packages.
//!
//! Packages are resolved by apt in an image that has it, for a system that is empty but for those that are left out, and unpacked:
//! their scripts do not run, and neither apt nor a shell is in the tree unless it is asked for.

use pintle_sdk::{Error, Result, State, VertexBuilder, VertexOptions, file, mount};

use crate::{
    lower::{Lowering, at},
    placed::Placed,
    spec::Contents,
};

/// Where the tree is while it is made.
const TREE: &str = "/tree";
/// Where the lists of repositories and of packages, and the keys, are given.
const GIVEN: &str = "/run/given";

/// Downloads what `/run/given/wanted` names, with all that it needs, and unpacks it. What is in `/run/given/left-out` counts as installed.
const SCRIPT: &str = r#"set -eu
if [ -e /run/given/sources.list ]; then cp /run/given/sources.list /etc/apt/sources.list.d/given.list; fi
for key in /run/given/keys/*; do if [ -e "$key" ]; then cp "$key" /usr/share/keyrings/; fi; done
apt-get update
eval "$(apt-config shell architecture APT::Architecture)"
while read -r name; do
  printf 'Package: %s\nStatus: install ok installed\nArchitecture: %s\nVersion: 9999\n' "$name" "$architecture"
  apt-cache show --no-all-versions "$name" 2>/dev/null | sed -n 's/^Provides: /Provides: /p'
  echo
done </run/given/left-out >/run/status
mkdir -p /run/archives/partial
xargs apt-get -o Dir::State::status=/run/status -o Dir::Cache::archives=/run/archives \
  install --yes --download-only --no-install-recommends </run/given/wanted
mkdir -p /tree/var/lib/dpkg/status.d
for archive in /run/archives/*.deb; do
  dpkg-deb -x "$archive" /tree
  name=$(dpkg-deb -f "$archive" | sed -n 's/^Package: //p')
  { dpkg-deb -f "$archive"; echo 'Status: install ok installed'; } >"/tree/var/lib/dpkg/status.d/$name"
done
"#;

/// The tree of the packages, if there are any.
pub(crate) fn tree(to: &Lowering<'_>, contents: &Contents, what: &str) -> Result<Option<State>> {
    let Some(first) = contents.packages.first() else { return Ok(None) };
    let place = to.source.place(first);
    let (mut wanted, mut left_out) = (String::new(), String::new());
    for package in &contents.packages {
        let (list, name) = match package.value.strip_prefix('!') {
            Some(name) => (&mut left_out, name.to_owned()),
            None => (&mut wanted, to.vars.expand(&package.value)),
        };
        check(to, package, &name)?;
        list.push_str(&name);
        list.push('\n');
    }
    let mut given = to
        .cx
        .scratch()
        .file()
        .mkfile(file::Mkfile::new("/wanted", wanted))
        .mkfile(file::Mkfile::new("/left-out", left_out));
    if !contents.repositories.is_empty() {
        let lines = to.vars.all(&contents.repositories).join("\n") + "\n";
        given = given.mkfile(file::Mkfile::new("/sources.list", lines));
    }
    let given = keys(to, given.name(format!("{what}: packages")).add()?, contents)?;
    let options = VertexOptions::new().name(format!("{what}: install packages")).at(place);
    let made = to
        .builder()
        .map_err(|error| at(error, place))?
        .run(["/bin/sh", "-c", SCRIPT])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .mount(mount::Bind::new(GIVEN, &given).readonly(true))
        .mount(mount::Bind::new(TREE, &to.cx.scratch()))
        .with(&options)
        .platform(to.platform)
        .add()?;
    let tree = made.mount(TREE).ok_or_else(|| Error::new("internal", "the tree is mounted to be written"))?;
    Ok(Some(tree))
}

/// Names go to apt, which takes more than names.
fn check(to: &Lowering<'_>, package: &Placed<String>, name: &str) -> Result<()> {
    let is_name = |text: &str| {
        let begins = text.starts_with(|letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit());
        begins
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
            && !text.ends_with(['+', '-'])
    };
    let is_version =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.:~".contains(&b));
    let (name, version) = name.split_once('=').map_or((name, None), |(name, version)| (name, Some(version)));
    // Such as g++, whose name ends in what means something else to apt.
    let is_plain = is_name(name) || is_name(name.trim_end_matches('+')) && name.ends_with("++");
    if is_plain && version.is_none_or(is_version) {
        return Ok(());
    }
    let message = format!("{:?} is no package: want NAME, NAME=VERSION or !NAME", package.value);
    Err(Error::invalid(message).at(to.source.place(package)))
}

/// The tree `given` with the keys of repositories.
fn keys(to: &Lowering<'_>, given: State, contents: &Contents) -> Result<State> {
    let mut files = given.file();
    for key in &contents.keyring {
        let url = to.vars.expand(&key.value);
        let place = to.source.place(key);
        if !(url.starts_with("https://") || url.starts_with("http://")) {
            return Err(Error::invalid(format!("key {url:?}: want a URL")).at(place));
        }
        let name = url.rsplit('/').next().unwrap_or_default().to_owned();
        let fetched = to.cx.http(&url).filename(&name).name(format!("key {name}")).at(place).add()?;
        files = files.copy(file::Copy::new(&fetched, format!("/{name}"), "/keys/").create_parents(true));
    }
    if files.is_empty() { Ok(given) } else { files.name("keys of repositories").add() }
}
