//! Why a build failed, with what a client needs to show it well.

use std::{fmt, sync::Arc};

use llb::{
    Graph, VertexId,
    op::{Range, SourceFile},
};

/// A build failed. The text is for a person; the fields are for a client that shows more.
#[derive(Clone)]
pub struct Failure {
    /// What went wrong, innermost cause included.
    pub message: String,
    /// The digest of the vertex that failed.
    pub vertex: Option<Arc<str>>,
    /// Places in source texts that it comes from.
    pub locations: Vec<(Arc<SourceFile>, Vec<Range>)>,
    /// The exit code, when a process failed.
    pub exit_code: Option<i32>,
    /// A stable word: build-failed, invalid-argument, not-found, denied, unsupported, cancelled, internal ...
    pub code: String,
    /// More for who looks closer: texts for a person (`backtrace`), and what other programs said.
    pub detail: Vec<Detail>,
    /// What a process or a file action that failed left, for whoever wants to look.
    pub left: Option<Arc<Left>>,
}

/// The exec op or file op that failed, what it began with, and for each of its mounts or actions the files as they are now, where it
/// has any that last.
pub struct Left {
    /// A graph with the op.
    pub graph: Arc<Graph>,
    /// The op.
    pub vertex: VertexId,
    /// The action of a file op that failed.
    pub action: Option<usize>,
    /// The files of each input.
    pub input_files: Vec<Arc<dyn frontend::Ref>>,
    /// The files of each mount of an exec op, of each action of a file op.
    pub mount_files: Vec<Option<Arc<dyn frontend::Ref>>>,
}

/// More about a failure.
#[derive(Clone)]
pub enum Detail {
    /// A text by its name.
    Text(String, String),
    /// Another program's words, by their type: a client that ran the frontend gets back what it said.
    Foreign(String, Vec<u8>),
}

impl Detail {
    fn text(&self) -> Option<(String, String)> {
        match self {
            Detail::Text(name, text) => Some((name.clone(), text.clone())),
            Detail::Foreign(..) => None,
        }
    }
}

impl Failure {
    /// A failure of a word and a text.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Failure {
            message: message.into(),
            vertex: None,
            locations: Vec::new(),
            exit_code: None,
            code: code.into(),
            detail: Vec::new(),
            left: None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<Failure>() {
            Ok(failure) => failure,
            Err(error) => Failure::new("internal", format!("{error:#}")),
        }
    }
}

impl From<Failure> for frontend::Error {
    fn from(failure: Failure) -> Self {
        frontend::Error {
            code: failure.code.clone(),
            message: failure.message.clone(),
            detail: failure.detail.iter().filter_map(Detail::text).collect(),
            source_location: failure.locations.first().cloned(),
            cause: Some(Arc::new(anyhow::Error::new(failure))),
        }
    }
}

impl From<frontend::Error> for Failure {
    /// The cause itself when a step failed, else what the frontend says.
    fn from(error: frontend::Error) -> Self {
        if let Some(failure) = error.cause.as_ref().and_then(|cause| cause.downcast_ref::<Failure>()) {
            return failure.clone();
        }
        Failure {
            message: error.message,
            vertex: None,
            locations: error.source_location.into_iter().collect(),
            exit_code: None,
            code: error.code,
            detail: error.detail.into_iter().map(|(name, text)| Detail::Text(name, text)).collect(),
            left: None,
        }
    }
}
