//! Lines of text: for logs, and for terminals that can do no more.
//!
//! Lines of one step stand together as far as can be: another step is shown when the one at hand has ended, has been silent for a
//! while, or has kept others waiting for too long. `#5 ...` says that step 5 will go on further down.

use std::{collections::HashMap, io::Write};

use jiff::{SignedDuration, Timestamp};

use super::{
    Display, Out, SolveStatus, format,
    trace::{Outcome, Trace, last_words, part_text},
};

/// A step that says nothing for so long makes room for another.
const SILENCE: SignedDuration = SignedDuration::from_secs(1);
/// A step waits no longer than this for one that has much to say.
const PATIENCE: SignedDuration = SignedDuration::from_secs(5);
/// How far a part must move on, in percent, to be shown again...
const PART_STEP_PERCENT: i64 = 5;
/// ... which is not done more often than this ...
const PART_PAUSE: SignedDuration = SignedDuration::from_secs(1);
/// ... unless so much time has passed.
const PART_INTERVAL: SignedDuration = SignedDuration::from_secs(5);

/// Writes text.
pub struct Plain {
    out: Out,
    trace: Trace,
    shown: HashMap<usize, Shown>,
    /// The step whose lines are at the end of the output.
    current: Option<usize>,
    any: bool,
}

/// What was and is to be written of a step.
#[derive(Default)]
struct Shown {
    /// Its number, from 1.
    number: usize,
    waiting: Vec<String>,
    waiting_since: Option<Timestamp>,
    last_written: Option<Timestamp>,
    /// Parts by id, as they were last shown.
    parts: HashMap<String, ShownPart>,
    is_ended: bool,
}

/// How far a part was when it was shown, when that was, and whether it was done.
#[derive(Clone, Copy)]
struct ShownPart {
    current: i64,
    at: Timestamp,
    is_done: bool,
}

impl Plain {
    /// Writes to `out`.
    pub fn new(out: Out) -> Self {
        Plain { out, trace: Trace::default(), shown: HashMap::new(), current: None, any: false }
    }

    fn collect(&mut self, status: &SolveStatus, now: Timestamp) {
        let changes = self.trace.update(status, now);
        for id in changes.steps {
            let shown = self.shown.entry(id).or_default();
            shown.waiting_since.get_or_insert(now);
            shown.is_ended = false;
        }
        for (id, place) in changes.parts {
            self.part(id, place, now);
        }
        for (id, text) in changes.warnings {
            self.wait(id, format!("WARN: {text}"), now);
        }
        for (id, line) in changes.lines {
            self.wait(id, line, now);
        }
    }

    fn wait(&mut self, id: usize, line: String, now: Timestamp) {
        let shown = self.shown.entry(id).or_default();
        shown.waiting_since.get_or_insert(now);
        shown.waiting.push(line);
    }

    fn part(&mut self, id: usize, place: usize, now: Timestamp) {
        let part = &self.trace.step(id).parts[place];
        let shown = self.shown.entry(id).or_default();
        let is_done = part.completed.is_some();
        if let Some(last) = shown.parts.get(&part.id) {
            let moved = part.current.saturating_sub(last.current).saturating_mul(100);
            let moved = part.total > 0 && moved >= part.total.saturating_mul(PART_STEP_PERCENT);
            let waited = part.timestamp.duration_since(last.at);
            let is_news = (part.current, is_done) != (last.current, last.is_done);
            let is_due = is_done || waited >= PART_INTERVAL || moved && waited >= PART_PAUSE;
            if !is_news || !is_due {
                return;
            }
        }
        shown.parts.insert(part.id.clone(), ShownPart { current: part.current, at: part.timestamp, is_done });
        let (name, amount) = part_text(part);
        let took = part.started.map(|started| part.completed.unwrap_or(part.timestamp).duration_since(started));
        let took = took.filter(|took| *took > SignedDuration::from_millis(10)).map(format::seconds);
        let done = part.completed.map(|_| "done".to_owned());
        let words = [Some(name), Some(amount), took, done].into_iter().flatten().filter(|word| !word.is_empty());
        let line = words.collect::<Vec<_>>().join(" ");
        self.wait(id, line, now);
    }

    /// Writes what may be written now.
    fn flush(&mut self, now: Timestamp) {
        let mut waiting: Vec<usize> = self.trace.started.clone();
        waiting.retain(|id| self.shown.get(id).is_some_and(|shown| shown.waiting_since.is_some()));
        // What has ended comes first, and of that the step at hand, then those that ended earlier.
        let (mut ended, running): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|id| self.trace.step(*id).is_completed());
        ended.sort_by_key(|id| (self.current != Some(*id), self.trace.step(*id).ended()));
        ended.iter().for_each(|id| self.write_step(*id, now));
        if let Some(next) = self.choose(&running, now) {
            self.write_step(next, now);
        }
    }

    fn choose(&self, running: &[usize], now: Timestamp) -> Option<usize> {
        let waited =
            |id: &usize| self.shown[id].waiting_since.map_or(SignedDuration::ZERO, |since| now.duration_since(since));
        let longest = running
            .iter()
            .copied()
            .filter(|id| self.current != Some(*id))
            .max_by_key(|id| (waited(id), std::cmp::Reverse(*id)));
        let Some(current) = self.current else { return longest };
        let last = self.shown.get(&current).and_then(|shown| shown.last_written);
        let silent = last.is_none_or(|last| now.duration_since(last) >= SILENCE);
        if running.contains(&current) {
            let out_of_patience = longest
                .filter(|id| waited(id) >= PATIENCE && last.is_some_and(|last| now.duration_since(last) < SILENCE));
            return Some(out_of_patience.unwrap_or(current));
        }
        longest.filter(|_| silent)
    }

    fn write_step(&mut self, id: usize, now: Timestamp) {
        let mut text = String::new();
        let next_number = self.shown.values().map(|shown| shown.number).max().unwrap_or(0) + 1;
        if self.current != Some(id) {
            if let Some(current) = self.current.and_then(|current| self.shown.get(&current)) {
                text.push_str(&format!("#{} ...\n", current.number));
            }
            if self.any {
                text.push('\n');
            }
        }
        let step = self.trace.step(id);
        let shown = self.shown.entry(id).or_default();
        if shown.number == 0 {
            shown.number = next_number;
        }
        let number = shown.number;
        if self.current != Some(id) {
            text.push_str(&format!("#{number} {}\n", step.name));
        }
        for line in shown.waiting.drain(..) {
            // A line may hold several, and each is to be known by its number.
            line.split('\n').for_each(|line| text.push_str(&format!("#{number} {line}\n")));
        }
        (shown.waiting_since, shown.last_written) = (None, Some(now));
        self.current = Some(id);
        self.any = true;
        if let Some(outcome) = step.outcome() {
            if !shown.is_ended {
                let took = format::seconds(step.duration(now));
                text.push_str(&match outcome {
                    Outcome::Done => format!("#{number} DONE {took}\n"),
                    Outcome::Cached => format!("#{number} CACHED\n"),
                    Outcome::Cancelled => format!("#{number} CANCELED\n"),
                    Outcome::Failed => format!("#{number} ERROR: {}\n", format::one_line(&step.error)),
                });
            }
            shown.is_ended = true;
            self.current = None;
        }
        let _ = self.out.write_all(text.as_bytes());
    }
}

impl Display for Plain {
    fn update(&mut self, status: &SolveStatus, now: Timestamp) {
        self.collect(status, now);
        self.flush(now);
    }

    fn tick(&mut self, now: Timestamp) {
        self.flush(now);
    }

    fn finish(&mut self, now: Timestamp) {
        // Nothing is held back any longer.
        for id in self.trace.started.clone() {
            if self.shown.get(&id).is_some_and(|shown| shown.waiting_since.is_some()) {
                self.write_step(id, now);
            }
        }
        let _ = self.out.write_all(last_words(&self.trace).as_bytes());
        let _ = self.out.flush();
    }
}
