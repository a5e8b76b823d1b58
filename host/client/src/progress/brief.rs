//! What is said while a graph is made, and no more: lines of output, warnings, and the names of steps that take long.
//!
//! For commands whose result is text on standard output, with this beside it.

use std::{collections::HashSet, io::Write};

use jiff::{SignedDuration, Timestamp};

use super::{
    Display, Out, SolveStatus,
    trace::{Trace, last_words},
};

/// A step that takes longer is named, so that nobody wonders what is waited for.
const LONG: SignedDuration = SignedDuration::from_secs(1);

/// Writes text.
pub struct Brief {
    out: Out,
    trace: Trace,
    /// The steps that were named for they take long.
    named: HashSet<usize>,
}

impl Brief {
    /// Writes to `out`.
    pub fn new(out: Out) -> Self {
        Brief { out, trace: Trace::default(), named: HashSet::new() }
    }

    fn name_long(&mut self, now: Timestamp) {
        for id in &self.trace.started {
            let step = self.trace.step(*id);
            let is_long = !step.is_completed() && step.duration(self.trace.engine_time(now)) >= LONG;
            if is_long && self.named.insert(*id) {
                let _ = writeln!(self.out, "{} ...", step.name);
            }
        }
    }
}

impl Display for Brief {
    fn update(&mut self, status: &SolveStatus, now: Timestamp) {
        let changes = self.trace.update(status, now);
        for (_, text) in changes.warnings {
            let _ = writeln!(self.out, "WARN: {text}");
        }
        for (id, line) in changes.lines {
            let name = &self.trace.step(id).name;
            // A line begins with its time, which is of no interest here.
            let said = line.split_once(' ').map_or("", |(_, said)| said);
            let _ = writeln!(self.out, "{}", format!("{name}: {said}").trim_end());
        }
        self.name_long(now);
    }

    fn tick(&mut self, now: Timestamp) {
        self.name_long(now);
    }

    fn finish(&mut self, _: Timestamp) {
        let _ = self.out.write_all(last_words(&self.trace).as_bytes());
        let _ = self.out.flush();
    }
}
