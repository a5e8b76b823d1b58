//! What is known of a build: its steps, in the order in which they began.

use std::collections::{BTreeMap, HashMap, VecDeque};

use jiff::{SignedDuration, Timestamp};

use super::{SolveStatus, Vertex, VertexLog, VertexStatus, VertexWarning, format};

/// Lines of a step's output that are kept for when it fails.
const LAST_LINES: usize = 10;
/// The longest line of output, in bytes; longer ones are cut in two.
const LINE_MAX_BYTES: usize = 16 << 10;
/// The most warnings of one step that are shown, and of those that belong to none.
pub(super) const WARNINGS_SHOWN: usize = 20;

/// A build as far as it is known.
#[derive(Default)]
pub(super) struct Trace {
    steps: Vec<Step>,
    /// Steps by digest; all members of a group lead to the group.
    by_digest: HashMap<String, usize>,
    groups: HashMap<String, usize>,
    /// Steps that have begun and are to be shown, in that order.
    pub(super) started: Vec<usize>,
    /// Warnings that belong to no step.
    warnings: Vec<String>,
    /// When the first began, by the engine's clock.
    pub(super) begin: Option<Timestamp>,
    /// What our clock is ahead of the engine's.
    skew: Option<SignedDuration>,
}

/// A step, or a group of them that is shown as one.
#[derive(Default)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) cached: bool,
    pub(super) error: String,
    /// Each run by its beginning, with its end.
    runs: BTreeMap<Timestamp, Option<Timestamp>>,
    /// Parts, in the order in which they began.
    pub(super) parts: Vec<VertexStatus>,
    pub(super) warnings: Vec<VertexWarning>,
    pub(super) last_lines: VecDeque<String>,
    partial: Vec<u8>,
    members: BTreeMap<String, Vertex>,
    /// A group that nothing but weak members have begun in.
    hidden: bool,
}

/// What became of a step that has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    Done,
    Cached,
    Cancelled,
    Failed,
}

/// What news changed.
#[derive(Default)]
pub(super) struct Changes {
    /// Steps whose state changed.
    pub(super) steps: Vec<usize>,
    /// Parts that moved on: step and place among its parts.
    pub(super) parts: Vec<(usize, usize)>,
    /// Whole lines of output: step and line.
    pub(super) lines: Vec<(usize, String)>,
    /// Warnings: step and text.
    pub(super) warnings: Vec<(usize, String)>,
}

impl Trace {
    pub(super) fn step(&self, id: usize) -> &Step {
        &self.steps[id]
    }

    /// The step that `digest` is shown as.
    pub(super) fn find(&self, digest: &str) -> Option<usize> {
        self.by_digest.get(digest).copied()
    }

    /// How many steps have ended, and how many there are.
    pub(super) fn counts(&self) -> (usize, usize) {
        let shown = || self.steps.iter().filter(|step| !step.hidden);
        (shown().filter(|step| step.is_completed()).count(), shown().count())
    }

    /// The time by the engine's clock.
    pub(super) fn engine_time(&self, now: Timestamp) -> Timestamp {
        self.skew.and_then(|skew| now.checked_sub(skew).ok()).unwrap_or(now)
    }

    pub(super) fn update(&mut self, status: &SolveStatus, now: Timestamp) -> Changes {
        let mut changes = Changes::default();
        for vertex in &status.vertexes {
            if let Some(id) = self.vertex(vertex) {
                changes.steps.push(id);
            }
            if self.begin.is_none() && vertex.started.is_some() {
                self.begin = vertex.started;
                self.skew = vertex.started.map(|started| now.duration_since(started));
            }
        }
        for part in &status.statuses {
            // Of several steps of a part that come at once, the last is the news.
            changes.parts.extend(self.part(part).filter(|part| !changes.parts.contains(part)));
        }
        for warning in &status.warnings {
            let text = warning_text(warning);
            match self.find(&warning.vertex) {
                Some(id) => {
                    self.steps[id].warnings.push(warning.clone());
                    if self.steps[id].warnings.len() <= WARNINGS_SHOWN {
                        changes.warnings.push((id, text));
                    }
                }
                None => self.warnings.push(text),
            }
        }
        for log in &status.logs {
            self.log(log, &mut changes);
        }
        for id in changes.steps.clone() {
            if self.steps[id].is_completed() {
                self.flush_partial(id, &mut changes);
            }
        }
        changes.steps.sort_unstable();
        changes.steps.dedup();
        changes
    }

    /// Takes a vertex. Says which step is to be shown anew.
    fn vertex(&mut self, vertex: &Vertex) -> Option<usize> {
        let id = self.id_of(vertex);
        let step = &mut self.steps[id];
        let was_started = step.is_started();
        let before = (step.runs.clone(), step.cached, step.error.clone());
        if vertex.progress_group.is_some() {
            step.members.insert(vertex.digest.clone(), vertex.clone());
            step.summarise();
        } else if vertex.started.is_some() || !was_started {
            // A step that was begun is not taken back by the mere definition of a second build.
            step.name = format::one_line(&vertex.name);
            (step.cached, step.error) = (vertex.cached, vertex.error.clone());
        }
        if let Some(started) = vertex.started {
            step.runs.insert(started, vertex.completed);
        }
        if step.hidden || !step.is_started() {
            return None;
        }
        let changed = before != (step.runs.clone(), step.cached, step.error.clone());
        if !self.started.contains(&id) {
            self.started.push(id);
            return Some(id);
        }
        changed.then_some(id)
    }

    fn id_of(&mut self, vertex: &Vertex) -> usize {
        if let Some(id) = self.find(&vertex.digest) {
            return id;
        }
        let new = self.steps.len();
        let id = match &vertex.progress_group {
            Some(group) => *self.groups.entry(group.id.clone()).or_insert(new),
            None => new,
        };
        if id == new {
            let name = vertex.progress_group.as_ref().map_or(&vertex.name, |group| &group.name);
            let hidden = vertex.progress_group.is_some();
            self.steps.push(Step { name: format::one_line(name), hidden, ..Step::default() });
        }
        self.by_digest.insert(vertex.digest.clone(), id);
        id
    }

    fn part(&mut self, part: &VertexStatus) -> Option<(usize, usize)> {
        let id = self.find(&part.vertex)?;
        let parts = &mut self.steps[id].parts;
        let place = match parts.iter().position(|known| known.id == part.id) {
            Some(place) => place,
            None => {
                parts.push(VertexStatus::default());
                parts.len() - 1
            }
        };
        parts[place] = part.clone();
        Some((id, place))
    }

    fn log(&mut self, log: &VertexLog, changes: &mut Changes) {
        let Some(id) = self.find(&log.vertex) else { return };
        for piece in log.data.0.split_inclusive(|b| *b == b'\n') {
            let step = &mut self.steps[id];
            let ended = piece.last() == Some(&b'\n');
            step.partial.extend_from_slice(&piece[..piece.len() - usize::from(ended)]);
            if ended || step.partial.len() >= LINE_MAX_BYTES {
                let line = step.take_line(log.timestamp);
                changes.lines.push((id, line));
            }
        }
    }

    fn flush_partial(&mut self, id: usize, changes: &mut Changes) {
        let step = &mut self.steps[id];
        if !step.partial.is_empty() {
            let at = step.runs.last_key_value().and_then(|(_, end)| *end).unwrap_or_default();
            let line = step.take_line(at);
            changes.lines.push((id, line));
        }
    }
}

impl Step {
    pub(super) fn is_started(&self) -> bool {
        !self.runs.is_empty()
    }

    pub(super) fn is_completed(&self) -> bool {
        self.is_started() && self.runs.values().all(Option::is_some)
    }

    /// What became of it; `None` while it runs.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        if !self.is_completed() {
            return None;
        }
        Some(match self.error.as_str() {
            "" if self.cached => Outcome::Cached,
            "" => Outcome::Done,
            error if is_cancel(error) => Outcome::Cancelled,
            _ => Outcome::Failed,
        })
    }

    /// When it last ended.
    pub(super) fn ended(&self) -> Option<Timestamp> {
        self.runs.values().copied().max().flatten()
    }

    /// For how long it ran. Runs at the same time, of members of a group, count once.
    pub(super) fn duration(&self, now: Timestamp) -> SignedDuration {
        let mut total = SignedDuration::ZERO;
        let mut until = Timestamp::MIN;
        for (start, end) in &self.runs {
            let (start, end) = ((*start).max(until), end.unwrap_or(now));
            if end > start {
                total += end.duration_since(start);
                until = end;
            }
        }
        total
    }

    /// Makes the state of a group out of its members'.
    fn summarise(&mut self) {
        self.cached = self.members.values().all(|member| member.cached);
        self.error =
            self.members.values().map(|m| m.error.as_str()).find(|e| !e.is_empty()).unwrap_or_default().to_owned();
        let is_strong = |member: &Vertex| !member.progress_group.as_ref().is_some_and(|group| group.weak);
        let shown = self.members.values().any(|m| m.started.is_some() && is_strong(m));
        self.hidden = !shown && self.error.is_empty();
    }

    fn take_line(&mut self, at: Timestamp) -> String {
        let bytes = std::mem::take(&mut self.partial);
        let began = self.runs.keys().rev().find(|start| **start <= at).copied().unwrap_or(at);
        let time = format::log_seconds(at.duration_since(began));
        let line = format!("{time} {}", format::harmless(&String::from_utf8_lossy(&bytes)));
        if self.last_lines.len() == LAST_LINES {
            self.last_lines.pop_front();
        }
        self.last_lines.push_back(line.clone());
        line
    }
}

/// Steps that are cancelled since another one failed are no failures of their own.
fn is_cancel(error: &str) -> bool {
    error.ends_with("context canceled") || error.ends_with("cancelled") || error == "canceled"
}

/// How a part is shown: its name and how much of it is done.
pub(super) fn part_text(part: &VertexStatus) -> (String, String) {
    (format::one_line(&part.id), format::amount(part.current, part.total))
}

/// A warning as one line, with its place: some that name the line already are known by how they do.
pub(super) fn warning_text(warning: &VertexWarning) -> String {
    let text = format::one_line(&warning.short.text());
    let place = warning.source_info.as_ref().zip(warning.range.first());
    match place.filter(|(info, _)| !info.filename.is_empty() && !text.contains("(line ")) {
        Some((info, range)) => format!("{text} ({}:{})", format::one_line(&info.filename), range.start.line),
        None => text,
    }
}

/// What is left to say when all has ended: warnings that were not shown with a step, and the last lines of each step that failed.
pub(super) fn last_words(trace: &Trace) -> String {
    let mut out = String::new();
    let (mut count, mut more) = (0, 0);
    for step in &trace.steps {
        match step.is_started() && !step.hidden {
            true => more += step.warnings.len().saturating_sub(WARNINGS_SHOWN),
            false => count += step.warnings.len(),
        }
    }
    let unshown = trace.steps.iter().filter(|step| !step.is_started() || step.hidden).flat_map(|step| &step.warnings);
    let unshown = unshown.map(warning_text);
    for warning in trace.warnings.iter().cloned().chain(unshown).take(WARNINGS_SHOWN) {
        out.push_str(&format!("WARN: {warning}\n"));
    }
    more += (count + trace.warnings.len()).saturating_sub(WARNINGS_SHOWN);
    if more > 0 {
        out.push_str(&format!("WARN: and {more} more\n"));
    }
    for id in &trace.started {
        let step = trace.step(*id);
        if step.outcome() == Some(Outcome::Failed) {
            out.push_str(&format!("------\n > {}:\n", step.name));
            step.last_lines.iter().for_each(|line| out.push_str(&format!("{line}\n")));
            out.push_str("------\n");
        }
    }
    out
}
