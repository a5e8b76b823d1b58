//! Values and errors, between the interface and the bridge.

use std::{collections::BTreeMap, sync::Arc};

use llb::op;

use super::{
    Guest,
    bindings::{self, pintle::frontend::host::FileInfo},
    wit,
};
use crate::{
    Definition, Error, Output, Stat,
    limits::{Breach, shown_bytes},
    words::WordError,
};

/// What a host function answers: an error for the guest, or one that ends it.
pub(super) type Answer<T> = wasmtime::Result<Result<T, wit::Error>>;

/// Why a call is not answered.
#[derive(Debug)]
pub(super) enum Fault {
    /// The guest is told.
    Refusal(wit::Error),
    /// The guest is ended.
    Breach(Breach),
}

impl Fault {
    pub(super) fn new(code: &str, message: impl Into<String>) -> Self {
        Fault::Refusal(wit::Error {
            code: code.to_owned(),
            message: message.into(),
            detail: Vec::new(),
            places: Vec::new(),
        })
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new("invalid-argument", message)
    }

    pub(super) fn unknown_kind(what: &str, kind: &str) -> Self {
        Self::new("unknown-kind", format!("unknown {what} {kind:?}"))
    }

    /// With a place in front.
    pub(super) fn at(mut self, place: &str) -> Self {
        if let Fault::Refusal(error) = &mut self {
            error.message = format!("{place}: {}", error.message);
        }
        self
    }
}

impl From<Breach> for Fault {
    fn from(breach: Breach) -> Self {
        Fault::Breach(breach)
    }
}

impl From<WordError> for Fault {
    fn from(error: WordError) -> Self {
        let code = if matches!(error, WordError::Unknown(..)) { "unknown-attr" } else { "invalid-argument" };
        Self::new(code, error.to_string())
    }
}

/// Hands a refusal to the guest and ends it for a breach.
pub(super) fn answer<T>(result: Result<T, Fault>) -> Answer<T> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Fault::Refusal(error)) => Ok(Err(error)),
        Err(Fault::Breach(breach)) => Err(breach.into()),
    }
}

/// The bytes of text or bytes.
pub(super) fn content_bytes(content: wit::Content) -> Vec<u8> {
    match content {
        wit::Content::Text(text) => text.into_bytes(),
        wit::Content::Bytes(bytes) => bytes,
    }
}

/// Places in source texts, those of one text that follow each other as one location.
pub(super) fn locations(places: &[wit::Location], sources: &[Arc<op::SourceFile>]) -> Result<Vec<op::Location>, Fault> {
    let mut locations: Vec<op::Location> = Vec::new();
    for place in places {
        if place.file as usize >= sources.len() {
            return Err(Fault::invalid(format!("there is no source text {}", place.file)));
        }
        let range = range(place)?;
        match locations.last_mut().filter(|last| last.file == place.file) {
            Some(last) => last.ranges.push(range),
            None => locations.push(op::Location { file: place.file, ranges: vec![range] }),
        }
    }
    Ok(locations)
}

fn range(place: &wit::Location) -> Result<op::Range, Fault> {
    let number =
        |number: u32| i32::try_from(number).map_err(|_| Fault::invalid(format!("no such line or column: {number}")));
    let ordered = (place.start_line, place.start_column) <= (place.end_line, place.end_column);
    if place.start_line == 0 || !ordered {
        return Err(Fault::invalid(format!("no such place: line {} to line {}", place.start_line, place.end_line)));
    }
    Ok(op::Range {
        start_line: number(place.start_line)?,
        start_character: number(place.start_column)?,
        end_line: number(place.end_line)?,
        end_character: number(place.end_column)?,
    })
}

/// Key of the detail that leads from an error which the guest hands on to the one that it was told.
const CAUSE: &str = "cause";
/// How many errors are kept for that.
const TOLD_MAX: usize = 1000;

impl Guest {
    /// An error of the bridge, for the guest.
    pub(super) fn error_in(&mut self, error: Error) -> wit::Error {
        let places = error.source_location.iter().flat_map(|(file, ranges)| {
            let number = self.graph.sources().iter().position(|known| Arc::ptr_eq(known, file) || known == file);
            ranges.iter().filter_map(move |range| place(number?, range)).collect::<Vec<_>>()
        });
        let places = places.collect();
        let mut detail = error.detail.clone();
        let (code, message) = (error.code.clone(), error.message.clone());
        if self.told.len() < TOLD_MAX && (error.cause.is_some() || error.source_location.is_some()) {
            detail.push((CAUSE.to_owned(), self.told.len().to_string()));
            self.told.push(error);
        }
        wit::Error { code, message, detail, places }
    }

    /// An error of the guest, for who asked it. One that it was told and hands on has its cause back.
    pub(super) fn error_out(&self, error: impl Into<Fault>) -> Error {
        let error = match error.into() {
            Fault::Refusal(error) => error,
            Fault::Breach(breach) => return breach.into(),
        };
        let cause =
            error.detail.iter().find(|(key, _)| key == CAUSE).and_then(|(_, number)| number.parse::<usize>().ok());
        let told = cause.and_then(|number| self.told.get(number));
        let own = locations(&error.places, self.graph.sources()).ok().and_then(|locations| {
            let first = locations.into_iter().next()?;
            Some((self.graph.sources()[first.file as usize].clone(), first.ranges))
        });
        let limit = self.limits.error_bytes;
        let detail = error.detail.into_iter().filter(|(key, _)| key != CAUSE);
        Error {
            code: cut(error.code, limit),
            message: cut(error.message, limit),
            detail: detail.map(|(key, value)| (cut(key, limit), cut(value, limit))).collect(),
            // The place where it went wrong, rather than the line that led there: the one that named another frontend.
            source_location: told.and_then(|told| told.source_location.clone()).or(own),
            cause: told.and_then(|told| told.cause.clone()),
        }
    }

    /// What `build` answered.
    pub(super) fn output(&self, output: bindings::Output) -> Result<Output, Error> {
        if output.results.len() > self.limits.results {
            return Err(Breach::of("results", format!("answers more than {} results", self.limits.results)).into());
        }
        let mut refs = Vec::with_capacity(output.results.len());
        for (platform, edge) in output.results {
            if refs.iter().any(|(known, _)| *known == platform) {
                return Err(Error::invalid(format!("answers two results for platform {platform:?}")));
            }
            refs.push((platform, self.answered(edge)?));
        }
        let mut metadata = self.metadata(output.metadata)?;
        let extras = self.extras(&mut metadata)?;
        Ok(Output { refs, metadata, extras })
    }

    pub(super) fn answered(&self, edge: Option<wit::Edge>) -> Result<Definition, Error> {
        self.graph.definition(edge).map_err(|fault| {
            let mut error = self.error_out(fault);
            error.message = format!("answers an edge that is not there: {}", error.message);
            error
        })
    }

    /// Metadata entries.
    pub(super) fn metadata(&self, entries: Vec<(String, wit::Content)>) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        let mut metadata = BTreeMap::new();
        let mut bytes = 0;
        for (key, value) in entries {
            let value = content_bytes(value);
            bytes += key.len() + value.len();
            if bytes > self.limits.metadata_bytes {
                let limit = shown_bytes(self.limits.metadata_bytes);
                return Err(Breach::of("metadata", format!("answers more than {limit} of metadata")).into());
            }
            metadata.insert(key, value);
        }
        Ok(metadata)
    }
}

impl From<wit::Error> for Fault {
    fn from(error: wit::Error) -> Self {
        Fault::Refusal(error)
    }
}

fn place(file: usize, range: &op::Range) -> Option<wit::Location> {
    Some(wit::Location {
        file: file.try_into().ok()?,
        start_line: range.start_line.try_into().ok()?,
        start_column: range.start_character.try_into().ok()?,
        end_line: range.end_line.try_into().ok()?,
        end_column: range.end_character.try_into().ok()?,
    })
}

/// A text of at most `bytes` bytes.
pub(super) fn cut(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
        text.push_str(" ...");
    }
    text
}

/// The first lines of a text, up to so many bytes.
pub(super) fn cut_lines<'a>(lines: impl Iterator<Item = &'a str>, bytes: usize) -> Vec<String> {
    let mut left = bytes;
    let mut cut_off = Vec::new();
    for line in lines {
        cut_off.push(cut(line.to_owned(), left));
        // An empty line counts too.
        left = left.saturating_sub(line.len() + 1);
        if left == 0 {
            break;
        }
    }
    cut_off
}

// Go's `os.FileMode` bits, which a `Stat` has.
const GO_DIR: u32 = 1 << 31;
const GO_SYMLINK: u32 = 1 << 27;
const GO_DEVICE: u32 = 1 << 26;
const GO_NAMED_PIPE: u32 = 1 << 25;
const GO_SOCKET: u32 = 1 << 24;
const GO_SETUID: u32 = 1 << 23;
const GO_SETGID: u32 = 1 << 22;
const GO_CHAR_DEVICE: u32 = 1 << 21;
const GO_STICKY: u32 = 1 << 20;

/// What is known of a file, in the interface's terms.
pub(super) fn file_info(stat: Stat) -> FileInfo {
    let has = |bit: u32| stat.mode & bit != 0;
    let kind = match () {
        () if has(GO_DIR) => "directory",
        () if has(GO_SYMLINK) => "symlink",
        () if has(GO_CHAR_DEVICE) => "char-device",
        () if has(GO_DEVICE) => "block-device",
        () if has(GO_NAMED_PIPE) => "fifo",
        () if has(GO_SOCKET) => "socket",
        () => "file",
    };
    let special = [(GO_SETUID, 0o4000), (GO_SETGID, 0o2000), (GO_STICKY, 0o1000)];
    let special: u32 = special.iter().filter(|(bit, _)| has(*bit)).map(|(_, posix)| posix).sum();
    FileInfo {
        kind: kind.to_owned(),
        mode: stat.mode & 0o777 | special,
        size: stat.size.try_into().unwrap_or(0),
        mtime: stat.mod_time,
        uid: stat.uid,
        gid: stat.gid,
        link: stat.linkname,
        path: stat.path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_posix() {
        for (mode, kind, posix) in [
            (0o644, "file", 0o644),
            (GO_DIR | GO_STICKY | 0o777, "directory", 0o1777),
            (GO_SYMLINK | 0o777, "symlink", 0o777),
            (GO_DEVICE | GO_CHAR_DEVICE | 0o600, "char-device", 0o600),
            (GO_DEVICE | 0o600, "block-device", 0o600),
            (GO_NAMED_PIPE | 0o600, "fifo", 0o600),
            (GO_SOCKET | 0o600, "socket", 0o600),
            (GO_SETUID | GO_SETGID | 0o755, "file", 0o6755),
        ] {
            let info = file_info(Stat { mode, ..Stat::default() });
            assert_eq!((info.kind.as_str(), info.mode), (kind, posix));
        }
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("abc".to_owned(), 3), "abc");
        assert_eq!(cut("aé".to_owned(), 2), "a ...");
    }
}
