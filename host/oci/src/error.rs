//! What can go wrong between here and a registry. Every error names what was asked for, which registry, and what to do.

use std::{fmt, time::Duration};

/// A call to a registry failed.
#[derive(Debug)]
pub struct Error {
    /// What was asked for: `docker.io/library/alpine:latest`, `blob sha256:... of docker.io/library/alpine`.
    pub what: String,
    /// The host (and port) that was asked.
    pub registry: String,
    /// What happened.
    pub kind: Kind,
    /// What places that were asked before it said: mirrors, and the same registry in another way.
    pub before: Vec<Error>,
}

/// What happened.
#[derive(Debug)]
pub enum Kind {
    /// 401, and the credentials that there are did not help. `detail` is the registry's own word, maybe empty; so below.
    Unauthorized {
        /// The registry's own word.
        detail: String,
    },
    /// 403.
    Forbidden {
        /// The registry's own word.
        detail: String,
    },
    /// 404.
    NotFound {
        /// The registry's own word.
        detail: String,
    },
    /// 429, more often or for longer than we wait.
    TooManyRequests {
        /// How long the registry asks to wait.
        retry_after: Option<Duration>,
        /// The registry's own word.
        detail: String,
    },
    /// 5xx, repeatedly.
    Server {
        /// The status code.
        status: u16,
        /// The registry's own word.
        detail: String,
    },
    /// Another status that is no success.
    Refused {
        /// The status code.
        status: u16,
        /// The registry's own word.
        detail: String,
    },
    /// The connection ended early, repeatedly.
    Truncated {
        /// Bytes that arrived.
        got: u64,
        /// Bytes that should have; 0 when not known.
        want: u64,
    },
    /// The bytes are not those of the digest.
    WrongDigest {
        /// The digest asked for.
        want: String,
        /// The digest of what came.
        got: String,
    },
    /// The answer is larger than it may be.
    TooLarge {
        /// Bytes.
        limit: u64,
    },
    /// Nothing may be asked.
    Offline,
    /// No connection, repeatedly: name resolution, refusal, TLS.
    Unreachable {
        /// The chain of causes.
        cause: String,
    },
    /// The answer breaks the protocol or the format.
    Invalid {
        /// How.
        why: String,
    },
    /// Something on this side failed: credentials could not be had, the file that is pushed could not be read.
    Local {
        /// What.
        source: anyhow::Error,
    },
}

/// The result of a call to a registry.
pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(what: impl Into<String>, registry: impl Into<String>, kind: Kind) -> Error {
        Error { what: what.into(), registry: registry.into(), kind, before: Vec::new() }
    }

    /// Whether the registry says that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self.kind, Kind::NotFound { .. })
    }

    /// Whether a login would help, here or at a place that was asked before.
    pub fn is_auth(&self) -> bool {
        let here = matches!(self.kind, Kind::Unauthorized { .. } | Kind::Forbidden { .. });
        here || self.before.iter().any(Error::is_auth)
    }

    /// This registry and what it said.
    fn said(&self) -> String {
        format!("registry {} {}", self.registry, Said(self))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = self.said();
        write!(f, "{}: {said}", self.what)?;
        let mut before: Vec<String> = self.before.iter().map(Error::said).filter(|other| *other != said).collect();
        before.dedup();
        before.iter().try_for_each(|other| write!(f, "; before that, {other}"))
    }
}

/// What the registry of an error did.
struct Said<'a>(&'a Error);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Error { registry, kind, .. } = self.0;
        match kind {
            Kind::Unauthorized { detail } => write!(
                f,
                "wants a login (401{}): check the name, then `docker login {registry}`; a private image and a missing one look the same",
                Detail(detail)
            ),
            Kind::Forbidden { detail } => {
                write!(f, "denies access (403{}): log in as an account that may do this", Detail(detail))
            }
            Kind::NotFound { detail } => write!(f, "has none (404{}): check name, tag and digest", Detail(detail)),
            Kind::TooManyRequests { retry_after, detail } => {
                write!(f, "limits how often it may be asked (429{})", Detail(detail))?;
                if let Some(wait) = retry_after {
                    write!(f, ", and says to wait {} s", wait.as_secs())?;
                }
                write!(f, ": try again later, log in, or configure a mirror")
            }
            Kind::Server { status, detail } => {
                write!(f, "failed repeatedly ({status}{}): try again later", Detail(detail))
            }
            Kind::Refused { status, detail } => write!(f, "refused ({status}{})", Detail(detail)),
            Kind::Truncated { got, want: 0 } => {
                write!(f, "cut the answer off after {got} bytes, repeatedly: try again later")
            }
            Kind::Truncated { got, want } => {
                write!(f, "cut the answer off after {got} of {want} bytes, repeatedly: try again later")
            }
            Kind::WrongDigest { want, got } => {
                write!(
                    f,
                    "sent other bytes than asked for: want {want}, got {got}; the registry or something between is broken"
                )
            }
            Kind::TooLarge { limit } => write!(f, "sent more than the {limit} bytes that are allowed here"),
            Kind::Offline => write!(f, "is not asked: nothing may be fetched (offline)"),
            Kind::Unreachable { cause } => {
                write!(
                    f,
                    "cannot be reached ({cause}): check that it is up, its name, and the network and proxy settings"
                )
            }
            Kind::Invalid { why } => write!(f, "sent an answer that makes no sense: {why}"),
            Kind::Local { source } => write!(f, "could not be used: {source:#}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            // Its chain is in the text already; only what is below can be looked for.
            Kind::Local { source } => source.source(),
            _ => None,
        }
    }
}

/// The registry's own word, after the status.
struct Detail<'a>(&'a str);

impl fmt::Display for Detail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}

/// An error and its causes on one line, without URLs: these can hold signatures.
pub(crate) fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = String::new();
    let mut next: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = next {
        let line = error.to_string();
        if !text.ends_with(&line) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&line);
        }
        next = error.source();
    }
    text
}

/// The message of a registry's error answer: `{"errors":[{"code":..,"message":..}]}`, on one line and not too long.
pub(crate) fn detail(body: &[u8]) -> String {
    /// Characters that are shown.
    const SHOWN_MAX: usize = 300;
    #[derive(serde::Deserialize)]
    struct Answer {
        #[serde(default)]
        errors: Vec<Entry>,
        details: Option<String>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let text = match serde_json::from_slice::<Answer>(body) {
        Ok(answer) if !answer.errors.is_empty() => {
            let entry = |entry: &Entry| format!("{} {}", entry.code.to_lowercase(), entry.message).trim().to_string();
            answer.errors.iter().map(entry).collect::<Vec<_>>().join("; ")
        }
        Ok(Answer { details: Some(details), .. }) => details,
        _ => String::new(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN_MAX).collect()
}
