//! Values with their places, in the files that a description is made of.

use std::cell::Cell;

use pintle_sdk::{Error, Location, SourceFile};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

thread_local! {
    /// The file that is being read: nothing is handed down to a value that reads itself.
    static READING: Cell<usize> = const { Cell::new(0) };
}

/// A value, with its place.
#[derive(Debug)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    location: serde_saphyr::Location,
    /// Which of the [`Sources`].
    file: usize,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Placed<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Placed<T>, D::Error> {
        let spanned = Spanned::deserialize(from)?;
        Ok(Placed { value: spanned.value, location: spanned.referenced, file: READING.get() })
    }
}

/// The files of a description, for places in them.
#[derive(Default)]
pub(crate) struct Sources(Vec<Source>);

struct Source {
    file: SourceFile,
    text: String,
}

impl Sources {
    /// Reads one more file.
    pub(crate) fn read<T: for<'de> Deserialize<'de>>(&mut self, file: SourceFile, text: String) -> Result<T, Error> {
        READING.set(self.0.len());
        let read = serde_saphyr::from_str(&text);
        self.0.push(Source { file, text });
        read.map_err(|error| self.error(&error))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The place of a value.
    pub(crate) fn place<T>(&self, value: &Placed<T>) -> Location {
        self.0[value.file].location(value.location)
    }

    /// What is wrong with the file that was read last.
    fn error(&self, error: &serde_saphyr::Error) -> Error {
        let text = error.without_snippet().to_string();
        // What it says of the place is shown with the place.
        let (message, _) = text.rsplit_once(" at line ").unwrap_or((&text, ""));
        let refused = Error::invalid(format!("{}{}", in_our_words(message), instead_of(message)));
        match (error.location(), self.0.last()) {
            (Some(location), Some(source)) => refused.at(source.location(location)),
            _ => refused,
        }
    }
}

/// What YAML's reader says of a shape that is wrong is about its own events.
fn in_our_words(message: &str) -> &str {
    match message {
        "expected sequence start" => "want a list: [...], or a line for each entry, which begins with -",
        "expected mapping start" => "want keys with values",
        other => other,
    }
}

/// What is to be done in place of a key of the catalog that would change the image and is not known here.
fn instead_of(message: &str) -> &'static str {
    const INSTEAD: [(&str, &str); 3] = [
        (
            "matrix",
            "; a file describes one image: give each of the matrix a file that includes what they share, or build with --build-arg",
        ),
        (
            "privileged",
            "; scripts have no privileges here; a Dockerfile can ask for them, with RUN --security=insecure",
        ),
        ("attestations", "; those are made of the whole image: build with --sbom and --provenance"),
    ];
    let is_about =
        |key: &str| message.strip_prefix("unknown field `").is_some_and(|rest| rest.starts_with(&format!("{key}`")));
    INSTEAD.iter().find(|(key, _)| is_about(key)).map_or("", |(_, instead)| instead)
}

impl Source {
    /// A location counts characters, and lines and columns from 1; a place counts bytes. Only its first line is shown of what has many.
    fn location(&self, location: serde_saphyr::Location) -> Location {
        let line = u32::try_from(location.line()).unwrap_or(u32::MAX).max(1);
        let text = self.text.lines().nth(line as usize - 1).unwrap_or_default();
        let skipped = usize::try_from(location.column().saturating_sub(1)).unwrap_or(usize::MAX);
        let length = usize::try_from(location.span().len()).unwrap_or(usize::MAX).max(1);
        let bytes = |characters: usize| text.chars().take(characters).map(char::len_utf8).sum::<usize>() as u32;
        let start = bytes(skipped);
        let end =
            (text.trim_end().len() as u32).min(bytes(skipped.saturating_add(length))).saturating_sub(1).max(start);
        self.file.location((line, start), (line, end))
    }
}
