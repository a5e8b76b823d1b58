//! Interrupts running guests at intervals, so that none keeps a thread of the executor for itself.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use wasmtime::Engine;

/// How long a guest may run before it yields to other tasks.
const TICK: Duration = Duration::from_millis(10);

/// A thread that moves an engine's epoch on while guests run, and sleeps while none does.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    running: usize,
    stopped: bool,
    started: bool,
}

/// A guest runs until this is dropped.
pub(crate) struct Ticking {
    shared: Arc<Shared>,
}

impl Ticker {
    /// For an engine; the thread starts with the first guest.
    pub(crate) fn new() -> Self {
        Ticker { shared: Arc::default() }
    }

    /// Says that a guest runs.
    pub(crate) fn tick(&self, engine: &Engine) -> std::io::Result<Ticking> {
        let mut state = self.shared.lock();
        if !state.started {
            let (shared, engine) = (self.shared.clone(), engine.weak());
            thread::Builder::new().name("frontend-epoch".to_owned()).spawn(move || {
                while shared.wait_for_guests() {
                    thread::sleep(TICK);
                    let Some(engine) = engine.upgrade() else { return };
                    engine.increment_epoch();
                }
            })?;
            state.started = true;
        }
        state.running += 1;
        self.shared.changed.notify_one();
        Ok(Ticking { shared: self.shared.clone() })
    }
}

impl Shared {
    /// The state is plain numbers, right whenever the lock is free: a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether to tick; waits while no guest runs.
    fn wait_for_guests(&self) -> bool {
        let mut state = self.lock();
        while state.running == 0 && !state.stopped {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        !state.stopped
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.shared.lock().running -= 1;
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
    }
}
