//! All that a build said of itself, for those who listen now and those who attach late.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use foldhash::fast::RandomState;
use llb::Digest;
use solver::progress::{CANCELED, Event, EventKind, Sink, Warning};
use tokio::{sync::watch, time::Instant};

/// How many bytes of process output a journal keeps for listeners that attach late. Older output is dropped first; events that
/// are not output are always kept.
pub const MAX_LOG_BYTES: usize = 8 << 20;

/// How many bytes of warnings a journal takes, with the texts that they are about. All are kept, and whoever runs a frontend of his
/// own can give any number of them; those that come after are left out.
pub const MAX_WARNING_BYTES: usize = 64 << 20;

/// How often it is said how far a part of a vertex is. A transfer of many small files knows it anew for each of them, and each word of
/// it costs every listener something.
pub const STATUS_INTERVAL: Duration = Duration::from_millis(100);

/// How long what is said after a listener was told something waits for more: a build in which little is to be done says all that it has
/// to say in less, and each telling wakes a client.
pub const GATHER_INTERVAL: Duration = Duration::from_millis(20);

/// The journal of one build. Cheap to clone.
#[derive(Clone)]
pub struct Journal(Arc<Inner>);

struct Inner {
    events: Mutex<Events>,
    /// How many events there are; a listener waits for it to grow.
    count: watch::Sender<u64>,
    /// Whether the journal is closed; a listener that gathers waits for it.
    closed: watch::Sender<bool>,
}

#[derive(Default)]
struct Events {
    kept: VecDeque<(u64, Arc<Event>)>,
    next: u64,
    log_bytes: usize,
    /// Of all warnings that came, also of those that were left out.
    warning_bytes: usize,
    /// Vertices that have begun and not ended.
    running: BTreeSet<Arc<str>>,
    /// How far the parts of vertices are that have not ended, by vertex and by the part's id.
    parts: HashMap<Arc<str>, HashMap<String, Part>, RandomState>,
    closed: bool,
}

/// A part of a vertex that moves on.
struct Part {
    /// When it was last said how far it is.
    said: SystemTime,
    /// How far it is, and whether that was said.
    last: Event,
    held: bool,
}

impl Part {
    fn said(event: &Event) -> Part {
        Part { said: event.time, last: event.clone(), held: false }
    }
}

impl Events {
    fn push(&mut self, event: Event) {
        self.log_bytes += log_len(&event);
        self.kept.push_back((self.next, Arc::new(event)));
        self.next += 1;
        if self.log_bytes > MAX_LOG_BYTES {
            drop_old_logs(self);
        }
    }

    /// Keeps what is to be told of an event.
    fn hear(&mut self, event: Event) {
        match event.kind {
            EventKind::Started => drop(self.running.insert(event.vertex.clone())),
            EventKind::Cached | EventKind::Completed { .. } => {
                let failed = matches!(event.kind, EventKind::Completed { error: Some(_) });
                self.running.remove(&event.vertex);
                self.say_held(&event.vertex, (!failed).then_some(event.time));
            }
            _ => {}
        }
        if let Some(event) = self.admitted(event).and_then(|event| self.due(event)) {
            self.push(event);
        }
    }

    /// Gives back an event, unless it is a warning for which there is no room; of those, the first says so.
    fn admitted(&mut self, event: Event) -> Option<Event> {
        let EventKind::Warning(warning) = &event.kind else { return Some(event) };
        let had_room = self.warning_bytes <= MAX_WARNING_BYTES;
        self.warning_bytes = self.warning_bytes.saturating_add(warning.bytes());
        if self.warning_bytes <= MAX_WARNING_BYTES {
            return Some(event);
        }
        let short =
            format!("the warnings of this build have more than {MAX_WARNING_BYTES} bytes: the rest is left out");
        let last = Warning { level: 1, short: short.into_bytes(), ..Warning::default() };
        had_room.then_some(Event { kind: EventKind::Warning(last), ..event })
    }

    /// Gives back the event of a part when it is time to say it; else keeps it in place of the one before.
    fn due(&mut self, event: Event) -> Option<Event> {
        let EventKind::Status { id, completed, .. } = &event.kind else { return Some(event) };
        let parts = self.parts.entry(event.vertex.clone()).or_default();
        let Some(part) = parts.get_mut(id) else {
            parts.insert(id.clone(), Part::said(&event));
            return Some(event);
        };
        let since = event.time.duration_since(part.said);
        if completed.is_none() && since.is_ok_and(|since| since < STATUS_INTERVAL) {
            (part.last, part.held) = (event, true);
            return None;
        }
        *part = Part::said(&event);
        Some(event)
    }

    /// Says how far the parts of `vertex` came. Where that has ended well, at `ended`, so have they: not all know their size.
    fn say_held(&mut self, vertex: &str, ended: Option<SystemTime>) {
        let parts = self.parts.remove(vertex).into_iter().flatten();
        let end = |(_, mut part): (String, Part)| {
            if let EventKind::Status { completed, .. } = &mut part.last.kind
                && completed.is_none()
                && ended.is_some()
            {
                (*completed, part.held) = (ended, true);
            }
            part.held.then_some(part.last)
        };
        let mut held: Vec<Event> = parts.filter_map(end).collect();
        held.sort_by_key(|event| event.time);
        for event in held {
            self.push(event);
        }
    }
}

impl Default for Journal {
    fn default() -> Self {
        let (count, closed) = (watch::Sender::new(0), watch::Sender::new(false));
        Journal(Arc::new(Inner { events: Mutex::default(), count, closed }))
    }
}

impl Journal {
    /// Where the solver sends its events.
    pub fn sink(&self) -> Sink {
        let journal = self.clone();
        Sink::batched(move |events| journal.add_all(events))
    }

    /// Adds an event. Events after [`Journal::close`] are dropped.
    pub fn add(&self, event: Event) {
        self.add_all(std::iter::once(event));
    }

    /// Adds events that were said at once.
    pub fn add_all(&self, said: impl IntoIterator<Item = Event>) {
        let mut events = self.events();
        let before = events.next;
        if !events.closed {
            said.into_iter().for_each(|event| events.hear(event));
        }
        if events.next == before {
            return;
        }
        let count = events.next;
        drop(events);
        self.0.count.send_replace(count);
    }

    /// Says that nothing more will come. What runs now is cancelled, though its end may come too late to be heard.
    pub fn close(&self) {
        let mut events = self.events();
        for vertex in events.parts.keys().cloned().collect::<Vec<_>>() {
            events.say_held(&vertex, None);
        }
        for vertex in std::mem::take(&mut events.running) {
            let kind = EventKind::Completed { error: Some(CANCELED.into()) };
            events.push(Event { vertex, time: SystemTime::now(), kind });
        }
        events.closed = true;
        let count = events.next;
        drop(events);
        // Even where nothing was added, who waits is to see the end.
        self.0.count.send_replace(count);
        self.0.closed.send_replace(true);
    }

    /// The events that are kept now.
    pub fn events_so_far(&self) -> Vec<Arc<Event>> {
        self.events().kept.iter().map(|(_, event)| event.clone()).collect()
    }

    /// All events from the first on, until the journal is closed.
    pub fn subscribe(&self) -> Subscription {
        let (count, closed) = (self.0.count.subscribe(), self.0.closed.subscribe());
        Subscription { journal: self.clone(), next: 0, count, closed, told: None }
    }

    /// Begins something that is no vertex of the graph (an export, a lookup) and is shown as one. `name` as the user reads it.
    pub fn activity(&self, name: &str) -> Activity {
        let vertex = Digest::of(uuid::Uuid::new_v4().as_bytes()).shared();
        let activity = Activity { journal: self.clone(), vertex, ended: false };
        activity.send(EventKind::Defined { name: name.into(), inputs: Vec::new(), group: None });
        activity.send(EventKind::Started);
        activity
    }

    fn events(&self) -> std::sync::MutexGuard<'_, Events> {
        self.0.events.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn log_len(event: &Event) -> usize {
    if let EventKind::Log { data, .. } = &event.kind { data.len() } else { 0 }
}

/// Drops the older half of the output, so that the cost of dropping is spread over many events.
fn drop_old_logs(events: &mut Events) {
    let mut excess = events.log_bytes - MAX_LOG_BYTES / 2;
    events.kept.retain(|(_, event)| {
        let len = log_len(event);
        let drop = len > 0 && excess > 0;
        if drop {
            excess = excess.saturating_sub(len);
        }
        !drop
    });
    events.log_bytes = events.kept.iter().map(|(_, event)| log_len(event)).sum();
}

/// One listener's place in a journal.
pub struct Subscription {
    journal: Journal,
    next: u64,
    count: watch::Receiver<u64>,
    closed: watch::Receiver<bool>,
    /// When the last call was answered.
    told: Option<Instant>,
}

impl Subscription {
    /// The events since the last call, at least one; `None` when the journal is closed and all were given. The first are given at
    /// once, later ones with all that is said within [`GATHER_INTERVAL`] of what was given before.
    pub async fn next(&mut self) -> Option<Vec<Arc<Event>>> {
        if let Some(told) = self.told {
            let _ = tokio::time::timeout_at(told + GATHER_INTERVAL, self.closed.wait_for(|closed| *closed)).await;
        }
        loop {
            self.count.mark_unchanged();
            let (found, closed) = self.ready();
            if !found.is_empty() {
                self.told = Some(Instant::now());
                return Some(found);
            }
            if closed || self.count.changed().await.is_err() {
                return None;
            }
        }
    }

    fn ready(&mut self) -> (Vec<Arc<Event>>, bool) {
        let events = self.journal.events();
        let first = events.kept.partition_point(|(number, _)| *number < self.next);
        let found = events.kept.range(first..).map(|(_, event)| event.clone()).collect();
        let result = (found, events.closed);
        self.next = events.next;
        result
    }
}

/// Something in progress that is shown like a vertex. Dropped before [`Activity::end`], it is shown as cancelled.
pub struct Activity {
    journal: Journal,
    vertex: Arc<str>,
    ended: bool,
}

impl Activity {
    /// The id that it is shown under.
    pub fn vertex(&self) -> &Arc<str> {
        &self.vertex
    }

    /// A line of output.
    pub fn log(&self, line: &str) {
        self.send(EventKind::Log { stream: 2, data: format!("{line}\n").into_bytes() });
    }

    /// Warns, in its output and among the warnings of the build.
    pub fn warn(&self, text: &str) {
        self.log(&format!("WARNING: {text}"));
        self.send(EventKind::Warning(Warning { level: 1, short: text.into(), ..Warning::default() }));
    }

    /// A piece of output, as it is.
    pub fn output(&self, data: &[u8]) {
        self.send(EventKind::Log { stream: 2, data: data.to_vec() });
    }

    /// Ends it.
    pub fn end<T, E: std::fmt::Display>(mut self, result: &Result<T, E>) {
        self.ended = true;
        self.send(EventKind::Completed { error: result.as_ref().err().map(|error| format!("{error:#}")) });
    }

    /// A sink for bytes done and total of a part, by id and name.
    pub fn progress(&self) -> sources::Progress {
        let (journal, vertex) = (self.journal.clone(), self.vertex.clone());
        let begun: Mutex<HashMap<String, SystemTime>> = Mutex::default();
        Arc::new(move |id, name, current, total| {
            let now = SystemTime::now();
            let mut begun = begun.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let started = Some(*begun.entry(id.to_string()).or_insert(now));
            let completed = (total > 0 && current >= total).then_some(now);
            let (id, name) = (id.to_string(), name.to_string());
            let (current, total) = (current as i64, total as i64);
            let kind = EventKind::Status { id, name, current, total, started, completed };
            journal.add(Event { vertex: vertex.clone(), time: now, kind });
        })
    }

    /// A sink for parts that have no size: their names, and whether they have ended.
    pub fn steps(&self) -> exporters::Steps {
        let (journal, vertex) = (self.journal.clone(), self.vertex.clone());
        let begun: Mutex<HashMap<String, SystemTime>> = Mutex::default();
        Arc::new(move |name, ended| {
            let time = SystemTime::now();
            let mut begun = begun.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let started = Some(*begun.entry(name.to_owned()).or_insert(time));
            let completed = ended.then_some(time);
            let (id, name) = (name.to_owned(), name.to_owned());
            let kind = EventKind::Status { id, name, current: 0, total: 0, started, completed };
            journal.add(Event { vertex: vertex.clone(), time, kind });
        })
    }

    fn send(&self, kind: EventKind) {
        self.journal.add(Event { vertex: self.vertex.clone(), time: SystemTime::now(), kind });
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        if !self.ended {
            self.send(EventKind::Completed { error: Some("cancelled".into()) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(text: &str) -> Event {
        let kind = EventKind::Log { stream: 1, data: text.into() };
        Event { vertex: "v".into(), time: SystemTime::UNIX_EPOCH, kind }
    }

    #[tokio::test]
    async fn a_late_listener_gets_what_was_said() {
        let journal = Journal::default();
        journal.add(log("a"));
        let mut early = journal.subscribe();
        assert_eq!(early.next().await.unwrap().len(), 1);
        journal.add(log("b"));
        journal.close();
        journal.add(log("after the end"));
        assert_eq!(early.next().await.unwrap().len(), 1);
        assert!(early.next().await.is_none());
        let mut late = journal.subscribe();
        assert_eq!(late.next().await.unwrap().len(), 2);
        assert!(late.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_said_soon_after_is_told_together() {
        let journal = Journal::default();
        let mut listener = journal.subscribe();
        journal.add(log("first"));
        let begun = Instant::now();
        assert_eq!(listener.next().await.unwrap().len(), 1);
        assert_eq!(begun.elapsed(), Duration::ZERO, "the first is told at once");
        let later = journal.clone();
        let says = async move {
            later.add(log("second"));
            tokio::time::sleep(GATHER_INTERVAL / 2).await;
            later.add(log("third"));
        };
        assert_eq!(tokio::join!(says, listener.next()).1.unwrap().len(), 2);
        assert_eq!(begun.elapsed(), GATHER_INTERVAL);
        journal.add(log("last"));
        journal.close();
        assert_eq!(listener.next().await.unwrap().len(), 1);
        assert_eq!(begun.elapsed(), GATHER_INTERVAL, "the end waits for nothing");
        assert!(listener.next().await.is_none());
    }

    fn status(id: &str, millis: u64, current: i64, total: i64) -> Event {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        let completed = (current == total).then_some(time);
        let kind = EventKind::Status { id: id.into(), name: id.into(), current, total, started: Some(time), completed };
        Event { vertex: "v".into(), time, kind }
    }

    fn counts(journal: &Journal, wanted: &str) -> Vec<i64> {
        let count = |event: Arc<Event>| match &event.kind {
            EventKind::Status { id, current, .. } if id == wanted => Some(*current),
            _ => None,
        };
        journal.events_so_far().into_iter().filter_map(count).collect()
    }

    #[test]
    fn how_far_a_part_is_is_said_now_and_then_and_at_its_end() {
        let journal = Journal::default();
        for millis in 0..250 {
            journal.add(status("a", millis, millis as i64, 1000));
            journal.add(status("b", millis, millis as i64, 149));
        }
        assert_eq!(counts(&journal, "a"), [0, 100, 200]);
        assert_eq!(counts(&journal, "b"), [0, 100, 149, 249]);
        let kind = EventKind::Completed { error: None };
        journal.add(Event { vertex: "v".into(), time: SystemTime::UNIX_EPOCH, kind });
        assert_eq!(counts(&journal, "a"), [0, 100, 200, 249]);
        let events = journal.events_so_far();
        assert!(matches!(events.last().unwrap().kind, EventKind::Completed { .. }), "the end comes last");
        let mut of_a = events.iter().filter_map(|event| match &event.kind {
            EventKind::Status { id, completed, .. } if id == "a" => Some(completed.is_some()),
            _ => None,
        });
        assert!(of_a.next_back() == Some(true) && !of_a.any(|ended| ended), "with the whole its parts have ended");
    }

    #[test]
    fn what_a_part_came_to_is_said_when_the_build_ends_before_it() {
        let journal = Journal::default();
        journal.add(status("a", 0, 1, 9));
        journal.add(status("a", 1, 2, 9));
        journal.close();
        assert_eq!(counts(&journal, "a"), [1, 2]);
    }

    #[tokio::test]
    async fn output_kept_is_bounded_and_events_are_not_lost() {
        let journal = Journal::default();
        let activity = journal.activity("step");
        let chunk = "x".repeat(64 << 10);
        for _ in 0..4 * MAX_LOG_BYTES / chunk.len() {
            journal.add(log(&chunk));
        }
        activity.end::<(), String>(&Ok(()));
        journal.close();
        let events = journal.subscribe().next().await.unwrap();
        let bytes: usize = events.iter().map(|event| log_len(event)).sum();
        assert!(bytes <= MAX_LOG_BYTES, "{bytes} bytes are kept");
        let others = events.iter().filter(|event| !matches!(event.kind, EventKind::Log { .. })).count();
        assert_eq!(others, 3, "defined, started and completed are all there");
    }

    #[test]
    fn warnings_are_bounded_and_the_first_that_is_left_out_says_so() {
        let journal = Journal::default();
        let text = vec![b'x'; 1 << 20];
        let warning = || Warning { source: Some(("f".into(), "l".into(), text.clone())), ..Warning::default() };
        let most = MAX_WARNING_BYTES / text.len();
        for _ in 0..2 * most {
            let kind = EventKind::Warning(warning());
            journal.add(Event { vertex: "v".into(), time: SystemTime::UNIX_EPOCH, kind });
        }
        journal.add(log("what else is said is kept"));
        let events = journal.events_so_far();
        let kept: Vec<&Warning> = events
            .iter()
            .filter_map(|event| if let EventKind::Warning(warning) = &event.kind { Some(warning) } else { None })
            .collect();
        let bytes: usize = kept.iter().map(|warning| warning.bytes()).sum();
        assert_eq!(
            (kept.len(), events.len()),
            (most, most + 1),
            "all that there is room for, and the word of the rest"
        );
        assert!(bytes <= MAX_WARNING_BYTES, "{bytes} bytes are kept");
        assert!(String::from_utf8_lossy(&kept[most - 1].short).ends_with("the rest is left out"));
    }

    #[test]
    fn what_still_runs_at_the_end_is_cancelled() {
        let journal = Journal::default();
        let event = |vertex: &str, kind| Event { vertex: vertex.into(), time: SystemTime::UNIX_EPOCH, kind };
        for vertex in ["a", "b", "c"] {
            journal.add(event(vertex, EventKind::Started));
        }
        journal.add(event("a", EventKind::Completed { error: None }));
        journal.add(event("c", EventKind::Completed { error: Some("failed".into()) }));
        journal.close();
        let ends = journal.events_so_far().into_iter().filter_map(|event| match &event.kind {
            EventKind::Completed { error } => Some((event.vertex.to_string(), error.clone())),
            _ => None,
        });
        let want = [("a", None), ("c", Some("failed")), ("b", Some(CANCELED))];
        assert_eq!(ends.collect::<Vec<_>>(), want.map(|(vertex, error)| (vertex.into(), error.map(String::from))));
    }
}
