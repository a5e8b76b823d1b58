//! A frontend for images that are described by packages, files and accounts, in YAML. The README beside it shows one.

mod accounts;
mod builds;
mod config;
mod lower;
mod packages;
mod spec;
mod vars;

use pintle_sdk::{Error, Frontend, Host, Location, Output, Request, Result, SourceFile, VertexBuilder};
use serde_saphyr::Spanned;

use spec::Spec;

/// The file that is read unless option `filename` names another.
const FILENAME: &str = "image.yaml";

/// The frontend.
pub struct Hardened;

impl Frontend for Hardened {
    fn build(&self, cx: &Host, request: Request) -> Result<Output> {
        let filename = request.opt("filename").unwrap_or(FILENAME);
        let local = cx.local("dockerfile").follow([filename]).shared_key("dockerfile").name("load build file").add()?;
        let text = cx.solve(&local)?.read_text(filename)?;
        let source = Source { file: cx.source_file(filename, "yaml", text.as_str(), Some(&local))?, text: &text };
        let spec: Spec = serde_saphyr::from_str(&text).map_err(|error| source.error(&error))?;
        lower::lower(cx, &spec, &source, &request)
    }
}

/// A build file, for places in it.
#[derive(Clone, Copy)]
struct Source<'a> {
    file: SourceFile,
    text: &'a str,
}

impl Source<'_> {
    /// The place of a value.
    fn place<T>(&self, value: &Spanned<T>) -> Location {
        self.location(value.referenced)
    }

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

    fn error(&self, error: &serde_saphyr::Error) -> Error {
        let text = error.without_snippet().to_string();
        // What it says of the place is shown with the place.
        let (message, _) = text.rsplit_once(" at line ").unwrap_or((&text, ""));
        let refused = Error::invalid(message);
        match error.location() {
            Some(location) => refused.at(self.location(location)),
            None => refused,
        }
    }
}

pintle_sdk::frontend!(Hardened);
