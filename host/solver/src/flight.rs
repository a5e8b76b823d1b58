//! One run for all who ask: whoever needs a class that is being made joins the run that makes it.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::SystemTime,
};

use tokio::sync::SetOnce;

use crate::{
    keys::Class,
    progress::{Event, EventKind, Sink},
    task::Task,
};

/// How many events of a run are kept for who joins late; the oldest are left out.
pub const REPLAY_EVENTS_MAX: usize = 1_000;
/// How many bytes of logs of a run are kept for who joins late; the oldest are left out.
pub const REPLAY_LOG_BYTES_MAX: usize = 256 << 10;

/// The least number of entries at which those of ended runs are removed.
const SWEEP_MIN: usize = 256;

/// Who runs: a class, and whether the run was made regardless of the cache.
///
/// Who wants the class may join either run; who wants it made anew joins only one that was.
pub(crate) type Run = (Class, bool);

type Outcome<T> = Result<T, Arc<anyhow::Error>>;

/// The runs of a solver that are going on.
pub(crate) struct Flights<T> {
    entries: Mutex<Entries<T>>,
}

struct Entries<T> {
    by_run: HashMap<Run, Entry<T>>,
    /// When there are more entries than this, those that ended are removed.
    sweep_at: usize,
}

struct Entry<T> {
    flight: Weak<Flight<T>>,
    /// Set once the op's future is gone, so that the next run of the class cannot overlap it.
    ended: Arc<SetOnce<()>>,
}

/// A run that goes on for as long as someone holds it.
pub(crate) struct Flight<T> {
    task: Arc<Task<Outcome<T>>>,
    hub: Arc<Hub>,
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    pub(crate) fn new() -> Self {
        Flights { entries: Mutex::new(Entries { by_run: HashMap::new(), sweep_at: SWEEP_MIN }) }
    }

    /// The run that `run` may join, if there is one.
    pub(crate) fn current(&self, run: Run) -> Option<Arc<Flight<T>>> {
        lock(&self.entries).joinable(run)
    }

    /// Joins a run of the class, else what `recorded` finds, else starts `work`. A run records its result before it ends, so
    /// nothing is run twice between one look and the other.
    pub(crate) fn join_or<R, E, F>(
        &self,
        run: Run,
        recorded: impl FnOnce() -> Result<Option<R>, E>,
        work: impl FnOnce(Sink) -> F,
    ) -> Result<Ask<T, R>, E>
    where
        F: Future<Output = Outcome<T>> + Send + 'static,
    {
        let mut entries = lock(&self.entries);
        if let Some(flight) = entries.joinable(run) {
            return Ok(Ask::Run { flight, joined: true });
        }
        if let Some(found) = recorded()? {
            return Ok(Ask::Recorded(found));
        }
        let before = entries.by_run.get(&run).map(|entry| entry.ended.clone());
        let hub = Arc::new(Hub::default());
        let (work, ended) = (work(hub.sink()), Arc::<SetOnce<()>>::default());
        let at_end = Ended(ended.clone());
        let task = Task::spawn(async move {
            let _at_end = at_end; // Declared before the work is awaited, hence dropped after it.
            if let Some(before) = before {
                before.wait().await;
            }
            work.await
        });
        let flight = Arc::new(Flight { task, hub });
        entries.insert(run, Entry { flight: Arc::downgrade(&flight), ended });
        Ok(Ask::Run { flight, joined: false })
    }
}

impl<T> Entries<T> {
    fn joinable(&self, (class, anew): Run) -> Option<Arc<Flight<T>>> {
        let runs = if anew { &[true][..] } else { &[true, false] };
        let entries = runs.iter().filter_map(|anew| self.by_run.get(&(class, *anew)));
        entries.filter(|entry| !entry.ended.initialized()).find_map(|entry| entry.flight.upgrade())
    }

    fn insert(&mut self, run: Run, entry: Entry<T>) {
        self.by_run.insert(run, entry);
        if self.by_run.len() > self.sweep_at {
            self.by_run.retain(|_, entry| !entry.ended.initialized());
            self.sweep_at = SWEEP_MIN.max(2 * self.by_run.len());
        }
    }
}

/// See [`Flights::join_or`].
pub(crate) enum Ask<T, R> {
    Run { flight: Arc<Flight<T>>, joined: bool },
    Recorded(R),
}

impl<T: Clone + Send + Sync + 'static> Flight<T> {
    /// The run's outcome; its events, what was said so far included, go to `sink` for as long as this is awaited.
    pub(crate) async fn wait(&self, sink: Sink) -> Outcome<T> {
        let _listening = self.hub.listen(sink);
        let gone = || Err(Arc::new(anyhow::anyhow!("the run ended without a result")));
        self.task.wait().await.unwrap_or_else(gone)
    }
}

/// Tells that a run is over, whether it came to its end or was dropped. Takes no lock: a runtime that goes down may drop it anywhere.
struct Ended(Arc<SetOnce<()>>);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.set(());
    }
}

/// Hands the events of one run to all who listen, and keeps the latest for who comes late.
#[derive(Default)]
struct Hub(Mutex<Heard>);

#[derive(Default)]
struct Heard {
    listeners: Vec<(u64, Sink)>,
    next: u64,
    started: Option<Event>,
    kept: VecDeque<Event>,
    log_bytes: usize,
    left_out: bool,
}

impl Hub {
    fn sink(self: &Arc<Self>) -> Sink {
        let hub = self.clone();
        Sink::new(move |event| lock(&hub.0).say(event))
    }

    fn listen(self: &Arc<Self>, sink: Sink) -> Listening {
        let mut heard = lock(&self.0);
        heard.replay(&sink);
        let id = heard.next;
        heard.next += 1;
        heard.listeners.push((id, sink));
        Listening { hub: self.clone(), id }
    }
}

/// Ends listening when dropped.
struct Listening {
    hub: Arc<Hub>,
    id: u64,
}

impl Drop for Listening {
    fn drop(&mut self) {
        lock(&self.hub.0).listeners.retain(|(id, _)| *id != self.id);
    }
}

impl Heard {
    fn say(&mut self, event: Event) {
        for (_, sink) in &self.listeners {
            sink.send(event.clone());
        }
        if matches!(event.kind, EventKind::Started) {
            self.started = Some(event);
            return;
        }
        self.log_bytes += log_bytes(&event);
        self.kept.push_back(event);
        while self.kept.len() > REPLAY_EVENTS_MAX || self.log_bytes > REPLAY_LOG_BYTES_MAX {
            let Some(dropped) = self.kept.pop_front() else { break };
            self.log_bytes -= log_bytes(&dropped);
            self.left_out = true;
        }
    }

    fn replay(&self, sink: &Sink) {
        self.started.iter().for_each(|event| sink.send(event.clone()));
        if self.left_out {
            let data = b"[earlier output is left out]\n".to_vec();
            let kind = EventKind::Log { stream: 2, data };
            sink.send(Event { vertex: "".into(), time: SystemTime::now(), kind });
        }
        self.kept.iter().for_each(|event| sink.send(event.clone()));
    }
}

fn log_bytes(event: &Event) -> usize {
    match &event.kind {
        EventKind::Log { data, .. } => data.len(),
        _ => 0,
    }
}

/// What is behind these locks is whole after each statement, so a panic of a listener leaves nothing broken.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(bytes: usize) -> Event {
        let kind = EventKind::Log { stream: 1, data: vec![b'x'; bytes] };
        Event { vertex: "v".into(), time: SystemTime::UNIX_EPOCH, kind }
    }

    fn replayed(events: impl IntoIterator<Item = Event>) -> Vec<Event> {
        let hub = Arc::new(Hub::default());
        events.into_iter().for_each(|event| hub.sink().send(event));
        let heard = Arc::new(Mutex::new(vec![]));
        let to = heard.clone();
        let _listening = hub.listen(Sink::new(move |event| to.lock().unwrap().push(event)));
        std::mem::take(&mut *heard.lock().unwrap())
    }

    #[test]
    fn who_comes_late_hears_what_was_said() {
        let started = Event { kind: EventKind::Started, ..log(0) };
        assert_eq!(replayed([started, log(1), log(2)]).len(), 3);
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_and_bytes() {
        let heard = replayed((0..REPLAY_EVENTS_MAX + 7).map(|_| log(1)));
        assert_eq!(heard.len(), REPLAY_EVENTS_MAX + 1, "the limit and a note that something is missing");
        let heard = replayed((0..10).map(|_| log(REPLAY_LOG_BYTES_MAX / 4)));
        assert_eq!(heard.len(), 4 + 1);
    }
}
