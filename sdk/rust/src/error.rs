use std::fmt;

use crate::{Attr, Location, bindings::pintle::frontend::types as wit};

/// Why a build cannot be described, or what the host refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// A kebab-case word: `not-found`, `invalid-argument`, `unsupported`, `build-failed` ... New words may come.
    pub code: String,
    /// For the user: a fragment that names what, where and what to do.
    pub message: String,
    /// More to program against, for instance `("exit-code", "2")`.
    pub detail: Vec<Attr>,
    /// Where in the source texts. The host shows the first with an excerpt.
    pub places: Vec<Location>,
}

/// What everything here answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with a code of the author's choice.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Error { code: code.to_owned(), message: message.into(), detail: Vec::new(), places: Vec::new() }
    }

    /// What the user wrote is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new("invalid-argument", message)
    }

    /// Something that was asked for is not there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new("not-found", message)
    }

    /// Not something that this frontend does.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new("unsupported", message)
    }

    /// Adds a place in a source text.
    #[must_use]
    pub fn at(mut self, place: Location) -> Self {
        self.places.push(place);
        self
    }

    /// Adds a detail.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.detail.push((key.to_owned(), value.into()));
        self
    }

    /// Puts a fragment in front of the message: what was being done.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        let wit::Error { code, message, detail, places } = error;
        Error { code, message, detail, places }
    }
}

impl From<Error> for wit::Error {
    fn from(error: Error) -> Self {
        let Error { code, message, detail, places } = error;
        wit::Error { code, message, detail, places }
    }
}
