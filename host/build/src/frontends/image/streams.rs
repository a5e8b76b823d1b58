//! The streams of a frontend that is a process: gRPC over standard input and output, and standard error for the user.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use exec::{Exit, Io, Sink};
use frontend::{Bridge, Error, Output, Request};
use futures::FutureExt;
use tokio::{
    io::{AsyncRead, AsyncWriteExt, DuplexStream, ReadBuf, ReadHalf, WriteHalf},
    sync::{mpsc, oneshot},
};

use super::{GatewayCall, ImageFrontend, process::Prepared};
use crate::{
    Journal,
    bridge::{failed, lock},
    journal::Activity,
};

/// What waits between a process and whoever answers it, in bytes.
const PIPE_BYTES: usize = 256 << 10;
/// Pieces of output that wait to be read; then the process waits too.
const PIECES_WAITING: usize = 16;
/// What a client of gRPC says first (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Why the connection was closed.
const NO_GRPC: &str = "what it wrote on its standard output is no gRPC, and the connection was closed";
/// How much of other output an error shows, in bytes.
const SHOWN_BYTES: usize = 80;
/// How much of standard error is kept for an error, in bytes.
const TAIL_BYTES: usize = 1 << 10;

/// Runs the process to its end, and answers what it asks meanwhile.
pub(super) async fn converse(
    frontend: &ImageFrontend,
    prepared: Prepared,
    bridge: Arc<dyn Bridge>,
    request: Request,
) -> Result<Output, Error> {
    let state = &frontend.bridge.state;
    let name = frontend.shown().to_owned();
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    let idle = frontend.settings.idle;
    let worker = state.engine.worker();
    let served =
        frontend.gateway.serve(GatewayCall { name: name.clone(), bridge, request, worker, stream: near, idle });
    let (stdin, to_server) = tokio::io::split(far);
    let (closed, was_closed) = oneshot::channel();
    let (pieces, written) = mpsc::channel(PIECES_WAITING);
    let errors = Arc::new(Errors::new(&name, &state.journal));
    let io = Io {
        stdin: Some(Box::new(Input { from: stdin, closed: Some(closed) })),
        stdout: Some(hand_on(pieces)),
        stderr: Some(errors.clone().sink()),
        ..Io::default()
    };
    let ran = prepared.container.run(prepared.op, false, io);
    let talk = Talk { name: &name, served, heard: hear(written, to_server), closed: was_closed, ran, idle };
    let outcome = talk.run().await;
    let outcome = outcome.map_err(|ended| ended.error(&name, &errors, prepared.lacks_network));
    errors.end(&outcome);
    outcome
}

/// What a process reads, which tells when there is no more of it.
struct Input {
    from: ReadHalf<DuplexStream>,
    closed: Option<oneshot::Sender<()>>,
}

impl AsyncRead for Input {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = to.filled().len();
        let read = ready!(Pin::new(&mut self.from).poll_read(cx, to));
        if to.filled().len() == before
            && let Some(closed) = self.closed.take()
        {
            // The call may have ended already.
            let _ = closed.send(());
        }
        Poll::Ready(read)
    }
}

/// Hands pieces of output on; the process waits while nobody takes them.
fn hand_on(pieces: mpsc::Sender<Bytes>) -> Sink {
    Box::new(move |data| {
        let piece = Bytes::copy_from_slice(data);
        // Nobody takes them any longer once the call has failed; the process ends then.
        tokio::task::block_in_place(|| drop(pieces.blocking_send(piece)));
    })
}

/// Hands what a process writes on to the server, if it is gRPC.
async fn hear(mut from: mpsc::Receiver<Bytes>, mut to: WriteHalf<DuplexStream>) -> Result<(), String> {
    let mut begun = Vec::with_capacity(PREFACE.len());
    while let Some(piece) = from.recv().await {
        let missing = PREFACE.len() - begun.len();
        begun.extend_from_slice(&piece[..piece.len().min(missing)]);
        if !PREFACE.starts_with(&begun) {
            let shown = String::from_utf8_lossy(&piece[..piece.len().min(SHOWN_BYTES)]).into_owned();
            return Err(format!(
                "its standard output begins with {shown:?}, and gRPC is expected there: is it a frontend? What is \
                 meant for the user belongs on standard error"
            ));
        }
        if to.write_all(&piece).await.is_err() {
            return Err(NO_GRPC.into());
        }
    }
    // It is no error that nobody listens to the end.
    let _ = to.shutdown().await;
    Ok(())
}

/// What goes on while a process runs.
struct Talk<'a, S, H, R> {
    name: &'a str,
    served: S,
    heard: H,
    /// Whoever answers has hung up.
    closed: oneshot::Receiver<()>,
    ran: R,
    idle: Duration,
}

/// How it ended without a result.
enum Ended {
    /// The frontend itself, or what it asked for, failed.
    Failed(Error),
    /// The process ended, or was ended.
    Process(String),
}

impl<S, H, R> Talk<'_, S, H, R>
where
    S: Future<Output = Result<Output, Error>>,
    H: Future<Output = Result<(), String>>,
    R: Future<Output = anyhow::Result<Exit>>,
{
    /// An error that the frontend returned goes before how its process ended, and that before a result. Returning drops, and so kills,
    /// a process that still runs.
    async fn run(self) -> Result<Output, Ended> {
        let Talk { name, served, heard, closed, ran, idle } = self;
        tokio::pin!(served, heard, ran);
        let mut closed = closed.fuse();
        let mut result = None;
        let mut heard_all = false;
        let exit = loop {
            tokio::select! {
                biased;
                answer = &mut served, if result.is_none() => result = Some(answer.map_err(Ended::Failed)?),
                all = &mut heard, if !heard_all => {
                    all.map_err(Ended::Process)?;
                    heard_all = true;
                }
                Ok(()) = &mut closed, if result.is_none() && !heard_all => return Err(Ended::Process(NO_GRPC.into())),
                exit = &mut ran => break exit,
                () = tokio::time::sleep(idle), if result.is_some() => {
                    return Err(Ended::Process(format!("it still ran {idle:?} after it had returned its result")));
                }
            }
        };
        let exit =
            exit.map_err(|cause| Ended::Failed(failed("build-failed", format!("frontend {name}: {cause:#}"))))?;
        if !heard_all {
            heard.await.map_err(Ended::Process)?;
        }
        if result.is_none() {
            result = served.now_or_never().transpose().map_err(Ended::Failed)?;
        }
        let code = ops::exit_code(exit);
        match result {
            Some(output) if code == 0 => Ok(output),
            Some(_) => {
                Err(Ended::Process(format!("its process failed with exit code {code} after it had returned a result")))
            }
            None => Err(Ended::Process(format!("its process ended with exit code {code} before it returned a result"))),
        }
    }
}

impl Ended {
    fn error(self, name: &str, errors: &Errors, lacks_network: bool) -> Error {
        let why = match self {
            Ended::Failed(error) => return error,
            Ended::Process(why) => why,
        };
        let mut message = format!("frontend {name}: {why}");
        if let Some(last) = errors.last_line() {
            message.push_str(&format!(": {last}"));
        }
        if lacks_network {
            message.push_str(" (it ran without a network: frontends.image.network of the configuration grants one)");
        }
        failed("build-failed", message)
    }
}

/// Standard error of a process: shown to the user once there is any, and its end kept for an error.
struct Errors {
    name: String,
    journal: Journal,
    activity: OnceLock<Activity>,
    tail: Mutex<Vec<u8>>,
}

impl Errors {
    fn new(name: &str, journal: &Journal) -> Errors {
        Errors { name: name.into(), journal: journal.clone(), activity: OnceLock::new(), tail: Mutex::default() }
    }

    fn sink(self: Arc<Self>) -> Sink {
        Box::new(move |data| self.write(data))
    }

    fn write(&self, data: &[u8]) {
        self.activity.get_or_init(|| self.journal.activity(&format!("[frontend] {}", self.name))).output(data);
        let mut tail = lock(&self.tail);
        tail.extend_from_slice(&data[data.len().saturating_sub(TAIL_BYTES)..]);
        let excess = tail.len().saturating_sub(TAIL_BYTES);
        tail.drain(..excess);
    }

    fn last_line(&self) -> Option<String> {
        let tail = String::from_utf8_lossy(&lock(&self.tail)).into_owned();
        tail.lines().map(str::trim).rfind(|line| !line.is_empty()).map(String::from)
    }

    fn end(self: Arc<Self>, outcome: &Result<Output, Error>) {
        let activity = Arc::into_inner(self).and_then(|errors| errors.activity.into_inner());
        if let Some(activity) = activity {
            activity.end(outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    async fn heard(pieces: &[&[u8]]) -> (Result<(), String>, Vec<u8>) {
        let (mut near, far) = tokio::io::duplex(1 << 10);
        let (_read, write) = tokio::io::split(far);
        let (sender, receiver) = mpsc::channel(pieces.len().max(1));
        for piece in pieces {
            sender.send(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        drop(sender);
        let outcome = hear(receiver, write).await;
        drop(_read);
        let mut got = Vec::new();
        near.read_to_end(&mut got).await.unwrap();
        (outcome, got)
    }

    #[tokio::test]
    async fn grpc_is_handed_on_in_whatever_pieces_it_comes() {
        for cut in 0..PREFACE.len() {
            let (first, second) = PREFACE.split_at(cut);
            let (outcome, got) = heard(&[first, second, b"more"]).await;
            assert_eq!(outcome, Ok(()), "cut at {cut}");
            assert_eq!(got, [PREFACE, b"more"].concat());
        }
        assert_eq!(heard(&[]).await, (Ok(()), Vec::new()));
    }

    #[tokio::test]
    async fn other_output_is_shown() {
        for pieces in [&[b"hello\n".as_slice()][..], &[b"PRI * ", b"hello\n"]] {
            let (outcome, got) = heard(pieces).await;
            assert!(outcome.unwrap_err().contains(r#"begins with "hello\n""#));
            assert!(!got.ends_with(b"hello\n"));
        }
        let long = heard(&[&[b'x'; 10_000]]).await.0.unwrap_err();
        assert!(long.len() < 400, "{long}");
    }

    #[test]
    fn the_last_line_is_kept() {
        let errors = Errors::new("a", &Journal::default());
        assert_eq!(errors.last_line(), None);
        errors.write(&[b'x'; 3 * TAIL_BYTES]);
        errors.write(b"\nthe ");
        errors.write(b"end\n\n");
        assert_eq!(errors.last_line().as_deref(), Some("the end"));
        assert!(lock(&errors.tail).len() <= TAIL_BYTES);
    }
}
