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
    #[error("the client sent what cannot be read: {0}")]
    Unreadable(String),
    #[error("the connection broke: {0}")]
    Disconnected(String),
}

impl Error {
    /// What the status of a call that was to `what` means.
    pub(crate) fn of_call(what: impl Into<String>, status: &tonic::Status) -> Error {
        let message = status.message().to_owned();
        if is_disconnect(status) { Error::Disconnected(message) } else { Error::Refused { what: what.into(), message } }
    }
}

/// Whether a status says that the connection broke: the client's own answers have no source.
fn is_disconnect(status: &tonic::Status) -> bool {
    std::error::Error::source(status).is_some()
}
