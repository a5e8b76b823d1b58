//! The engine in this process, reached through BuildKit's protocol over a pipe in memory; or a daemon's.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use build::{Config, Engine, Entitlement, Entitlements};
use client::{Address, ConnectError, Connection, TlsFiles};
use futures::{FutureExt, future::BoxFuture};
use tokio_stream::wrappers::UnixListenerStream;

use crate::{
    api::{Api, Guests, Stdio},
    frontends,
};

/// Bytes that the pipe holds: large enough that a context transfer does not stop for each message.
const PIPE_BYTES: usize = 1 << 20;

/// Where the engine is.
#[derive(Clone, Debug)]
pub struct Place {
    /// A daemon.
    pub addr: Option<String>,
    /// How to know a daemon that is reached by TCP, and be known by it.
    pub tls: TlsFiles,
    /// The store of an engine in this process.
    pub root: PathBuf,
    /// How an engine in this process is set up.
    pub config: crate::config::Config,
    /// What the process waits for before it ends.
    pub opened: Opened,
}

/// How long the end of the process waits for the engine: longer than a step that is cancelled takes to be killed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a process that holds the store may take until it can be joined, or has ended.
const JOIN_TIMEOUT: Duration = Duration::from_secs(20);
/// How often that is looked at.
const JOIN_PAUSE: Duration = Duration::from_millis(20);

/// The engine in this process, if one was opened.
#[derive(Clone, Default, Debug)]
pub struct Opened(Arc<Mutex<Option<Open>>>);

struct Open {
    /// Nobody can come where there is no socket to listen on.
    guests: Option<Guests>,
    /// Ends when the store is closed.
    closed: BoxFuture<'static, ()>,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Open")
    }
}

impl Opened {
    fn set(&self, guests: Option<Guests>, store: &store::Store) {
        let open = Open { guests, closed: store.closed().boxed() };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(open);
    }

    /// Waits until other processes are done with the engine, and the store is closed: steps that were cancelled are gone then, and
    /// nothing is mounted any longer.
    pub async fn closed(&self) {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Open { guests, closed }) = open else { return };
        if let Some(guests) = guests {
            guests.gone().await;
        }
        store_closed(closed).await;
    }
}

/// Waits for [`store::Store::closed`], but not for ever.
pub async fn store_closed(closed: impl Future<Output = ()>) {
    if tokio::time::timeout(CLOSE_TIMEOUT, closed).await.is_err() {
        tracing::warn!(
            "the store is still in use after {CLOSE_TIMEOUT:?}: what is mounted is undone by the next build"
        );
    }
}

/// A way to the engine.
pub enum Link {
    /// The engine is in this process; the connection leads to it, and sessions can share directories with it.
    Embedded { connection: Connection, api: Api },
    /// The engine is elsewhere.
    Remote { connection: Connection },
}

impl Link {
    /// Connects to the daemon, or opens the engine here. When another process has the store, that one is joined.
    pub async fn open(place: &Place) -> anyhow::Result<Self> {
        if let Some(addr) = &place.addr {
            return Ok(Link::Remote { connection: Connection::open(&addr.parse()?, &place.tls).await? });
        }
        let begun = Instant::now();
        loop {
            let held = match engine(place, Entitlement::all()) {
                Ok(engine) => return Ok(Link::embedded(engine, place)),
                Err(error) => error,
            };
            let Some(store::Error::Held { pid, .. }) = held.downcast_ref() else { return Err(held) };
            // The other process may be about to listen, or about to end.
            match join(&place.root).await {
                Ok(connection) => return Ok(Link::Remote { connection }),
                Err(error) if begun.elapsed() > JOIN_TIMEOUT => {
                    return Err(anyhow::Error::new(error).context(format!(
                        "the store {} is held by process {pid}, which cannot be joined (a daemon is reached with --addr)",
                        place.root.display()
                    )));
                }
                Err(_) => tokio::time::sleep(JOIN_PAUSE).await,
            }
        }
    }

    fn embedded(engine: Engine, place: &Place) -> Self {
        let api = Api::new(engine);
        let guests = listen_beside(&place.root).map(|listener| Guests::serve(api.router(), listener));
        place.opened.set(guests, api.engine.store());
        Link::Embedded { connection: pipe(&api), api }
    }

    /// The connection.
    pub fn connection(&self) -> &Connection {
        match self {
            Link::Embedded { connection, .. } | Link::Remote { connection } => connection,
        }
    }

    /// Ends well: what the engine still has in memory goes to disk.
    pub async fn close(self) -> anyhow::Result<()> {
        if let Link::Embedded { api, .. } = self {
            api.engine.store().flush().await?;
        }
        Ok(())
    }
}

/// The engine over the store of `place`, which grants `entitlements` to builds that ask.
pub fn engine(place: &Place, entitlements: Entitlements) -> anyhow::Result<Engine> {
    let configured = &place.config;
    let parallel = || std::thread::available_parallelism().map_or(4, |cores| cores.get() * 2);
    let config = Config {
        root: place.root.clone(),
        executor: std::env::var("PINTLE_EXECUTOR").ok().or_else(|| configured.executor.clone()),
        snapshotter: std::env::var("PINTLE_SNAPSHOTTER").ok().or_else(|| configured.snapshotter.clone()),
        max_bytes: configured.max_bytes(),
        registries: configured.registries(),
        max_parallel: configured.max_parallelism.unwrap_or_else(parallel),
        entitlements,
        labels: configured.labels.clone(),
        networks: configured.network.clone().into(),
        dns: Arc::new(configured.dns.clone().into()),
        cdi: configured.cdi.clone().into(),
        cgroup_parent: configured.default_cgroup_parent.clone(),
    };
    let frontends =
        frontends::shipped(&place.root, configured.frontends(), configured.limits())?.with_gateway(Arc::new(Stdio));
    Engine::open(&config, frontends)
}

/// Where an embedded engine listens for others that want the same store.
fn socket(root: &Path) -> PathBuf {
    root.join("pintle.sock")
}

/// Where other processes can join who has the store. It is not fatal when that cannot be had.
pub fn listen_beside(root: &Path) -> Option<UnixListenerStream> {
    let listener = crate::daemon::bind(&socket(root));
    listener.inspect_err(|error| tracing::debug!("no other process can join: {error:#}")).ok()
}

/// A connection to the engine of the process that has the store. It answers, so that process counts us among those it waits for.
async fn join(root: &Path) -> Result<Connection, ConnectError> {
    let address = Address::Unix(socket(root));
    let connection = Connection::open(&address, &TlsFiles::default()).await?;
    connection.greet(&address).await?;
    Ok(connection)
}

/// A connection to `api` through memory.
fn pipe(api: &Api) -> Connection {
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    let router = api.router();
    tokio::spawn(async move { router.serve_with_incoming(tokio_stream::once(Ok::<_, std::io::Error>(far))).await });
    Connection::embedded(near)
}
