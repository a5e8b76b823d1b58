//! The engine behind sockets.

use std::{os::unix::fs::PermissionsExt, path::Path};

use anyhow::Context;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;

use crate::api::Api;

/// Listens on a unix socket that only the owner and the group may use. A socket file that nobody listens on is replaced.
pub fn bind(path: &Path) -> anyhow::Result<UnixListenerStream> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("make directory {}", dir.display()))?;
    }
    if path.exists() {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            anyhow::bail!("another daemon listens on {}", path.display());
        }
        std::fs::remove_file(path).with_context(|| format!("remove the old socket {}", path.display()))?;
    }
    let listener = UnixListener::bind(path).with_context(|| format!("listen on {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(UnixListenerStream::new(listener))
}

/// Serves `api` on each address until the process is told to end.
pub async fn serve(api: &Api, addresses: &[String]) -> anyhow::Result<()> {
    let mut servers = tokio::task::JoinSet::new();
    for address in addresses {
        let router = api.router();
        match address.split_once("://") {
            Some(("unix", path)) => {
                let listener = bind(Path::new(path))?;
                servers.spawn(async move { router.serve_with_incoming_shutdown(listener, ended()).await });
            }
            Some(("tcp", host)) => {
                let listener =
                    tokio::net::TcpListener::bind(host).await.with_context(|| format!("listen on {host}"))?;
                if !listener.local_addr()?.ip().is_loopback() {
                    anyhow::bail!(
                        "{address} can be reached from other machines: that needs TLS, which is not supported yet"
                    );
                }
                let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
                servers.spawn(async move { router.serve_with_incoming_shutdown(incoming, ended()).await });
            }
            _ => anyhow::bail!("address {address:?}: want unix:///path or tcp://host:port"),
        }
        eprintln!("pintle: listening on {address}");
    }
    while let Some(ended) = servers.join_next().await {
        ended??;
    }
    Ok(())
}

/// Ends when the process is told to.
async fn ended() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
