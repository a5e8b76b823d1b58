//! Writing to a registry: blobs in one piece, mounted from another repository where they are there, and manifests.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt as _, Stream, StreamExt as _};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;
use url::Url;

use crate::{
    Manifest, Repository,
    client::{Call, Tries},
    error::{Kind, Result},
    hosts::Endpoint,
};

/// How much of a blob is handed to the connection at once, in bytes.
const CHUNK_BYTES: usize = 256 << 10;

/// The bytes of a blob that is pushed. Opened anew for each try.
#[async_trait]
pub trait BlobSource: Send + Sync {
    /// The bytes from the start.
    async fn open(&self) -> anyhow::Result<Box<dyn AsyncRead + Send + Unpin>>;
}

#[async_trait]
impl BlobSource for PathBuf {
    async fn open(&self) -> anyhow::Result<Box<dyn AsyncRead + Send + Unpin>> {
        let file = tokio::fs::File::open(self).await;
        Ok(Box::new(file.map_err(|error| anyhow::anyhow!("cannot open {}: {error}", self.display()))?))
    }
}

#[async_trait]
impl BlobSource for Bytes {
    async fn open(&self) -> anyhow::Result<Box<dyn AsyncRead + Send + Unpin>> {
        Ok(Box::new(std::io::Cursor::new(self.clone())))
    }
}

/// How a blob came to be in the repository.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pushed {
    /// It was there.
    Existed,
    /// The registry took it from another of its repositories.
    Mounted,
    /// Its bytes were sent.
    Uploaded,
}

/// Bytes sent so far.
pub(crate) type Progress = Arc<dyn Fn(u64) + Send + Sync>;

/// What a request carries.
pub(crate) enum Body<'a> {
    Empty,
    Bytes(Bytes),
    Stream { source: &'a dyn BlobSource, size: u64, progress: Progress },
}

/// What went wrong on this side while a body was sent, if anything did.
#[derive(Default, Clone)]
pub(crate) struct Trouble(Arc<Mutex<Option<anyhow::Error>>>);

impl Trouble {
    pub(crate) fn take(&self) -> Option<anyhow::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, error: &std::io::Error) {
        let text = anyhow::anyhow!("reading what is pushed: {error}");
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }
}

impl Body<'_> {
    pub(crate) async fn attach(
        &self,
        request: reqwest::RequestBuilder,
    ) -> anyhow::Result<(reqwest::RequestBuilder, Trouble)> {
        let trouble = Trouble::default();
        let request = match self {
            Body::Empty => request,
            Body::Bytes(bytes) => request.body(bytes.clone()),
            Body::Stream { source, size, progress } => {
                let reader = source.open().await?;
                let stream = counted(reader, *size, progress.clone(), trouble.clone());
                request.header(header::CONTENT_LENGTH, *size).body(reqwest::Body::wrap_stream(stream))
            }
        };
        Ok((request, trouble))
    }
}

/// The bytes of `reader`, which should be `size`: notes what goes wrong, and how far it got.
fn counted(
    reader: Box<dyn AsyncRead + Send + Unpin>,
    size: u64,
    progress: Progress,
    trouble: Trouble,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    let start = (ReaderStream::with_capacity(reader, CHUNK_BYTES), 0u64);
    futures::stream::try_unfold(start, move |(mut chunks, sent)| {
        let (progress, trouble) = (progress.clone(), trouble.clone());
        async move {
            let next = match chunks.next().await {
                None if sent == size => return Ok(None),
                None => Err(std::io::Error::other(format!("it ends after {sent} of {size} bytes"))),
                Some(Ok(bytes)) if sent + bytes.len() as u64 > size => {
                    Err(std::io::Error::other(format!("it is longer than {size} bytes")))
                }
                Some(next) => next,
            };
            let bytes = next.inspect_err(|error| trouble.note(error))?;
            let sent = sent + bytes.len() as u64;
            progress(sent);
            Ok(Some((bytes, (chunks, sent))))
        }
    })
}

impl Repository {
    /// Puts a blob where it is not there yet. `mount_from` are repositories of the same registry that may have it. `progress` gets the
    /// bytes sent; on a retry it starts again.
    pub async fn push_blob(
        &self,
        digest: &str,
        size: u64,
        source: &dyn BlobSource,
        mount_from: &[&str],
        progress: Arc<dyn Fn(u64) + Send + Sync>,
    ) -> Result<Pushed> {
        self.first(self.to_write()?, |at| {
            let progress = progress.clone();
            async move {
                let _permit = at.live.writes.clone().acquire_owned().await.ok();
                if self.has_blob(&at, digest).await? {
                    return Ok(Pushed::Existed);
                }
                for from in mount_from.iter().filter(|from| **from != self.reference.repository()) {
                    match self.mount(&at, digest, from).await {
                        Some(Start::Mounted) => return Ok(Pushed::Mounted),
                        Some(Start::Upload(location)) => {
                            // A mount that the registry will not do is the start of an upload: nothing more need be asked.
                            return self.upload(&at, digest, size, source, progress.clone(), Some(location)).await;
                        }
                        None => {}
                    }
                }
                self.upload(&at, digest, size, source, progress.clone(), None).await
            }
            .boxed()
        })
        .await
    }

    async fn has_blob(&self, at: &Endpoint, digest: &str) -> Result<bool> {
        let mut call = self.blob_call(at, Method::HEAD, digest, 0);
        call.scopes = self.push_scopes(at);
        match self.client.send(at, &call).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn push_scopes(&self, at: &Endpoint) -> Vec<String> {
        vec![self.scope(at, self.reference.repository(), "pull,push")]
    }

    /// Asks for the blob to be taken from another repository. `None` when that was refused: it is only a short cut.
    async fn mount(&self, at: &Endpoint, digest: &str, from: &str) -> Option<Start> {
        let mut scopes = self.push_scopes(at);
        scopes.push(self.scope(at, from, "pull"));
        scopes.sort();
        let mut call = self.start_call(at, digest, scopes);
        call.url.query_pairs_mut().append_pair("mount", digest).append_pair("from", from);
        match self.client.send(at, &call).await {
            Ok(response) if response.status() == StatusCode::CREATED => Some(Start::Mounted),
            Ok(response) => location(at, &call, &response).ok().map(Start::Upload),
            Err(error) => {
                tracing::debug!("mount from {from}: {error}");
                None
            }
        }
    }

    fn start_call(&self, at: &Endpoint, digest: &str, scopes: Vec<String>) -> Call<'static> {
        Call {
            method: Method::POST,
            url: self.url(at, "blobs/uploads/"),
            headers: HeaderMap::from_iter([(header::CONTENT_LENGTH, HeaderValue::from_static("0"))]),
            body: Body::Empty,
            what: self.blob_name(digest),
            scopes,
        }
    }

    /// Sends the bytes, from the start on each try: an upload that broke is left to the registry to forget.
    async fn upload(
        &self,
        at: &Endpoint,
        digest: &str,
        size: u64,
        source: &dyn BlobSource,
        progress: Progress,
        mut started: Option<Url>,
    ) -> Result<Pushed> {
        let mut tries = Tries::default();
        loop {
            let to = match started.take() {
                Some(location) => location,
                None => {
                    let call = self.start_call(at, digest, self.push_scopes(at));
                    let response = self.client.send(at, &call).await?;
                    location(at, &call, &response)?
                }
            };
            match self.put_blob(at, to, digest, Body::Stream { source, size, progress: progress.clone() }).await {
                Ok(()) => return Ok(Pushed::Uploaded),
                Err(error) => match tries.next(&self.client.hosts, &error.kind) {
                    Some(delay) => tokio::time::sleep(delay).await,
                    None => return Err(error),
                },
            }
        }
    }

    async fn put_blob(&self, at: &Endpoint, mut to: Url, digest: &str, body: Body<'_>) -> Result<()> {
        to.query_pairs_mut().append_pair("digest", digest);
        let kind = HeaderValue::from_static("application/octet-stream");
        let call = Call {
            method: Method::PUT,
            url: to,
            headers: HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]),
            body,
            what: self.blob_name(digest),
            scopes: self.push_scopes(at),
        };
        self.client.send_once(at, &call).await.map(|_| ())
    }

    /// Puts a manifest or index under `target` (a tag, or its digest).
    pub async fn put_manifest(&self, target: &str, manifest: &Manifest) -> Result<()> {
        self.first(self.to_write()?, |at| {
            async move {
                let mut headers = HeaderMap::new();
                if let Ok(kind) = HeaderValue::from_str(&manifest.media_type) {
                    headers.insert(header::CONTENT_TYPE, kind);
                }
                let call = Call {
                    method: Method::PUT,
                    url: self.url(&at, &format!("manifests/{target}")),
                    headers,
                    body: Body::Bytes(manifest.bytes.clone()),
                    what: self.name_of(target),
                    scopes: self.push_scopes(&at),
                };
                self.client.send(&at, &call).await.map(|_| ())
            }
            .boxed()
        })
        .await
    }
}

/// What a registry makes of the wish to mount a blob.
enum Start {
    Mounted,
    Upload(Url),
}

/// Where an upload goes; registries say it as a path or as a whole URL.
fn location(at: &Endpoint, call: &Call<'_>, response: &reqwest::Response) -> Result<Url> {
    let given = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    let joined = given.and_then(|given| response.url().join(given).ok());
    let safe = joined.filter(|url| url.scheme() == "https" || (url.scheme() == "http" && at.base.scheme() == "http"));
    safe.ok_or_else(|| {
        let why = format!("it says to send the blob to {given:?}, which is no URL that can be used");
        call.error(at, Kind::Invalid { why })
    })
}
