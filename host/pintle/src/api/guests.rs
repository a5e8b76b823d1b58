//! Other processes that use the engine of this one. What they build goes on when this process is done with its own.

use std::{io, sync::Arc, time::Duration};

use tokio::{net::UnixStream, sync::watch, task::JoinHandle};
use tokio_stream::{Stream, StreamExt, wrappers::UnixListenerStream};
use tonic::transport::server::Router;

use super::connection::{Accompanied, Companion};

/// How long other processes are waited for before that is said.
const NOTICE_AFTER: Duration = Duration::from_millis(300);

/// The processes that are connected, once for each connection. One that the kernel does not name is 0.
type Present = Arc<watch::Sender<Vec<i32>>>;

/// Serves other processes. Dropping it ends that: who is connected stays so, and nobody can come any more.
pub struct Guests {
    present: Present,
    listening: JoinHandle<()>,
}

impl Guests {
    /// Serves `router` to who comes.
    pub fn serve(router: Router, listener: UnixListenerStream) -> Guests {
        let present = Present::default();
        let incoming = welcome(listener, present.clone());
        let listening = tokio::spawn(async move {
            if let Err(error) = router.serve_with_incoming(incoming).await {
                tracing::debug!("no other process can join any longer: {error}");
            }
        });
        Guests { present, listening }
    }

    /// Who is here: numbers of processes, in order.
    fn present(&self) -> Vec<i32> {
        let mut processes = self.present.borrow().clone();
        processes.sort_unstable();
        processes.dedup();
        processes
    }

    /// Waits until everybody has left, and lets nobody in after that. Where that takes a while, the user is told.
    pub async fn gone(mut self) {
        self.empty().await;
        self.listening.abort();
        let _ = (&mut self.listening).await;
        // Who came at the last moment is served too: only now can nobody follow.
        self.empty().await;
    }

    async fn empty(&self) {
        let mut present = self.present.subscribe();
        // The sender lives as long as this does, so waiting cannot fail.
        let mut empty = std::pin::pin!(present.wait_for(Vec::is_empty));
        if tokio::time::timeout(NOTICE_AFTER, &mut empty).await.is_err() {
            eprintln!("{}", notice(&self.present()));
            let _ = empty.await;
        }
    }
}

/// Why this process does not end.
fn notice(processes: &[i32]) -> String {
    let list = processes.iter().map(i32::to_string).collect::<Vec<_>>().join(", ");
    match processes.len() {
        1 => format!("waiting for process {list}, which uses the engine of this one (Ctrl-C ends its build too)"),
        _ => format!("waiting for processes {list}, which use the engine of this one (Ctrl-C ends their builds too)"),
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Connections that are counted for as long as they last.
fn welcome(
    incoming: impl Stream<Item = io::Result<UnixStream>>,
    present: Present,
) -> impl Stream<Item = io::Result<Guest>> {
    incoming.map(move |stream| {
        let stream = stream?;
        let process = stream.peer_cred().ok().and_then(|peer| peer.pid()).unwrap_or_default();
        present.send_modify(|processes| processes.push(process));
        Ok(Accompanied::new(stream, Counted { process, present: present.clone() }))
    })
}

/// A connection of another process.
type Guest = Accompanied<UnixStream, Counted>;

/// A process among those that are present.
struct Counted {
    process: i32,
    present: Present,
}

impl Companion for Counted {}

impl Drop for Counted {
    fn drop(&mut self) {
        self.present.send_modify(|processes| {
            if let Some(at) = processes.iter().position(|process| *process == self.process) {
                processes.swap_remove(at);
            }
        });
    }
}
