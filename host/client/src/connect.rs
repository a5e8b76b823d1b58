//! Ways to an engine.

use std::{path::PathBuf, time::Duration};

use hyper_util::rt::TokioIo;
use proto::control::control_client::ControlClient;
use session::metadata::HEADER_LIST_MAX_BYTES;
use tokio::net::UnixStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// How long an engine has to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// HTTP/2 flow control window: what may be on its way before the other end says that it has read.
pub(crate) const WINDOW_BYTES: u32 = 4 << 20;

/// A connection to an engine. Cheap to clone; closed when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Connection {
    channel: Channel,
}

/// Where an engine listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `unix:///run/pintle.sock`
    Unix(PathBuf),
    /// `tcp://host:port`
    Tcp(String),
}

/// Files in PEM form for a TCP connection with TLS. Without any of them the connection is not encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates that the engine's is checked against.
    pub ca: Option<PathBuf>,
    /// Our certificate.
    pub cert: Option<PathBuf>,
    /// Our private key.
    pub key: Option<PathBuf>,
    /// The name in the engine's certificate, when it is not the host's.
    pub server_name: Option<String>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ConnectError {
    #[error("address {address:?} is not understood: {hint}")]
    Address { address: String, hint: &'static str },
    #[error("cannot connect to {address}: {cause}; is the daemon running?")]
    Unreachable { address: String, cause: String },
    #[error("cannot read {}", path.display())]
    Tls { path: PathBuf, source: std::io::Error },
    #[error("a certificate and its key go together: {missing} is missing")]
    HalfIdentity { missing: &'static str },
    #[error("TLS files are of use with a tcp:// address only, not with {0:?}")]
    TlsWithoutTcp(String),
    #[error("the TLS files cannot be used: {0}")]
    BadTls(String),
}

/// The address that the environment names: `PINTLE_HOST`, else `BUILDKIT_HOST`. `var` looks a variable up.
pub fn address_from_env(var: impl Fn(&str) -> Option<String>) -> Option<String> {
    ["PINTLE_HOST", "BUILDKIT_HOST"].into_iter().find_map(|name| var(name).filter(|value| !value.is_empty()))
}

impl std::str::FromStr for Address {
    type Err = ConnectError;

    fn from_str(text: &str) -> Result<Self, ConnectError> {
        let bad = |hint| ConnectError::Address { address: text.to_owned(), hint };
        match text.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Ok(Address::Unix(path.into())),
            Some(("unix", _)) => Err(bad("a unix socket is named by its absolute path, unix:///run/pintle.sock")),
            Some(("tcp", host)) if has_port(host) => Ok(Address::Tcp(host.to_owned())),
            Some(("tcp", _)) => Err(bad("a TCP address has a host and a port, tcp://host:1234")),
            Some(_) => Err(bad("it begins with unix:// or tcp://")),
            None if text.starts_with('/') => Ok(Address::Unix(text.into())),
            None => Err(bad("it begins with unix:// or tcp://")),
        }
    }
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
            Address::Tcp(host) => write!(f, "tcp://{host}"),
        }
    }
}

impl Connection {
    /// An engine in this process, at the other end of `pipe`.
    pub fn embedded(pipe: tokio::io::DuplexStream) -> Connection {
        let mut pipe = Some(TokioIo::new(pipe));
        let connector = tower::service_fn(move |_| {
            std::future::ready(pipe.take().ok_or_else(|| std::io::Error::other("the engine has ended")))
        });
        Connection { channel: endpoint("http://pintle").connect_with_connector_lazy(connector) }
    }

    /// Connects to a daemon.
    pub async fn open(address: &Address, tls: &TlsFiles) -> Result<Connection, ConnectError> {
        let unreachable = |e: tonic::transport::Error| ConnectError::Unreachable {
            address: address.to_string(),
            cause: innermost(&e),
        };
        let channel = match address {
            Address::Unix(path) => {
                if *tls != TlsFiles::default() {
                    return Err(ConnectError::TlsWithoutTcp(address.to_string()));
                }
                let path = path.clone();
                let connector = tower::service_fn(move |_| {
                    let path = path.clone();
                    async move { UnixStream::connect(path).await.map(TokioIo::new) }
                });
                endpoint("http://pintle").connect_with_connector(connector).await.map_err(unreachable)?
            }
            Address::Tcp(host) => tcp_endpoint(host, tls).await?.connect().await.map_err(unreachable)?,
        };
        Ok(Connection { channel })
    }

    /// Asks the engine at `address` for its version: there is one, and it has taken this connection.
    pub async fn greet(&self, address: &Address) -> Result<(), ConnectError> {
        let unreachable = |status: tonic::Status| ConnectError::Unreachable {
            address: address.to_string(),
            cause: status.message().to_owned(),
        };
        self.control().info(proto::control::InfoRequest {}).await.map(drop).map_err(unreachable)
    }

    /// The connection as gRPC sees it.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(crate) fn control(&self) -> ControlClient<Channel> {
        ControlClient::new(self.channel.clone())
            .max_decoding_message_size(proto::MAX_MESSAGE_BYTES)
            .max_encoding_message_size(proto::MAX_MESSAGE_BYTES)
    }
}

fn endpoint(uri: &'static str) -> Endpoint {
    tuned(Endpoint::from_static(uri))
}

fn tuned(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES * 2)
        .http2_max_header_list_size(HEADER_LIST_MAX_BYTES)
}

async fn tcp_endpoint(host: &str, tls: &TlsFiles) -> Result<Endpoint, ConnectError> {
    let encrypted = *tls != TlsFiles::default();
    let scheme = if encrypted { "https" } else { "http" };
    let bad =
        |_| ConnectError::Address { address: format!("tcp://{host}"), hint: "the host has characters no host has" };
    let endpoint = tuned(Endpoint::from_shared(format!("{scheme}://{host}")).map_err(bad)?);
    if !encrypted {
        return Ok(endpoint);
    }
    let mut config = ClientTlsConfig::new();
    if let Some(ca) = &tls.ca {
        config = config.ca_certificate(Certificate::from_pem(read(ca).await?));
    }
    if let Some(name) = &tls.server_name {
        config = config.domain_name(name);
    }
    config = match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => config.identity(Identity::from_pem(read(cert).await?, read(key).await?)),
        (Some(_), None) => return Err(ConnectError::HalfIdentity { missing: "the key" }),
        (None, Some(_)) => return Err(ConnectError::HalfIdentity { missing: "the certificate" }),
        (None, None) => config,
    };
    endpoint.tls_config(config).map_err(|e| ConnectError::BadTls(innermost(&e)))
}

async fn read(path: &PathBuf) -> Result<Vec<u8>, ConnectError> {
    tokio::fs::read(path).await.map_err(|source| ConnectError::Tls { path: path.clone(), source })
}

/// The cause of the cause: transports wrap the one sentence that says something.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let good = [
            ("unix:///run/a.sock", Address::Unix("/run/a.sock".into())),
            ("/run/a.sock", Address::Unix("/run/a.sock".into())),
            ("tcp://127.0.0.1:1234", Address::Tcp("127.0.0.1:1234".into())),
            ("tcp://[::1]:1234", Address::Tcp("[::1]:1234".into())),
        ];
        for (text, want) in good {
            assert_eq!(text.parse::<Address>().unwrap(), want);
        }
        for bad in
            ["", "a.sock", "unix://a.sock", "tcp://host", "tcp://:1", "tcp://h:port", "npipe:////x", "http://h:1"]
        {
            let error = bad.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains("is not understood"), "{bad}: {error}");
        }
    }

    #[test]
    fn environment() {
        let env = |pairs: &'static [(&str, &str)]| {
            address_from_env(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string()))
        };
        assert_eq!(env(&[]), None);
        assert_eq!(env(&[("PINTLE_HOST", ""), ("BUILDKIT_HOST", "b")]).as_deref(), Some("b"));
        assert_eq!(env(&[("PINTLE_HOST", "p"), ("BUILDKIT_HOST", "b")]).as_deref(), Some("p"));
    }

    #[tokio::test]
    async fn failures_say_where_and_why() {
        let tmp = tempfile::tempdir().unwrap();
        let address = Address::Unix(tmp.path().join("none.sock"));
        let error = Connection::open(&address, &TlsFiles::default()).await.unwrap_err().to_string();
        assert!(error.contains("none.sock") && error.contains("No such file"), "{error}");
        let tls = TlsFiles { cert: Some("/dev/null".into()), ..TlsFiles::default() };
        let error = Connection::open(&Address::Tcp("127.0.0.1:1".into()), &tls).await.unwrap_err().to_string();
        assert!(error.contains("the key is missing"), "{error}");
        let error = Connection::open(&address, &tls).await.unwrap_err().to_string();
        assert!(error.contains("tcp://"), "{error}");
    }
}
