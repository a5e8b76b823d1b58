//! A frontend for declarative image files in TOML. The README beside it shows one.

mod config;
mod imagefile;
mod lower;

use pintle_sdk::{Error, Frontend, Host, Output, Request, Result, SourceFile, VertexBuilder};

use imagefile::Imagefile;

/// The file that is read unless option `filename` names another.
const FILENAME: &str = "Imagefile.toml";

/// The frontend.
pub struct Imagefiles;

impl Frontend for Imagefiles {
    fn build(&self, cx: &Host, request: Request) -> Result<Output> {
        let filename = request.opt("filename").unwrap_or(FILENAME);
        let local = cx.local("dockerfile").follow([filename]).shared_key("dockerfile").name("load build file").add()?;
        let text = cx.solve(&local)?.read_text(filename)?;
        let source = Source { file: cx.source_file(filename, "toml", text.as_str(), Some(&local))?, text: &text };
        let parsed: Imagefile = toml::from_str(&text).map_err(|error| source.error(&error))?;
        let platform = request.opt("platform").unwrap_or("linux/amd64");
        lower::lower(cx, &parsed, &source, platform)
    }
}

/// A build file, for places in it.
struct Source<'a> {
    file: SourceFile,
    text: &'a str,
}

impl Source<'_> {
    /// The place of a range of bytes.
    fn place(&self, span: std::ops::Range<usize>) -> pintle_sdk::Location {
        let last = span.end.saturating_sub(1).max(span.start);
        self.file.location(self.position(span.start), self.position(last))
    }

    fn position(&self, offset: usize) -> (u32, u32) {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count();
        (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
    }

    fn error(&self, error: &toml::de::Error) -> Error {
        let refused = Error::invalid(error.message().trim_end());
        match error.span() {
            Some(span) => refused.at(self.place(span)),
            None => refused,
        }
    }
}

pintle_sdk::frontend!(Imagefiles);
