//! A stream that nobody reads yet, watched all the same: its end shows at once.

use futures::{Stream, StreamExt};
use tokio::sync::oneshot;

/// Messages that are taken before anybody reads. A client's HTTP/2 server says a few words by itself.
const EARLY_MAX: usize = 8;

/// The same stream. It is dropped as soon as it ends, even if that is before it is first read.
pub(crate) fn watched<S>(stream: S) -> impl Stream<Item = S::Item> + Send + 'static
where
    S: Stream + Send + Unpin + 'static,
    S::Item: Send,
{
    let (want, wanted) = oneshot::channel::<()>();
    let early = tokio::spawn(wait(stream, wanted));
    let handed_over = async move {
        drop(want);
        early.await.ok()
    };
    futures::stream::once(handed_over)
        .filter_map(std::future::ready)
        .flat_map(|(early, rest)| futures::stream::iter(early).chain(futures::stream::iter(rest).flatten()))
}

/// Takes messages until the stream is wanted; answers them, and the rest unless that is over.
async fn wait<S: Stream + Unpin>(mut stream: S, mut wanted: oneshot::Receiver<()>) -> (Vec<S::Item>, Option<S>) {
    let mut early = Vec::new();
    while early.len() < EARLY_MAX {
        tokio::select! {
            biased;
            _ = &mut wanted => return (early, Some(stream)),
            message = stream.next() => match message {
                Some(message) => early.push(message),
                None => return (early, None),
            },
        }
    }
    // The other end of the channel is let go without a word.
    let _ = wanted.await;
    (early, Some(stream))
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::UnboundedReceiverStream;

    use super::*;

    #[tokio::test]
    async fn nothing_is_lost_and_the_order_stays() {
        for early in [0, 1, EARLY_MAX - 1, EARLY_MAX, 3 * EARLY_MAX] {
            let (send, stream) = mpsc::unbounded_channel();
            let watched = watched(UnboundedReceiverStream::new(stream));
            (0..early).for_each(|number| send.send(number).unwrap());
            tokio::task::yield_now().await;
            (early..early + 5).for_each(|number| send.send(number).unwrap());
            drop(send);
            let read: Vec<usize> = watched.collect().await;
            assert_eq!(read, (0..early + 5).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn an_end_before_the_first_reader_shows() {
        let (send, stream) = mpsc::unbounded_channel();
        let (dropped, is_dropped) = oneshot::channel::<()>();
        let stream = UnboundedReceiverStream::new(stream).chain(futures::stream::poll_fn(move |_| {
            let _ = &dropped;
            std::task::Poll::Ready(None)
        }));
        let watched = watched(stream);
        send.send(1).unwrap();
        drop(send);
        is_dropped.await.unwrap_err();
        assert_eq!(watched.collect::<Vec<_>>().await, [1]);
    }
}
