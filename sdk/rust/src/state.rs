use std::fmt;

use crate::{Edge, Exec, FileBuilder, Host};

/// A tree of files, not built yet: an output of a vertex, or nothing at all. Cheap to clone.
#[derive(Clone)]
pub struct State {
    host: Host,
    edge: Option<Edge>,
}

impl State {
    pub(crate) fn new(host: Host, edge: Option<Edge>) -> Self {
        State { host, edge }
    }

    /// The edge in the host's graph; `None` is an empty tree.
    pub fn edge(&self) -> Option<Edge> {
        self.edge
    }

    /// Whether it is an empty tree.
    pub fn is_scratch(&self) -> bool {
        self.edge.is_none()
    }

    /// The host that it belongs to.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Runs a command with this as its root filesystem.
    pub fn run(&self, args: impl IntoIterator<Item = impl Into<String>>) -> Exec {
        Exec::new(self, args.into_iter().map(Into::into).collect())
    }

    /// Changes files.
    pub fn file(&self) -> FileBuilder {
        FileBuilder::new(self)
    }
}

impl PartialEq for State {
    /// Whether both are the same output of the same vertex.
    fn eq(&self, other: &Self) -> bool {
        self.edge == other.edge
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.edge {
            Some(edge) => write!(f, "State({}:{})", edge.vertex, edge.output),
            None => f.write_str("State(scratch)"),
        }
    }
}
