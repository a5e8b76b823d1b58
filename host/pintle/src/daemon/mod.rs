//! The engine behind sockets.

mod listen;

use std::io;

use anyhow::bail;
use client::TlsFiles;
use tokio_stream::{Stream, StreamExt, wrappers::UnixListenerStream};

use crate::api::{Api, Ending, Watched, server};
pub use listen::bind;
use listen::{Listener, Owner};

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

/// Serves `api` on each address, and on `beside`, where processes come that want the same store, until the process is told to end, and the builds that run then have ended, well or not.
pub async fn serve(api: &Api, options: &Options, beside: Option<UnixListenerStream>) -> anyhow::Result<()> {
    let tls = server::tls(&options.tls)?;
    let ending = Ending::on_signals()?;
    let mut servers = tokio::task::JoinSet::new();
    let mut listeners = Vec::new();
    for address in &options.addresses {
        for listener in listen::open(address, options.owner).await? {
            check(&listener, options)?;
            listeners.push(listener);
        }
    }
    listeners.iter().for_each(|listener| eprintln!("pintle: listening on {listener}"));
    listeners.extend(beside.map(|incoming| Listener::Unix(incoming, String::new())));
    for listener in listeners {
        let router = api.serve_on(server::new(tls.as_ref().filter(|_| listener.is_tcp()))?);
        match listener {
            Listener::Unix(incoming, _) => servers
                .spawn(router.serve_with_incoming_shutdown(watched(incoming, ending.clone()), ending.clone().told())),
            Listener::Tcp(incoming, _) => servers
                .spawn(router.serve_with_incoming_shutdown(watched(incoming, ending.clone()), ending.clone().told())),
        };
    }
    while let Some(ended) = servers.join_next().await {
        ended??;
    }
    Ok(())
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

fn watched<S>(
    incoming: impl Stream<Item = io::Result<S>>,
    ending: Ending,
) -> impl Stream<Item = io::Result<Watched<S>>> {
    incoming.map(move |stream| stream.map(|stream| ending.watch(stream)))
}
