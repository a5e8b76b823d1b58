use std::time::Duration;

use crate::Error;

/// What one call of a frontend may use. A breach is an error of that build, with the limit's name and figure; the engine goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of a component.
    pub component_bytes: usize,
    /// Bytes of all linear memories together.
    pub memory_bytes: usize,
    /// Entries of each table.
    pub table_elements: usize,
    /// Core instances, tables and memories, each: a component is made of several.
    pub instances: usize,
    /// WebAssembly instructions. The same component with the same answers uses the same number each time.
    pub instructions: u64,
    /// Time that the guest runs, host functions that do not wait included. Waiting for an answer does not count.
    pub running: Duration,
    /// Processor time that compiling the component may take, where a helper compiles it; whole seconds.
    pub compiling: Duration,
    /// Bytes that a call hands over in one go, from the guest to the host.
    pub call_bytes: usize,
    /// Bytes of a file, a listing or another value that the host hands to the guest.
    pub value_bytes: usize,
    /// Vertices of the graph.
    pub vertices: usize,
    /// Bytes of the graph: ops, and source texts.
    pub graph_bytes: usize,
    /// Vertices copied because the graph grew while a ref held it as it was: the sum over all solves.
    pub copied_vertices: usize,
    /// Source texts.
    pub source_files: usize,
    /// Refs that are held at once.
    pub refs: usize,
    /// Sources resolved by one call.
    pub queries: usize,
    /// Bytes of log lines; what is over is cut off, and a line says so.
    pub log_bytes: usize,
    /// Warnings; what is over is dropped, and a warning says so.
    pub warnings: usize,
    /// Results that a build answers: platforms.
    pub results: usize,
    /// Bytes of all metadata that a build answers.
    pub metadata_bytes: usize,
    /// Bytes of an error's texts; what is over is cut off.
    pub error_bytes: usize,
}

impl Limits {
    /// See [`Limits::component_bytes`].
    pub const COMPONENT_BYTES: usize = 128 << 20;
    /// See [`Limits::memory_bytes`].
    pub const MEMORY_BYTES: usize = 512 << 20;
    /// See [`Limits::table_elements`].
    pub const TABLE_ELEMENTS: usize = 1 << 20;
    /// See [`Limits::instances`].
    pub const INSTANCES: usize = 200;
    /// See [`Limits::instructions`]. Some ten seconds.
    pub const INSTRUCTIONS: u64 = 20_000_000_000;
    /// See [`Limits::running`].
    pub const RUNNING: Duration = Duration::from_secs(60);
    /// See [`Limits::compiling`].
    pub const COMPILING: Duration = Duration::from_secs(120);
    /// See [`Limits::call_bytes`].
    pub const CALL_BYTES: usize = 64 << 20;
    /// See [`Limits::value_bytes`].
    pub const VALUE_BYTES: usize = 32 << 20;
    /// See [`Limits::vertices`].
    pub const VERTICES: usize = llb::wire::Limits::VERTICES;
    /// See [`Limits::graph_bytes`].
    pub const GRAPH_BYTES: usize = llb::wire::Limits::BYTES;
    /// See [`Limits::copied_vertices`].
    pub const COPIED_VERTICES: usize = 5_000_000;
    /// See [`Limits::source_files`].
    pub const SOURCE_FILES: usize = 1000;
    /// See [`Limits::refs`].
    pub const REFS: usize = 10_000;
    /// See [`Limits::queries`].
    pub const QUERIES: usize = 1000;
    /// See [`Limits::log_bytes`].
    pub const LOG_BYTES: usize = 2 << 20;
    /// See [`Limits::warnings`].
    pub const WARNINGS: usize = 1000;
    /// See [`Limits::results`].
    pub const RESULTS: usize = 256;
    /// See [`Limits::metadata_bytes`].
    pub const METADATA_BYTES: usize = 16 << 20;
    /// See [`Limits::error_bytes`].
    pub const ERROR_BYTES: usize = 64 << 10;
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            component_bytes: Self::COMPONENT_BYTES,
            memory_bytes: Self::MEMORY_BYTES,
            table_elements: Self::TABLE_ELEMENTS,
            instances: Self::INSTANCES,
            instructions: Self::INSTRUCTIONS,
            running: Self::RUNNING,
            compiling: Self::COMPILING,
            call_bytes: Self::CALL_BYTES,
            value_bytes: Self::VALUE_BYTES,
            vertices: Self::VERTICES,
            graph_bytes: Self::GRAPH_BYTES,
            copied_vertices: Self::COPIED_VERTICES,
            source_files: Self::SOURCE_FILES,
            refs: Self::REFS,
            queries: Self::QUERIES,
            log_bytes: Self::LOG_BYTES,
            warnings: Self::WARNINGS,
            results: Self::RESULTS,
            metadata_bytes: Self::METADATA_BYTES,
            error_bytes: Self::ERROR_BYTES,
        }
    }
}

/// Key of the detail of an error that names the limit that was broken, one of [`Limits::NAMES`].
pub const LIMIT: &str = "limit";

impl Limits {
    /// The limits that [`Limits::set`] knows.
    pub const NAMES: [&str; 19] = [
        "component",
        "memory",
        "table",
        "instances",
        "instructions",
        "running",
        "compiling",
        "call",
        "value",
        "vertices",
        "graph",
        "copied-vertices",
        "source-texts",
        "refs",
        "queries",
        "log",
        "warnings",
        "results",
        "metadata",
    ];

    /// Sets a limit by its name: a number of things or of bytes, or milliseconds of time. Answers whether there is one of this name.
    pub fn set(&mut self, name: &str, value: u64) -> bool {
        let size = usize::try_from(value).unwrap_or(usize::MAX);
        match name {
            "component" => self.component_bytes = size,
            "memory" => self.memory_bytes = size,
            "table" => self.table_elements = size,
            "instances" => self.instances = size,
            "instructions" => self.instructions = value,
            "running" => self.running = Duration::from_millis(value),
            "compiling" => self.compiling = Duration::from_millis(value),
            "call" => self.call_bytes = size,
            "value" => self.value_bytes = size,
            "vertices" => self.vertices = size,
            "graph" => self.graph_bytes = size,
            "copied-vertices" => self.copied_vertices = size,
            "source-texts" => self.source_files = size,
            "refs" => self.refs = size,
            "queries" => self.queries = size,
            "log" => self.log_bytes = size,
            "warnings" => self.warnings = size,
            "results" => self.results = size,
            "metadata" => self.metadata_bytes = size,
            _ => return false,
        }
        true
    }
}

/// A limit that was broken, as an error that ends the guest.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Breach {
    /// One of [`Limits::NAMES`].
    pub(crate) limit: &'static str,
    text: String,
}

impl Breach {
    /// `text` says what the frontend did.
    pub(crate) fn of(limit: &'static str, text: String) -> Breach {
        Breach { limit, text }
    }
}

impl From<Breach> for Error {
    fn from(breach: Breach) -> Error {
        Error::limit(breach.text).with_limit(breach.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_has_a_name() {
        for name in Limits::NAMES {
            let mut limits = Limits::default();
            assert!(limits.set(name, 7), "{name}");
            assert_ne!(limits, Limits::default(), "{name}");
        }
        assert!(!Limits::default().set("patience", 7));
    }
}
