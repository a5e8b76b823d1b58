//! `pintle.lock`: what the names of frontends and images in a directory's build files mean, by digest.
//!
//! A TOML file: `version = 1`, and tables `frontends` and `images` of names and digests. Names of registries are complete
//! (`docker.io/library/alpine:3`); a component that is a file has its path, and
//! one of an OCI layout `oci-layout://LAYOUT`. Without a table `images`, images are not locked.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use llb::op::SourceOp;
use oci::Reference;
use toml::de::{DeTable, DeValue};

use crate::{Failure, frontends::is_layout};

/// What the file is called.
pub const LOCK_FILE: &str = "pintle.lock";
/// The largest file, in bytes.
pub const LOCK_BYTES_MAX: usize = 1 << 20;
/// The most names in it.
pub const LOCK_NAMES_MAX: usize = 10_000;
/// The version of the format.
const VERSION: i64 = 1;

/// Names by kind, each with its digest (`sha256:...`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// Frontends.
    pub frontends: BTreeMap<String, String>,
    /// Base images, where those are locked.
    pub images: Option<BTreeMap<String, String>>,
}

/// What is wrong with a lock file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{LOCK_FILE}:{line}: {why}")]
pub struct LockError {
    /// From 1 on.
    pub line: usize,
    /// What, and what is wanted.
    pub why: String,
}

impl Lock {
    /// Reads the text of a file.
    pub fn parse(text: &str) -> Result<Lock, LockError> {
        if text.len() > LOCK_BYTES_MAX {
            let why = format!("the file has {} bytes; {LOCK_BYTES_MAX} are allowed", text.len());
            return Err(LockError { line: 1, why });
        }
        let at = |offset: usize| line(text, offset);
        let root = DeTable::parse(text).map_err(|error| LockError {
            line: error.span().map_or(1, |span| at(span.start)),
            why: error.message().to_owned(),
        })?;
        Reader { at: &at }.lock(root.get_ref())
    }

    /// The digest that a frontend is to have.
    fn frontend(&self, name: &str) -> Option<&str> {
        self.frontends.get(name).map(String::as_str)
    }
}

impl std::fmt::Display for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "# What the names in the build files of this directory mean. Written by `pintle lock`.")?;
        writeln!(f, "version = {VERSION}")?;
        let tables = [("frontends", Some(&self.frontends)), ("images", self.images.as_ref())];
        for (name, table) in tables.into_iter().filter_map(|(name, table)| Some((name, table?))) {
            writeln!(f, "\n[{name}]")?;
            for (name, digest) in table {
                writeln!(f, "{} = {}", quoted(name), quoted(digest))?;
            }
        }
        Ok(())
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            // Writing to a string cannot fail.
            control if control.is_control() => drop(write!(quoted, "\\u{:04X}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted + "\""
}

struct Reader<'a> {
    at: &'a dyn Fn(usize) -> usize,
}

type Value<'i> = toml::Spanned<DeValue<'i>>;

impl Reader<'_> {
    fn error<T>(&self, offset: usize, why: impl Into<String>) -> Result<T, LockError> {
        Err(LockError { line: (self.at)(offset), why: why.into() })
    }

    fn lock(&self, root: &DeTable<'_>) -> Result<Lock, LockError> {
        let mut lock = Lock::default();
        let Some(version) = root.get("version") else {
            return self.error(0, format!("want version = {VERSION}: write the file anew with `pintle lock`"));
        };
        let number = version.get_ref().as_integer().and_then(|number| number.as_str().parse::<i64>().ok());
        if number != Some(VERSION) {
            let why = format!("this program reads version {VERSION}: write the file anew with `pintle lock`");
            return self.error(version.span().start, why);
        }
        for (key, value) in root {
            match key.get_ref().as_ref() {
                "version" => {}
                "frontends" => lock.frontends = self.names(value, true)?,
                "images" => lock.images = Some(self.names(value, false)?),
                other => {
                    return self.error(key.span().start, format!("unknown key {other:?}: want frontends or images"));
                }
            }
        }
        Ok(lock)
    }

    fn names(&self, table: &Value<'_>, with_files: bool) -> Result<BTreeMap<String, String>, LockError> {
        let Some(table) = table.get_ref().as_table() else {
            return self.error(table.span().start, "want a table: NAME = DIGEST");
        };
        if table.len() > LOCK_NAMES_MAX {
            return self.error(0, format!("{} names; {LOCK_NAMES_MAX} are allowed", table.len()));
        }
        let mut names = BTreeMap::new();
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let is_file = with_files && is_file(name);
            let own = name.parse::<Reference>().ok().filter(|own| own.digest().is_none()).map(|own| own.to_string());
            if !is_file && own.as_deref() != Some(name) {
                let such = own.map(|own| format!(", as in {own:?}")).unwrap_or_default();
                return self.error(key.span().start, format!("name {name:?}: want REGISTRY/NAME:TAG, complete{such}"));
            }
            let digest = value.get_ref().as_str().filter(|digest| oci::is_digest(digest));
            let Some(digest) = digest else {
                return self.error(value.span().start, format!("{name}: want a digest: \"sha256:...\""));
            };
            names.insert(name.to_owned(), digest.to_owned());
        }
        Ok(names)
    }
}

/// The line of a place in a text, from 1 on.
pub(crate) fn line(text: &str, offset: usize) -> usize {
    text.get(..offset).map_or(1, |before| before.matches('\n').count() + 1)
}

/// Whether a name of a frontend is that of a file, or of an OCI layout.
pub(crate) fn is_file(name: &str) -> bool {
    name.ends_with(".wasm") || is_layout(name)
}

/// What a build does with a lock.
#[derive(Clone, Debug, Default)]
pub struct Pins {
    /// What names mean.
    pub lock: Arc<Lock>,
    /// Refuse names that are not in it.
    pub locked: bool,
    /// Ask registries what names of frontends mean now.
    pub fresh: bool,
}

impl Pins {
    /// Whether it has something to say of images.
    pub(crate) fn governs_images(&self) -> bool {
        self.lock.images.is_some()
    }

    /// The frontend as it is pinned. A name with a digest is pinned already.
    pub(crate) fn frontend(&self, reference: Reference) -> Result<Reference, Failure> {
        if reference.digest().is_some() {
            return Ok(reference);
        }
        match self.lock.frontend(&reference.to_string()) {
            Some(digest) => Ok(reference.with_digest(digest)),
            None if self.locked => Err(missing("frontend", &reference.to_string(), "pintle lock")),
            None => Ok(reference),
        }
    }

    /// Whether a component that is a file is the one that it is to be.
    pub(crate) fn file(&self, name: &str, digest: &str) -> Result<(), Failure> {
        match self.lock.frontend(name) {
            Some(pinned) if pinned != digest => {
                let why = format!(
                    "frontend {name}: is {digest}, and {LOCK_FILE} has {pinned}: run `pintle lock` if that is right"
                );
                Err(Failure::new("denied", why))
            }
            None if self.locked => Err(missing("frontend", name, "pintle lock")),
            _ => Ok(()),
        }
    }

    /// Puts the digest to an image that is locked.
    pub(crate) fn image(&self, source: &mut SourceOp) -> Result<(), Failure> {
        let Some(images) = &self.lock.images else { return Ok(()) };
        let Some(name) = source.identifier.strip_prefix("docker-image://") else { return Ok(()) };
        // What is no name is for others to complain about.
        let Ok(reference) = name.parse::<Reference>() else { return Ok(()) };
        if reference.digest().is_some() {
            return Ok(());
        }
        match images.get(&reference.to_string()) {
            Some(digest) => source.identifier = format!("docker-image://{}", reference.with_digest(digest)),
            None if self.locked => return Err(missing("image", &reference.to_string(), "pintle lock --images")),
            None => {}
        }
        Ok(())
    }
}

fn missing(kind: &str, name: &str, command: &str) -> Failure {
    Failure::new("denied", format!("{kind} {name}: is not in {LOCK_FILE}: run `{command}` to put it there"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn lock() -> Lock {
        let table = |names: &[(&str, &str)]| {
            names.iter().map(|(name, digest)| (name.to_string(), digest.to_string())).collect()
        };
        Lock {
            frontends: table(&[("localhost:5000/lang:1", A), ("./a \"b\"\u{7}.wasm", B)]),
            images: Some(table(&[("docker.io/library/alpine:3", B)])),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for lock in [lock(), Lock::default(), Lock { images: None, ..lock() }] {
            assert_eq!(Lock::parse(&lock.to_string()), Ok(lock.clone()), "{lock}");
        }
    }

    #[test]
    fn mistakes_have_their_line() {
        let table = [
            ("", 1, "want version = 1: write the file anew with `pintle lock`"),
            ("\nversion = 2", 2, "pintle lock"),
            ("version = 1\nfrontend = {}", 2, "unknown key \"frontend\""),
            ("version = 1\n\nimages = 5", 3, "want a table"),
            ("version = 1\n[images]\nalpine = \"x\"", 3, "complete, as in \"docker.io/library/alpine:latest\""),
            ("version = 1\n[images]\n\"./a.wasm\" = \"x\"", 3, "complete"),
            ("version = 1\n[frontends]\n\"./a.wasm\" = \"sha256:1\"", 3, "want a digest"),
            ("version = 1\n[frontends]\n\"a.wasm\" = 1", 3, "want a digest"),
            ("version = 1\n[frontends]\n[frontends]", 3, "duplicate"),
            ("version = 1\n<<<<<<< HEAD", 2, ""),
        ];
        for (text, line, why) in table {
            let error = Lock::parse(text).unwrap_err();
            assert!(error.line == line && error.why.contains(why), "{text:?}: {error}");
        }
        let pinned = format!("version = 1\n[images]\n\"docker.io/library/alpine:3@{A}\" = \"{A}\"");
        assert!(Lock::parse(&pinned).unwrap_err().why.contains("complete"));
    }

    #[test]
    fn a_file_is_bounded() {
        let long = format!("version = 1\n#{}", "x".repeat(LOCK_BYTES_MAX));
        assert!(Lock::parse(&long).unwrap_err().why.contains("bytes"));
        let many =
            (0..=LOCK_NAMES_MAX).fold("version = 1\n[frontends]\n".to_string(), |text, n| text + &format!("{n}=1\n"));
        assert!(Lock::parse(&many).unwrap_err().why.contains("names"));
    }

    /// Whatever becomes of a file, reading it ends with a lock that can be written and read again, or with a line.
    #[test]
    fn damaged_files() {
        let text = lock().to_string();
        let mut state = 7_u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for _ in 0..2_000 {
            let mut bytes = text.clone().into_bytes();
            for _ in 0..1 + random(4) {
                let (from, at) = (random(bytes.len()), random(bytes.len()));
                match random(4) {
                    0 => bytes.truncate(at.max(1)),
                    1 => bytes[at] = b"\n\"[]=.#\0\\x{}"[random(12)],
                    2 => drop(bytes.drain(from.min(at)..from.max(at))),
                    _ => bytes.extend_from_within(from.min(at)..from.max(at)),
                }
                bytes.push(b'\n');
            }
            let damaged = String::from_utf8_lossy(&bytes);
            match Lock::parse(&damaged) {
                Ok(lock) => assert_eq!(Lock::parse(&lock.to_string()), Ok(lock)),
                Err(error) => assert!(error.line >= 1 && error.line <= damaged.matches('\n').count() + 1, "{error}"),
            }
        }
    }

    #[test]
    fn names_are_pinned() {
        let pins = |locked| Pins { lock: Arc::new(lock()), locked, fresh: false };
        let reference = |name: &str| name.parse::<Reference>().unwrap();
        for locked in [false, true] {
            let pins = pins(locked);
            assert_eq!(pins.frontend(reference("localhost:5000/lang:1")).unwrap().digest(), Some(A));
            let own = reference(&format!("a/b@{B}"));
            assert_eq!(pins.frontend(own.clone()).unwrap(), own);
            assert_eq!(pins.frontend(reference("a/b")).is_err(), locked);
            assert_eq!(pins.file("./new.wasm", A).is_err(), locked);
            assert!(pins.file("./a \"b\"\u{7}.wasm", B).is_ok());
            assert!(pins.file("./a \"b\"\u{7}.wasm", A).is_err());
            let image = |name: &str| {
                let mut source = SourceOp { identifier: format!("docker-image://{name}"), ..SourceOp::default() };
                pins.image(&mut source).map(|()| source.identifier)
            };
            assert_eq!(image("alpine:3").unwrap(), format!("docker-image://docker.io/library/alpine:3@{B}"));
            assert_eq!(image("debian").is_err(), locked);
            assert!(image(&format!("debian@{A}")).is_ok());
        }
        assert!(
            Pins { locked: true, ..Pins::default() }.frontend(reference("a/b")).is_err(),
            "there is no lock at all"
        );
    }
}
