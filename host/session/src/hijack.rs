//! A connection inside a gRPC stream: Control's Session call carries the bytes of an HTTP/2 connection in which the daemon is the
//! client and the caller the server.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream::BoxStream};
use proto::control::BytesMessage;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
};
use tokio_util::{io::StreamReader, sync::PollSender};
use tonic::Status;

/// Messages that may wait to be sent; each is at most [`WRITE_BYTES`] long.
const MESSAGES_WAITING: usize = 16;
/// The most bytes of one message. Peers accept 4 MiB at least.
const WRITE_BYTES: usize = 256 << 10;

/// One end of the connection, to be read and written like a socket.
pub struct Hijacked {
    read: StreamReader<BoxStream<'static, io::Result<Bytes>>, Bytes>,
    write: PollSender<BytesMessage>,
}

/// Makes a connection of the messages that come in; the messages to send come out of the receiver.
pub fn hijack<S>(incoming: S) -> (Hijacked, mpsc::Receiver<BytesMessage>)
where
    S: Stream<Item = Result<BytesMessage, Status>> + Send + 'static,
{
    let (send, outgoing) = mpsc::channel(MESSAGES_WAITING);
    let incoming = incoming.map(|message| message.map(|m| m.data).map_err(io::Error::other)).boxed();
    (Hijacked { read: StreamReader::new(incoming), write: PollSender::new(send) }, outgoing)
}

impl AsyncRead for Hijacked {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.read).poll_read(cx, buf)
    }
}

impl AsyncWrite for Hijacked {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        ready!(self.write.poll_reserve(cx)).map_err(gone)?;
        let data = &data[..data.len().min(WRITE_BYTES)];
        self.write.send_item(BytesMessage { data: Bytes::copy_from_slice(data) }).map_err(gone)?;
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write.close();
        Poll::Ready(Ok(()))
    }
}

impl tonic::transport::server::Connected for Hijacked {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;

    #[tokio::test]
    async fn carries_bytes_both_ways_and_ends() {
        let (to_a, for_a) = mpsc::channel(1);
        let (mut a, from_a) = hijack(ReceiverStream::new(for_a));
        let (mut b, mut from_b) = hijack(ReceiverStream::new(from_a).map(Ok));
        let forward = tokio::spawn(async move {
            while let Some(message) = from_b.recv().await {
                to_a.send(Ok(message)).await.unwrap();
            }
        });
        let data: Vec<u8> = (0..WRITE_BYTES * 3 + 7).map(|i| i as u8).collect();
        let (sent, back) = tokio::join!(
            async {
                a.write_all(&data).await.unwrap();
                a.shutdown().await.unwrap();
                let mut back = Vec::new();
                a.read_to_end(&mut back).await.unwrap();
                back
            },
            async {
                let mut got = Vec::new();
                b.read_to_end(&mut got).await.unwrap();
                b.write_all(&got[..10]).await.unwrap();
                b.shutdown().await.unwrap();
                got
            }
        );
        assert_eq!(back, data);
        assert_eq!(sent, data[..10]);
        forward.await.unwrap();
    }
}
