//! The server behind sockets: pings, and certificates.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use client::TlsFiles;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

/// A client that has not answered a ping for so long is gone.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection over which nothing came for so long is asked whether it is still there.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// How long a client has to show its certificate.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// A server for clients of sockets, with certificates where `tls` has them.
pub fn new(tls: Option<&ServerTlsConfig>) -> anyhow::Result<Server> {
    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT));
    match tls {
        Some(tls) => server.tls_config(tls.clone()).context("use the TLS files"),
        None => Ok(server),
    }
}

/// `None` where no certificate is given.
pub fn tls(files: &TlsFiles) -> anyhow::Result<Option<ServerTlsConfig>> {
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
