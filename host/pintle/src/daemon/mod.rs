//! The engine behind sockets.

mod listen;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use client::TlsFiles;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

use crate::api::Api;
pub use listen::bind;
use listen::{Listener, Owner};

/// A client that has not answered a ping for so long is gone.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection over which nothing came for so long is asked whether it is still there.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// How long a client has to show its certificate.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// Where and for whom to listen.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `unix:///path`, `tcp://host:port`, or `fd://` for the sockets of a service manager.
    pub addresses: Vec<String>,
    /// Our certificate and key, and what certificates of clients are checked against.
    pub tls: TlsFiles,
    /// Listen on TCP for anybody, from anywhere.
    pub allow_unauthenticated: bool,
    /// User and group of unix sockets.
    pub owner: Owner,
}

/// Serves `api` on each address until the process is told to end.
pub async fn serve(api: &Api, options: &Options) -> anyhow::Result<()> {
    let tls = tls_config(&options.tls)?;
    let mut servers = tokio::task::JoinSet::new();
    let mut listeners = Vec::new();
    for address in &options.addresses {
        for listener in listen::open(address, options.owner).await? {
            check(&listener, options)?;
            listeners.push(listener);
        }
    }
    for listener in listeners {
        let mut server = server();
        if let (Some(tls), true) = (&tls, listener.is_tcp()) {
            server = server.tls_config(tls.clone()).context("use the TLS files")?;
        }
        let router = api.serve_on(server);
        let shown = listener.to_string();
        match listener {
            Listener::Unix(incoming, _) => {
                servers.spawn(async move { router.serve_with_incoming_shutdown(incoming, ended()).await })
            }
            Listener::Tcp(incoming, _) => {
                servers.spawn(async move { router.serve_with_incoming_shutdown(incoming, ended()).await })
            }
        };
        eprintln!("pintle: listening on {shown}");
    }
    while let Some(ended) = servers.join_next().await {
        ended??;
    }
    Ok(())
}

fn server() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}

/// Who can reach the daemon can run anything on this machine: over a network, clients must show who they are.
fn check(listener: &Listener, options: &Options) -> anyhow::Result<()> {
    let Listener::Tcp(_, address) = listener else { return Ok(()) };
    let authenticated = options.tls.cert.is_some() && options.tls.ca.is_some();
    if authenticated || address.ip().is_loopback() || options.allow_unauthenticated {
        return Ok(());
    }
    bail!(
        "tcp://{address} can be reached from other machines, and anybody there could build as this user: give --tlscert, --tlskey \
         and --tlscacert, so that clients must have a certificate, or --allow-unauthenticated-tcp if the network is closed"
    )
}

/// `None` where no certificate is given.
fn tls_config(files: &TlsFiles) -> anyhow::Result<Option<ServerTlsConfig>> {
    let read = |path: &PathBuf| std::fs::read(path).with_context(|| format!("read {}", path.display()));
    let (cert, key) = match (&files.cert, &files.key) {
        (None, None) if files.ca.is_some() => bail!("--tlscacert alone is not enough: give --tlscert and --tlskey too"),
        (None, None) => return Ok(None),
        (Some(cert), Some(key)) => (read(cert)?, read(key)?),
        _ => bail!("a certificate and its key go together: --tlscert and --tlskey"),
    };
    let config = ServerTlsConfig::new().identity(Identity::from_pem(cert, key)).timeout(HANDSHAKE_TIMEOUT);
    Ok(Some(match &files.ca {
        Some(ca) => config.client_ca_root(Certificate::from_pem(read(ca)?)),
        None => config,
    }))
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
