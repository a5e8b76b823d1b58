//! The end of a daemon: builds that run may end, but not for ever.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

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
        Watched { stream, cut: Box::pin(self.cut.clone().cancelled_owned()) }
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
pub struct Watched<S> {
    stream: S,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<S: Connected> Connected for Watched<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the daemon ends")));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
