//! An HTTP/1.1 server on loopback that does as it is told, also what no good server would: cut answers off, lie about digests, ask for a
//! login. Real servers cannot be made to. Each connection carries one request.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

use crate::digest_of;

/// What a client asked.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Without the question mark; as sent.
    pub query: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Bytes,
}

impl Request {
    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or("")
    }

    /// The values of a query parameter.
    pub fn param(&self, name: &str) -> Vec<String> {
        let pairs = url::form_urlencoded::parse(self.query.as_bytes());
        pairs.filter(|(key, _)| key == name).map(|(_, value)| value.into_owned()).collect()
    }

    /// `GET /v2/a/manifests/b`.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// What the server answers.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    /// Closes the connection after this many bytes of the body; its whole length is still announced.
    pub cut: Option<usize>,
}

impl Response {
    /// An answer without a body.
    pub fn status(status: u16) -> Response {
        Response { status, ..Response::default() }
    }

    /// 200 with a body.
    pub fn ok(body: impl Into<Bytes>) -> Response {
        Response { status: 200, body: body.into(), ..Response::default() }
    }

    /// With one more header.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Response {
        self.headers.push((name.to_string(), value.into()));
        self
    }

    /// Cut off after `bytes` of the body.
    pub fn cut(self, bytes: usize) -> Response {
        Response { cut: Some(bytes), ..self }
    }
}

/// A running server. Stops when it is dropped.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    log: Arc<Mutex<Vec<Request>>>,
    task: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Starts a server that answers as `answer` says.
    pub async fn start(answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port on loopback");
        let address = listener.local_addr().expect("its address");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (answer, requests) = (Arc::new(answer), log.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, requests) = (answer.clone(), requests.clone());
                tokio::spawn(async move {
                    // A client that goes away is no trouble of the server.
                    let _ = serve(stream, |request| {
                        requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
                        answer(request)
                    })
                    .await;
                });
            }
        });
        Server { address, log, task: task.abort_handle() }
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Method and path of all requests so far.
    pub fn lines(&self) -> Vec<String> {
        self.requests().iter().map(Request::line).collect()
    }
}

async fn serve(stream: TcpStream, answer: impl FnOnce(&Request) -> Response) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let request = read_request(&mut stream).await?;
    let response = answer(&request);
    let mut head = format!("HTTP/1.1 {} x\r\nconnection: close\r\n", response.status);
    let has_length = response.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    if !has_length {
        head.push_str(&format!("content-length: {}\r\n", response.body.len()));
    }
    for (name, value) in &response.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await?;
    if request.method != "HEAD" {
        let end = response.cut.unwrap_or(response.body.len()).min(response.body.len());
        stream.write_all(&response.body[..end]).await?;
    }
    stream.flush().await?;
    stream.shutdown().await
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> std::io::Result<Request> {
    let mut request = Request::default();
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let mut words = line.split_whitespace();
    request.method = words.next().unwrap_or_default().to_string();
    let target = words.next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    (request.path, request.query) = (path.to_string(), query.to_string());
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        request.headers.insert(name.to_lowercase(), value.trim().to_string());
    }
    let mut body = vec![0; request.header("content-length").parse().unwrap_or(0)];
    stream.read_exact(&mut body).await?;
    request.body = body.into();
    Ok(request)
}

/// Blobs and manifests of a registry, and the answers of one that works.
#[derive(Clone, Default)]
pub struct Content {
    blobs: BTreeMap<String, Bytes>,
    /// By digest, and by tag: media type and bytes.
    manifests: BTreeMap<String, (String, Bytes)>,
}

impl Content {
    /// Adds a blob; its digest.
    pub fn blob(&mut self, bytes: impl Into<Bytes>) -> String {
        let bytes = bytes.into();
        let digest = digest_of(&bytes);
        self.blobs.insert(digest.clone(), bytes);
        digest
    }

    /// Adds a manifest under its digest and, where one is given, a tag; its digest.
    pub fn manifest(&mut self, tag: Option<&str>, media_type: &str, bytes: impl Into<Bytes>) -> String {
        let bytes = bytes.into();
        let digest = digest_of(&bytes);
        for name in tag.into_iter().chain([digest.as_str()]) {
            self.manifests.insert(name.to_string(), (media_type.to_string(), bytes.clone()));
        }
        digest
    }

    /// All blobs and manifests, each with its media type.
    pub fn all(&self) -> Vec<(String, Bytes)> {
        let blobs = self.blobs.values().map(|bytes| ("application/octet-stream".to_string(), bytes.clone()));
        blobs.chain(self.manifests.values().cloned()).collect()
    }

    /// What a good registry answers, for reads in any repository.
    pub fn answer(&self, request: &Request) -> Response {
        let name = request.path.rsplit('/').next().unwrap_or_default();
        if request.path.contains("/manifests/") {
            let Some((media_type, bytes)) = self.manifests.get(name) else { return Response::status(404) };
            return Response::ok(bytes.clone())
                .with("content-type", media_type)
                .with("docker-content-digest", digest_of(bytes));
        }
        let Some(bytes) = self.blobs.get(name) else { return Response::status(404) };
        let range = request.header("range").strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
        let from: Option<usize> = range.and_then(|from| from.parse().ok());
        match from {
            Some(from) if from < bytes.len() => Response { status: 206, ..Response::ok(bytes.slice(from..)) }
                .with("content-range", format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len())),
            Some(_) => Response::status(416),
            None => Response::ok(bytes.clone()),
        }
    }
}
