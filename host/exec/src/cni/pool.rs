//! Namespaces that wait for the next process: plugins take many times longer than a process that does little.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use super::{list::List, namespace::Namespace};
use crate::Process;

/// See the module.
pub struct Pool {
    list: Arc<List>,
    records: PathBuf,
    /// How many are to wait at any time.
    ready: usize,
    /// How long others do.
    spare_for: Duration,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// The one that was used last is the last.
    spare: Vec<(Instant, Namespace)>,
    closed: bool,
}

/// A namespace in use, which goes back to the pool.
pub struct Lent {
    /// None only while it is dropped.
    namespace: Option<Namespace>,
    /// None where nobody is to have it afterwards.
    pool: Option<Weak<Pool>>,
}

impl Lent {
    pub fn path(&self) -> PathBuf {
        self.namespace.as_ref().map(Namespace::path).unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let pool = self.pool.as_ref().and_then(Weak::upgrade);
        if let (Some(namespace), Some(pool)) = (self.namespace.take(), pool) {
            pool.put(namespace);
        }
    }
}

impl Pool {
    pub fn new(list: List, records: PathBuf, ready: usize, spare_for: Duration) -> Arc<Pool> {
        Arc::new(Pool { list: Arc::new(list), records, ready, spare_for, waiting: Mutex::default() })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that waits, or a new one. Plugins may tell others of a host name, so that who has one gets a new one; and a process with
    /// all privileges can change what it was given, so that nobody gets that one after it.
    pub fn take(self: &Arc<Self>, process: &Process) -> anyhow::Result<Lent> {
        let plain = process.hostname.is_empty() && !process.insecure;
        let waiting = if process.hostname.is_empty() { self.waiting().spare.pop() } else { None };
        let namespace = match waiting {
            Some((_, namespace)) => namespace,
            None => Namespace::make(self.list.clone(), &self.records, &process.hostname)?,
        };
        Ok(Lent { namespace: Some(namespace), pool: plain.then(|| Arc::downgrade(self)) })
    }

    fn put(self: &Arc<Self>, namespace: Namespace) {
        let mut waiting = self.waiting();
        if waiting.closed {
            // Before the namespace, whose plugins take their time.
            drop(waiting);
            return;
        }
        waiting.spare.push((Instant::now(), namespace));
    }

    /// Keeps the wanted number until the pool is closed or dropped.
    pub fn fill(self: &Arc<Self>) {
        let pool = Arc::downgrade(self);
        std::thread::spawn(move || {
            while let Some(pool) = pool.upgrade() {
                if let Err(error) = pool.tend(Instant::now()) {
                    tracing::warn!("make a network ahead: {error:#}");
                }
                if pool.waiting().closed {
                    return;
                }
                drop(pool);
                std::thread::sleep(TENDED_EVERY);
            }
        });
    }

    /// Makes what is missing, and drops what nobody wanted for long.
    pub fn tend(self: &Arc<Self>, now: Instant) -> anyhow::Result<()> {
        let mut waiting = self.waiting();
        let spare = waiting.spare.len().saturating_sub(self.ready);
        let old = |(used, _): &&(Instant, Namespace)| now.saturating_duration_since(*used) >= self.spare_for;
        let old = waiting.spare.iter().take(spare).take_while(old).count();
        let unwanted: Vec<_> = waiting.spare.drain(..old).collect();
        let missing = if waiting.closed { 0 } else { self.ready.saturating_sub(waiting.spare.len()) };
        drop(waiting);
        drop(unwanted);
        for _ in 0..missing {
            self.put(Namespace::make(self.list.clone(), &self.records, "")?);
        }
        Ok(())
    }

    /// Drops all that wait, and from now on all that come back.
    pub fn close(&self) {
        let mut waiting = self.waiting();
        waiting.closed = true;
        let all = std::mem::take(&mut waiting.spare);
        drop(waiting);
        drop(all);
    }

    #[cfg(test)]
    pub fn spare(&self) -> usize {
        self.waiting().spare.len()
    }
}

/// How often [`Pool::tend`] is called.
const TENDED_EVERY: Duration = Duration::from_secs(10);
