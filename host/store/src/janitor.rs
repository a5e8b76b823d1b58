//! One thread that unmounts and deletes, in the order in which it is told: what nobody should wait for.

use std::{
    sync::{Mutex, PoisonError, mpsc},
    thread::JoinHandle,
};

use crate::error::{Error, Result};

type Job = Box<dyn FnOnce() -> Result<()> + Send>;

pub(crate) struct Janitor {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Janitor {
    pub fn start() -> Result<Janitor> {
        let (jobs, todo) = mpsc::channel::<Job>();
        let thread = std::thread::Builder::new().name("store-janitor".to_owned()).spawn(move || {
            for job in todo {
                if let Err(error) = job() {
                    tracing::warn!("clean up: {error}");
                }
            }
        });
        let thread = thread.map_err(|error| Error::io("start the store's janitor".to_owned(), error))?;
        Ok(Janitor { jobs: Mutex::new(Some(jobs)), thread: Mutex::new(Some(thread)) })
    }

    pub fn give(&self, job: impl FnOnce() -> Result<()> + Send + 'static) {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        // After `finish` there is no store any more whose files could be in the way.
        if let Some(jobs) = jobs.as_ref() {
            let _ = jobs.send(Box::new(job));
        }
    }

    /// Waits until all that was given before is done.
    pub fn settle(&self) {
        let (done, wait) = mpsc::channel();
        self.give(move || {
            let _ = done.send(());
            Ok(())
        });
        let _ = wait.recv();
    }

    /// Does what was given, then ends.
    pub fn finish(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The last handle of the store may be dropped by a job.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}
