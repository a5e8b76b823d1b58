//! The end of a daemon: builds that run may end, but not for ever.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::connection::{Accompanied, Companion};

/// How long builds may go on once the daemon is told to end. Service managers kill what is still there after 90 seconds (systemd),
/// and a daemon that is killed cannot unmount anything.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);
/// How long they may go on before that is said.
const NOTICE_AFTER: Duration = Duration::from_millis(300);

/// What is known of the daemon's end.
#[derive(Clone)]
pub struct Ending {
    told: CancellationToken,
    cut: CancellationToken,
}

impl Ending {
    /// Listens for SIGTERM and SIGINT from now on: at the first nobody can come any more, at the second, or after
    /// [`DRAIN_TIMEOUT`], who is there is sent away, which ends the builds.
    pub fn on_signals() -> io::Result<Ending> {
        let mut signals = Signals { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? };
        let ending = Ending { told: CancellationToken::new(), cut: CancellationToken::new() };
        let tokens = ending.clone();
        tokio::spawn(async move {
            signals.next().await;
            tokens.told.cancel();
            let patience = async {
                tokio::time::sleep(NOTICE_AFTER).await;
                eprintln!(
                    "pintle: builds still run: they have {} s to end; a second signal ends them now",
                    DRAIN_TIMEOUT.as_secs()
                );
                tokio::time::sleep(DRAIN_TIMEOUT).await;
            };
            tokio::select! {
                () = signals.next() => {}
                () = patience => {}
            }
            tokens.cut.cancel();
        });
        Ok(ending)
    }

    /// Ends when the daemon is told to.
    pub async fn told(self) {
        self.told.cancelled().await;
    }

    /// A connection that is cut when the time is over.
    pub fn watch<S>(&self, stream: S) -> Watched<S> {
        Accompanied::new(stream, Cut(Box::pin(self.cut.clone().cancelled_owned())))
    }
}

struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

/// See [`Ending::watch`].
pub type Watched<S> = Accompanied<S, Cut>;

/// The end of the time that connections have.
pub struct Cut(Pin<Box<WaitForCancellationFutureOwned>>);

impl Companion for Cut {
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.0.as_mut().poll(cx).map(|()| io::Error::new(io::ErrorKind::ConnectionAborted, "the daemon ends"))
    }
}
