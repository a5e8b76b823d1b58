//! What can go wrong between engine and client.

/// An error of a session.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error("the client of session {id} is gone: {reason}")]
    Gone { id: String, reason: String },
    #[error("no session {id} was opened within {seconds} s: the client must stay connected while it builds")]
    Missing { id: String, seconds: u64 },
    #[error("session {0} exists already")]
    Duplicate(String),
    #[error("the call opens no session: {0}")]
    BadHeader(&'static str),
    #[error("the client does not {what}: {hint}")]
    Unsupported { what: &'static str, hint: &'static str },
    #[error("the client refused to {what}: {message}")]
    Refused { what: String, message: String },
}
