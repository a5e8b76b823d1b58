//! Work that several wait for: it runs as a task of its own, and ends when the last of them lets go.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, OnceLock, Weak},
};

use futures::{
    FutureExt,
    future::{Map, Shared},
};
use tokio::task::{AbortHandle, JoinError, JoinHandle};

/// A spawned future. Whoever holds an `Arc` of it wants its value; when the last is dropped, so is the future.
///
/// Being a task of its own keeps every poll flat: who waits is woken by the runtime, not polled through.
pub(crate) struct Task<T> {
    abort: AbortHandle,
    value: Shared<Map<JoinHandle<T>, Ended<T>>>,
}

type Ended<T> = fn(Result<T, JoinError>) -> Option<T>;

impl<T: Clone + Send + Sync + 'static> Task<T> {
    pub(crate) fn spawn(work: impl Future<Output = T> + Send + 'static) -> Arc<Self> {
        let handle = tokio::spawn(work);
        let abort = handle.abort_handle();
        let ended: Ended<T> = Result::ok;
        Arc::new(Task { abort, value: handle.map(ended).shared() })
    }

    /// The value, or `None` when the runtime is going down or `work` panicked.
    pub(crate) async fn wait(&self) -> Option<T> {
        self.value.clone().await
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

/// A value that is worked out once, by one [`Task`] for all who ask meanwhile. Failures are told to those who wait, not kept.
pub(crate) struct Memo<T, E> {
    running: Mutex<Weak<Task<Result<T, E>>>>,
    done: OnceLock<T>,
}

impl<T, E> Default for Memo<T, E> {
    fn default() -> Self {
        Memo { running: Mutex::default(), done: OnceLock::new() }
    }
}

impl<T: Clone + Send + Sync + 'static, E: Clone + Send + Sync + 'static> Memo<T, E> {
    /// The value when it is there already.
    pub(crate) fn get(&self) -> Option<&T> {
        self.done.get()
    }

    /// Whether someone waits for the value now.
    pub(crate) fn is_running(&self) -> bool {
        self.done.get().is_none() && self.running().strong_count() > 0
    }

    /// The value; `work` is started when no one is at it. `None` as for [`Task::wait`].
    pub(crate) async fn get_or<F>(&self, work: impl FnOnce() -> F) -> Option<Result<T, E>>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        if let Some(value) = self.done.get() {
            return Some(Ok(value.clone()));
        }
        let task = self.join(work);
        let result = task.wait().await;
        if let Some(Ok(value)) = &result {
            let _ = self.done.set(value.clone());
        }
        result
    }

    fn join<F>(&self, work: impl FnOnce() -> F) -> Arc<Task<Result<T, E>>>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let mut running = self.running();
        running.upgrade().unwrap_or_else(|| {
            let task = Task::spawn(work());
            *running = Arc::downgrade(&task);
            task
        })
    }

    fn running(&self) -> MutexGuard<'_, Weak<Task<Result<T, E>>>> {
        self.running.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
