//! What a build says of itself while it goes on.

use std::{borrow::Cow, fmt, iter, sync::Arc, time::SystemTime};

/// The error of a vertex that was stopped because nobody wants its result any longer.
pub const CANCELED: &str = "canceled";

/// Where events go. Cheap to clone; never blocks.
#[derive(Clone)]
pub struct Sink(Arc<dyn Fn(&mut dyn Iterator<Item = Event>) + Send + Sync>);

impl Sink {
    /// Hands each event to `f`.
    pub fn new(f: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Sink::batched(move |events| events.for_each(&f))
    }

    /// Hands what is said at once to `f` in one call.
    pub fn batched(f: impl Fn(&mut dyn Iterator<Item = Event>) + Send + Sync + 'static) -> Self {
        Sink(Arc::new(f))
    }

    /// Drops all events.
    pub fn none() -> Self {
        Sink::new(drop)
    }

    /// Sends an event.
    pub fn send(&self, event: Event) {
        self.send_all(iter::once(event));
    }

    /// Sends events that are said at once. They may be made while the receiver is locked, so making them must not send others.
    pub fn send_all(&self, events: impl IntoIterator<Item = Event>) {
        (self.0)(&mut events.into_iter())
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sink")
    }
}

/// Something that happened to a vertex.
#[derive(Clone, Debug)]
pub struct Event {
    /// The vertex's id.
    pub vertex: Arc<str>,
    /// When.
    pub time: SystemTime,
    /// What.
    pub kind: EventKind,
}

/// See [`Event`].
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum EventKind {
    /// The build will look at the vertex: its name and its inputs' ids. Sent once, before any other event of it.
    Defined { name: Arc<str>, inputs: Vec<Arc<str>>, group: Option<Arc<Group>> },
    /// It began to run (or, for a source, to be resolved).
    Started,
    /// The cache answered, for it or above it; nothing ran. A vertex that another request of the same build turns out to need may
    /// still start after this.
    Cached,
    /// It is done; an error text when it failed.
    Completed { error: Option<String> },
    /// Output of a process. `stream` is 1 for stdout, 2 for stderr.
    Log { stream: u32, data: Vec<u8> },
    /// A part of it moves on, for instance the pull of one layer.
    Status {
        id: String,
        name: String,
        current: i64,
        total: i64,
        started: Option<SystemTime>,
        completed: Option<SystemTime>,
    },
    /// Why it ran, or which record it came from: one line for a person.
    Explained { hit: bool, why: Cow<'static, str> },
    /// A warning for the user.
    Warning(Warning),
}

/// A progress group: vertices that are shown as one, as BuildKit's `ProgressGroup`.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Group {
    pub id: String,
    pub name: String,
    /// Not shown unless a member that is not weak runs.
    pub weak: bool,
}

/// A warning, as BuildKit's `VertexWarning`.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Warning {
    pub level: i64,
    pub short: Vec<u8>,
    pub detail: Vec<Vec<u8>>,
    pub url: String,
    /// The source text: name, language, data.
    pub source: Option<(String, String, Vec<u8>)>,
    /// Start line, start character, end line, end character.
    pub ranges: Vec<[i32; 4]>,
}

impl Warning {
    /// What it takes, in bytes.
    pub fn bytes(&self) -> usize {
        let detail: usize = self.detail.iter().map(|line| line.len() + size_of::<Vec<u8>>()).sum();
        let source = self.source.as_ref().map_or(0, |(name, language, data)| name.len() + language.len() + data.len());
        let ranges = size_of_val(&self.ranges[..]);
        size_of::<Event>() + self.short.len() + self.url.len() + detail + source + ranges
    }
}
