//! What is told of the parts of a source: how far each of them is, and that the source goes on while one is.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use solver::progress::{Event, EventKind, Sink};
use sources::{Progress, Steps};

/// The parts of one source.
pub(crate) struct Parts {
    vertex: Arc<str>,
    sink: Sink,
    going: Mutex<Going>,
}

#[derive(Default)]
struct Going {
    /// When each part began, and how far it was last.
    begun: HashMap<String, (SystemTime, u64)>,
    /// Those that have not ended.
    open: HashSet<String>,
    /// The source has given what it was asked for. A layer of an image is pulled when somebody wants its files, and is shown where the
    /// image is.
    is_idle: bool,
}

/// How far a part is.
struct Part<'a> {
    id: &'a str,
    name: &'a str,
    current: u64,
    total: u64,
    ended: bool,
}

impl Parts {
    pub(crate) fn new(vertex: Arc<str>, sink: Sink) -> Arc<Self> {
        Arc::new(Parts { vertex, sink, going: Mutex::default() })
    }

    /// Whether the source has given what it was asked for.
    pub(crate) fn set_idle(&self, is_idle: bool) {
        self.going().is_idle = is_idle;
    }

    /// Gets bytes done and total of a part.
    pub(crate) fn progress(self: &Arc<Self>) -> Progress {
        let parts = self.clone();
        Arc::new(move |id, name, current, total| {
            parts.tell(&Part { id, name, current, total, ended: total > 0 && current >= total });
        })
    }

    /// Gets parts that have no size, or whose size nobody knew until they had ended.
    pub(crate) fn steps(self: &Arc<Self>) -> Steps {
        let parts = self.clone();
        Arc::new(move |name, ended| {
            let current = parts.going().begun.get(name).map_or(0, |(_, current)| *current);
            parts.tell(&Part { id: name, name, current, total: 0, ended });
        })
    }

    fn tell(&self, part: &Part<'_>) {
        let now = SystemTime::now();
        let mut going = self.going();
        let (started, current) = going.begun.entry(part.id.to_owned()).or_insert((now, 0));
        *current = part.current;
        let started = *started;
        if going.is_idle && going.open.is_empty() {
            self.send(now, EventKind::Started);
        }
        match part.ended {
            true => drop(going.open.remove(part.id)),
            false => drop(going.open.insert(part.id.to_owned())),
        }
        let kind = EventKind::Status {
            id: part.id.into(),
            name: part.name.into(),
            current: part.current as i64,
            total: part.total as i64,
            started: Some(started),
            completed: part.ended.then_some(now),
        };
        self.send(now, kind);
        if going.is_idle && going.open.is_empty() {
            self.send(now, EventKind::Completed { error: None });
        }
    }

    fn send(&self, time: SystemTime, kind: EventKind) {
        self.sink.send(Event { vertex: self.vertex.clone(), time, kind });
    }

    fn going(&self) -> MutexGuard<'_, Going> {
        self.going.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> (Arc<Parts>, Arc<Mutex<Vec<String>>>) {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let to = heard.clone();
        let sink = Sink::new(move |event| {
            to.lock().unwrap().push(match event.kind {
                EventKind::Started => "started".into(),
                EventKind::Completed { .. } => "completed".into(),
                EventKind::Status { id, current, completed, .. } => {
                    format!("{id} {current}{}", if completed.is_some() { " done" } else { "" })
                }
                other => format!("{other:?}"),
            });
        });
        (Parts::new("v".into(), sink), heard)
    }

    #[test]
    fn what_turns_out_to_be_all() {
        let (parts, heard) = told();
        (parts.progress())("transferring", "", 7, 0);
        (parts.steps())("transferring", true);
        assert_eq!(*heard.lock().unwrap(), ["transferring 7", "transferring 7 done"]);
    }

    #[test]
    fn while_it_is_asked_parts_alone_are_told() {
        let (parts, heard) = told();
        (parts.steps())("resolve a", false);
        (parts.steps())("resolve a", true);
        assert_eq!(*heard.lock().unwrap(), ["resolve a 0", "resolve a 0 done"]);
    }

    #[test]
    fn afterwards_it_goes_on_while_a_part_does() {
        let (parts, heard) = told();
        parts.set_idle(true);
        let (progress, steps) = (parts.progress(), parts.steps());
        progress("a", "downloading", 1, 2);
        progress("b", "downloading", 2, 2);
        steps("extracting b", false);
        progress("a", "downloading", 2, 2);
        steps("extracting b", true);
        let want = ["started", "a 1", "b 2 done", "extracting b 0", "a 2 done", "extracting b 0 done", "completed"];
        assert_eq!(*heard.lock().unwrap(), want);
    }
}
