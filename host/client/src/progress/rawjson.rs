//! The engine's news as they are, one JSON object a line: for programs.

use std::io::Write;

use jiff::Timestamp;

use super::{Display, Out, SolveStatus};

/// Writes JSON lines.
pub struct RawJson {
    out: Out,
}

impl RawJson {
    /// Writes to `out`.
    pub fn new(out: Out) -> Self {
        RawJson { out }
    }
}

impl Display for RawJson {
    fn update(&mut self, status: &SolveStatus, _: Timestamp) {
        if let Ok(mut line) = serde_json::to_vec(status) {
            line.push(b'\n');
            // Whoever reads may have had enough; the build goes on.
            let _ = self.out.write_all(&line);
        }
    }

    fn tick(&mut self, _: Timestamp) {}

    fn finish(&mut self, _: Timestamp) {
        let _ = self.out.flush();
    }
}
