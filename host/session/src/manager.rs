//! The sessions that are open, by id.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt, stream::BoxStream};
use proto::control::BytesMessage;
use tokio::sync::watch;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, metadata::MetadataMap};

use crate::{
    Error, Session,
    embedded::{Dirs, Embedded},
    health,
    hijack::hijack,
    remote::GrpcSession,
    waiting,
};

/// How long a build waits for the session that it names. A client may send its request before it opens the session.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// All open sessions of an engine. Cheap to clone.
#[derive(Clone, Default)]
pub struct Manager(Arc<Shared>);

#[derive(Default)]
struct Shared {
    table: Mutex<Table>,
    /// Counts up when a session is opened.
    opened: watch::Sender<u64>,
}

#[derive(Default)]
struct Table {
    sessions: HashMap<String, Arc<dyn Session>>,
    dirs: HashMap<String, Dirs>,
}

/// Directories that are shared with the session of an id. Dropping it takes them back; sessions that are open keep theirs.
pub struct SharedDirs {
    manager: Manager,
    id: String,
}

impl Manager {
    /// A manager without sessions.
    pub fn new() -> Self {
        Manager::default()
    }

    /// Shares `dirs` with the session `id` that is about to be opened by a client in this process.
    pub fn share_dirs(&self, id: &str, dirs: Dirs) -> SharedDirs {
        self.table().dirs.insert(id.to_owned(), dirs);
        SharedDirs { manager: self.clone(), id: id.to_owned() }
    }

    /// Opens a session: takes the metadata and the stream of a Control.Session call and returns what the call answers. The session
    /// ends when either stream does, or when the client no longer answers.
    pub fn open<S>(
        &self,
        headers: &MetadataMap,
        incoming: S,
    ) -> Result<BoxStream<'static, Result<BytesMessage, Status>>, Error>
    where
        S: Stream<Item = Result<BytesMessage, Status>> + Send + 'static,
    {
        let (ended, has_ended) = tokio::sync::oneshot::channel::<()>();
        // Dropped with the stream, at its end or when the connection is lost.
        let incoming = incoming.chain(futures::stream::poll_fn(move |_| {
            let _ = &ended;
            std::task::Poll::Ready(None)
        }));
        let (connection, outgoing) = hijack(waiting::watched(incoming.boxed()));
        let session = Arc::new(GrpcSession::new(headers, connection)?);
        let registered = self.register(session.clone())?;
        tokio::spawn(async move {
            let _registered = registered;
            let reason = tokio::select! {
                _ = has_ended => "it closed the connection".to_owned(),
                reason = health::watch(session.clone()) => reason,
                reason = session.ended() => reason,
            };
            tracing::debug!(session = session.id(), reason, "session ended");
            session.end(&reason);
        });
        Ok(ReceiverStream::new(outgoing).map(Ok).boxed())
    }

    /// The session `id`. Waits up to `timeout` for it to be opened.
    pub async fn get(&self, id: &str, timeout: Duration) -> Result<Arc<dyn Session>, Error> {
        // The part before a colon only tells vertices apart; BuildKit's clients write it.
        let id = id.split_once(':').map_or(id, |(_, rest)| if rest.is_empty() { id } else { rest });
        let mut opened = self.0.opened.subscribe();
        let wait = async {
            loop {
                opened.borrow_and_update();
                if let Some(session) = self.table().sessions.get(id).cloned() {
                    return session;
                }
                if opened.changed().await.is_err() {
                    return std::future::pending().await;
                }
            }
        };
        let missing = |_| Error::Missing { id: id.to_owned(), seconds: timeout.as_secs() };
        tokio::time::timeout(timeout, wait).await.map_err(missing)
    }

    /// The ids of all open sessions.
    pub fn ids(&self) -> Vec<String> {
        self.table().sessions.keys().cloned().collect()
    }

    fn register(&self, session: Arc<GrpcSession>) -> Result<Registered, Error> {
        let id = session.id().to_owned();
        let mut table = self.table();
        if table.sessions.contains_key(&id) {
            return Err(Error::Duplicate(id));
        }
        let session: Arc<dyn Session> = match table.dirs.get(&id) {
            Some(dirs) => Arc::new(Embedded::new(session, dirs.clone())),
            None => session,
        };
        table.sessions.insert(id.clone(), session);
        drop(table);
        self.0.opened.send_modify(|count| *count += 1);
        Ok(Registered { manager: self.clone(), id })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's place in the table.
struct Registered {
    manager: Manager,
    id: String,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.manager.table().sessions.remove(&self.id);
    }
}

impl Drop for SharedDirs {
    fn drop(&mut self) {
        self.manager.table().dirs.remove(&self.id);
    }
}
