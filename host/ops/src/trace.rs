//! The trace that a build belongs to, as the processes of its steps know it: below which span theirs are, and where they send them.

use std::{path::PathBuf, sync::Arc};

use exec::{Mount, MountKind, Process};
use sha2::{Digest as _, Sha256};

/// Where a process finds the socket for its spans.
const SOCKET: &str = "/dev/otel-grpc.sock";

/// The variables by which OpenTelemetry's libraries find it.
const VARIABLES: [(&str, &str); 3] = [
    ("OTEL_TRACES_EXPORTER", "otlp"),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "unix:///dev/otel-grpc.sock"),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
];

/// The id of a span, not all zero.
pub type SpanId = [u8; 8];

/// A trace, in the words of W3C's Trace Context.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trace {
    /// Its id, not all zero.
    pub id: [u8; 16],
    /// The span of the build.
    pub build: SpanId,
    /// Whether spans are wanted, and more of that kind.
    pub flags: u8,
    /// What the client's system knows the trace by (`tracestate`); may be empty.
    pub state: String,
}

impl Trace {
    /// The span of a vertex: known before it runs, so that its process can be told.
    pub fn of_vertex(&self, vertex: &str) -> SpanId {
        let hash = Sha256::new().chain_update(self.id).chain_update(self.build).chain_update(vertex).finalize();
        std::array::from_fn(|at| hash[at])
    }

    /// What a process is told that is to put its spans below this one.
    fn variables(&self, above: SpanId) -> Vec<String> {
        let parent = format!("TRACEPARENT=00-{}-{}-{:02x}", hex::encode(self.id), hex::encode(above), self.flags);
        let state = (!self.state.is_empty()).then(|| format!("TRACESTATE={}", self.state));
        [parent].into_iter().chain(state).collect()
    }
}

/// A trace, and the socket that takes spans of processes.
#[derive(Clone, Debug)]
pub struct Tracing {
    /// The trace.
    pub trace: Trace,
    /// The socket on this machine. Its owner becomes root, and all may use it.
    pub socket: Arc<PathBuf>,
}

impl Tracing {
    /// Tells a process of them; what its own variables say of the exporter stands.
    pub(crate) fn tell(&self, process: &mut Process, above: SpanId) {
        let is_set = |name: &str| process.env.iter().any(|own| own.split_once('=').is_some_and(|(own, _)| own == name));
        let missing: Vec<_> = VARIABLES.iter().filter(|(name, _)| !is_set(name)).collect();
        process.env.retain(|own| !own.starts_with("TRACEPARENT=") && !own.starts_with("TRACESTATE="));
        process.env.extend(missing.into_iter().map(|(name, value)| format!("{name}={value}")));
        process.env.extend(self.trace.variables(above));
        let kind = MountKind::Socket { source: self.socket.to_path_buf(), uid: 0, gid: 0, mode: 0o666 };
        process.mounts.push(Mount { target: SOCKET.into(), kind, readonly: true });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_says_itself_stands() {
        let trace = Trace { id: [1; 16], build: [2; 8], flags: 1, state: "a=b".into() };
        let tracing = Tracing { trace: trace.clone(), socket: Arc::new("/s".into()) };
        let env = ["OTEL_TRACES_EXPORTER=none", "TRACEPARENT=00-old", "OTEL_TRACES_EXPORTERS=x"].map(String::from);
        let mut process = Process { env: env.into(), ..Process::default() };
        tracing.tell(&mut process, trace.of_vertex("v"));
        let parent = format!("TRACEPARENT=00-{}-{}-01", "01".repeat(16), hex::encode(trace.of_vertex("v")));
        let want = [
            "OTEL_TRACES_EXPORTER=none",
            "OTEL_TRACES_EXPORTERS=x",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=unix:///dev/otel-grpc.sock",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=grpc",
            &parent,
            "TRACESTATE=a=b",
        ];
        assert_eq!(process.env, want);
        assert_eq!(process.mounts[0].target, SOCKET);
        assert_ne!(trace.of_vertex("v"), trace.of_vertex("w"));
    }
}
