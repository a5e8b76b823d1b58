//! Sockets by address.

use std::{
    fmt,
    net::SocketAddr,
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    path::Path,
};

use anyhow::{Context, bail};
use rustix::net::AddressFamily;
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};

/// User and group of a socket's file, where they are not those of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Owner {
    /// User.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
}

/// A socket that listens.
pub enum Listener {
    /// With its path, or what stands for it.
    Unix(UnixListenerStream, String),
    /// With the address that it really has.
    Tcp(TcpListenerStream, SocketAddr),
}

impl Listener {
    /// Whether other machines may reach it.
    pub fn is_tcp(&self) -> bool {
        matches!(self, Listener::Tcp(..))
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listener::Unix(_, path) => write!(f, "unix://{path}"),
            Listener::Tcp(_, address) => write!(f, "tcp://{address}"),
        }
    }
}

/// Opens the sockets of an address; `fd://` may name several.
pub async fn open(address: &str, owner: Owner) -> anyhow::Result<Vec<Listener>> {
    match address.split_once("://") {
        Some(("unix", path)) => {
            let listener = bind(Path::new(path))?;
            std::os::unix::fs::chown(path, owner.uid, owner.gid)
                .with_context(|| format!("set the owner of the socket {path}"))?;
            Ok(vec![Listener::Unix(listener, path.to_string())])
        }
        Some(("tcp", host)) => {
            let listener = TcpListener::bind(host).await.with_context(|| format!("listen on {host}"))?;
            let address = listener.local_addr()?;
            Ok(vec![Listener::Tcp(TcpListenerStream::new(listener), address)])
        }
        Some(("fd", _)) => {
            let sockets = sys::activation::sockets().context("take the sockets of the service manager")?;
            if sockets.is_empty() {
                bail!("address {address:?}: no service manager gave this process a socket (LISTEN_FDS)");
            }
            sockets.into_iter().map(adopt).collect()
        }
        _ => bail!("address {address:?}: want unix:///path, tcp://host:port or fd://"),
    }
}

/// A socket that is open already.
fn adopt(socket: OwnedFd) -> anyhow::Result<Listener> {
    let family =
        rustix::net::getsockname(&socket).context("a descriptor of the service manager is no socket")?.address_family();
    match family {
        AddressFamily::UNIX => {
            let listener = std::os::unix::net::UnixListener::from(socket);
            listener.set_nonblocking(true)?;
            let path = listener
                .local_addr()?
                .as_pathname()
                .map_or("(service manager)".into(), |path| path.display().to_string());
            Ok(Listener::Unix(UnixListenerStream::new(UnixListener::from_std(listener)?), path))
        }
        AddressFamily::INET | AddressFamily::INET6 => {
            let listener = std::net::TcpListener::from(socket);
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok(Listener::Tcp(TcpListenerStream::new(TcpListener::from_std(listener)?), address))
        }
        other => bail!("a socket of the service manager has the family {other:?}: want unix or internet"),
    }
}

/// Listens on a unix socket that only the owner and the group may use. A socket file that nobody listens on is replaced.
pub fn bind(path: &Path) -> anyhow::Result<UnixListenerStream> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("make directory {}", dir.display()))?;
    }
    if path.exists() {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            bail!("another daemon listens on {}", path.display());
        }
        std::fs::remove_file(path).with_context(|| format!("remove the old socket {}", path.display()))?;
    }
    let listener = UnixListener::bind(path).with_context(|| format!("listen on {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(UnixListenerStream::new(listener))
}
