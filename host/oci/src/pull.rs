//! Reading from a registry: manifests, and blobs as streams that go on where they broke.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use futures::{FutureExt as _, Stream, StreamExt as _, stream::BoxStream};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::{
    io::{AsyncRead, ReadBuf},
    sync::OwnedSemaphorePermit,
};
use tokio_util::io::StreamReader;

use crate::{
    MANIFEST_BYTES_MAX, Manifest, ManifestHead, Repository, Verifier,
    client::{Call, Tries},
    error::{Error, Kind, Result},
    hosts::Endpoint,
    is_digest, media_type,
    push::Body,
};

/// A stream that broke is taken up again this often without having brought at least [`RESUME_PROGRESS`] bytes.
const RESUMES_MAX: u32 = 5;
/// What counts as progress between two breaks.
const RESUME_PROGRESS: u64 = 1 << 20;
/// The digest of a manifest, as registries say it.
const CONTENT_DIGEST: &str = "docker-content-digest";

impl Repository {
    /// The manifest or index that `target` (a tag or a digest) names, verified when it is a digest.
    pub async fn manifest(&self, target: &str) -> Result<Manifest> {
        self.first(self.to_read()?, |at| {
            async move {
                let call = self.manifest_call(&at, Method::GET, target);
                let (headers, bytes) = self.fetch(&at, &call, MANIFEST_BYTES_MAX).await?;
                let manifest = Manifest::new(bytes, text(&headers, header::CONTENT_TYPE.as_str()));
                let said = text(&headers, CONTENT_DIGEST);
                let want = if is_digest(target) { target } else { said };
                if let Some(mut verifier) = Verifier::new(want) {
                    verifier.update(&manifest.bytes);
                    let wrong = |got| call.error(&at, Kind::WrongDigest { want: want.to_string(), got });
                    verifier.finish().map_err(wrong)?;
                }
                Ok(manifest)
            }
            .boxed()
        })
        .await
    }

    /// What `target` names, without its bytes (registries count that less). `None` when it has none or does not say.
    pub async fn head_manifest(&self, target: &str) -> Result<Option<ManifestHead>> {
        self.first(self.to_read()?, |at| {
            async move {
                let call = self.manifest_call(&at, Method::HEAD, target);
                let response = match self.client.send(&at, &call).await {
                    Ok(response) => response,
                    Err(error) if error.is_not_found() && at.mirror_of.is_none() => return Ok(None),
                    Err(error) => return Err(error),
                };
                let headers = response.headers();
                let digest = text(headers, CONTENT_DIGEST);
                let media_type = text(headers, header::CONTENT_TYPE.as_str()).split(';').next().unwrap_or("").trim();
                let size = text(headers, header::CONTENT_LENGTH.as_str()).parse();
                match (is_digest(digest), size) {
                    (true, Ok(size)) => {
                        Ok(Some(ManifestHead { digest: digest.to_string(), media_type: media_type.to_string(), size }))
                    }
                    _ => Ok(None),
                }
            }
            .boxed()
        })
        .await
    }

    fn manifest_call(&self, at: &Endpoint, method: Method, target: &str) -> Call<'static> {
        let mut headers = HeaderMap::new();
        let accepted = media_type::ACCEPTED.join(", ");
        headers.insert(header::ACCEPT, HeaderValue::from_str(&accepted).unwrap_or(HeaderValue::from_static("*/*")));
        Call {
            method,
            url: self.url(at, &format!("manifests/{target}")),
            headers,
            body: Body::Empty,
            what: self.name_of(target),
            scopes: vec![self.scope(at, self.reference.repository(), "pull")],
        }
    }

    /// `target` in the words of the user.
    pub(crate) fn name_of(&self, target: &str) -> String {
        match (target == self.reference.target(), target.contains(':')) {
            (true, _) => self.reference.to_string(),
            (false, true) => format!("{}@{target}", self.reference.name()),
            (false, false) => format!("{}:{target}", self.reference.name()),
        }
    }

    /// A blob that is small, whole and verified: a config. `limit` bytes are the most that it may have.
    pub async fn small_blob(&self, digest: &str, limit: u64) -> Result<Bytes> {
        self.first(self.to_read()?, |at| {
            async move {
                let call = self.blob_call(&at, Method::GET, digest, 0);
                let (_, bytes) = self.fetch(&at, &call, limit).await?;
                let wrong = |got| call.error(&at, Kind::WrongDigest { want: digest.to_string(), got });
                let mut verifier = Verifier::new(digest).ok_or_else(|| wrong("an unknown algorithm".into()))?;
                verifier.update(&bytes);
                verifier.finish().map_err(wrong)?;
                Ok(bytes)
            }
            .boxed()
        })
        .await
    }

    /// The size of a blob, or `None` when the registry has none of this digest.
    pub async fn blob_size(&self, digest: &str) -> Result<Option<u64>> {
        self.first(self.to_write()?, |at| {
            async move {
                let call = self.blob_call(&at, Method::HEAD, digest, 0);
                match self.client.send(&at, &call).await {
                    Ok(response) => {
                        let size = text(response.headers(), header::CONTENT_LENGTH.as_str()).parse();
                        Ok(Some(size.unwrap_or_default()))
                    }
                    Err(error) if error.is_not_found() => Ok(None),
                    Err(error) => Err(error),
                }
            }
            .boxed()
        })
        .await
    }

    /// The bytes of a blob of `size` bytes, from `offset` on. A connection that breaks is taken up again where it broke. Read from the
    /// start, the digest is verified: the read that would give the last bytes fails when it is wrong. Errors within are an [`Error`] in an `io::Error`.
    pub async fn blob(&self, digest: &str, size: u64, offset: u64) -> Result<BlobReader> {
        let verifier = match offset {
            0 => Verifier::new(digest),
            _ => None,
        };
        let (at, permit, body) = self
            .first(self.to_read()?, |at| {
                async move {
                    let permit = at.live.reads.clone().acquire_owned().await.ok();
                    let body = self.open(&at, digest, offset).await?;
                    Ok((at, permit, body))
                }
                .boxed()
            })
            .await?;
        let what = self.blob_name(digest);
        let state = Download {
            repository: self.clone(),
            at,
            digest: digest.to_string(),
            what,
            size,
            position: offset,
            verifier,
            body,
            tries: Tries::default(),
            resumes: 0,
            resumed_at: offset,
            _permit: permit,
        };
        let stream = futures::stream::try_unfold(state, |mut state| async move {
            let next = state.next().await.map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>(next.map(|bytes| (bytes, state)))
        });
        Ok(BlobReader(StreamReader::new(stream.boxed())))
    }

    pub(crate) fn blob_name(&self, digest: &str) -> String {
        format!("blob {digest} of {}", self.reference.name())
    }

    pub(crate) fn blob_call(&self, at: &Endpoint, method: Method, digest: &str, offset: u64) -> Call<'static> {
        let mut headers = HeaderMap::new();
        if offset > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={offset}-"))
        {
            headers.insert(header::RANGE, range);
        }
        Call {
            method,
            url: self.url(at, &format!("blobs/{digest}")),
            headers,
            body: Body::Empty,
            what: self.blob_name(digest),
            scopes: vec![self.scope(at, self.reference.repository(), "pull")],
        }
    }

    /// A blob's bytes from `offset` on, also from a registry that knows no ranges.
    async fn open(&self, at: &Endpoint, digest: &str, offset: u64) -> Result<Chunks> {
        let call = self.blob_call(at, Method::GET, digest, offset);
        let response = self.client.send(at, &call).await?;
        let skip = match (offset, response.status()) {
            (0, _) => 0,
            (_, StatusCode::PARTIAL_CONTENT) => {
                let range = text(response.headers(), header::CONTENT_RANGE.as_str());
                if !range.starts_with(&format!("bytes {offset}-")) {
                    let why = format!("asked for bytes from {offset} on, it sends {range:?}");
                    return Err(call.error(at, Kind::Invalid { why }));
                }
                0
            }
            (offset, _) => offset,
        };
        Ok(Chunks { stream: response.bytes_stream().boxed(), skip })
    }

    /// A whole small answer, tried again when it breaks off.
    pub(crate) async fn fetch(&self, at: &Endpoint, call: &Call<'_>, limit: u64) -> Result<(HeaderMap, Bytes)> {
        let mut tries = Tries::default();
        loop {
            let response = self.client.send(at, call).await?;
            let headers = response.headers().clone();
            match read_limited(response, limit).await {
                Ok(bytes) => return Ok((headers, bytes)),
                Err(kind) => match tries.next(&self.client.hosts, &kind) {
                    Some(delay) => tokio::time::sleep(delay).await,
                    None => return Err(call.error(at, kind)),
                },
            }
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

/// All of a body, if it is no more than `limit` bytes.
pub(crate) async fn read_limited(mut response: reqwest::Response, limit: u64) -> std::result::Result<Bytes, Kind> {
    let want = response.content_length().unwrap_or(0);
    if want > limit {
        return Err(Kind::TooLarge { limit });
    }
    let mut bytes = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() as u64 + chunk.len() as u64 > limit => return Err(Kind::TooLarge { limit }),
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Ok(bytes.freeze()),
            Err(_) => return Err(Kind::Truncated { got: bytes.len() as u64, want }),
        }
    }
}

/// A body, without the bytes at its front that are here already.
struct Chunks {
    stream: BoxStream<'static, reqwest::Result<Bytes>>,
    skip: u64,
}

impl Chunks {
    /// The next bytes; `None` at the end, `Err` when the connection broke.
    async fn next(&mut self) -> std::result::Result<Option<Bytes>, reqwest::Error> {
        while let Some(chunk) = self.stream.next().await {
            let mut chunk = chunk?;
            let skipped = self.skip.min(chunk.len() as u64);
            self.skip -= skipped;
            let rest = chunk.split_off(skipped as usize);
            if !rest.is_empty() {
                return Ok(Some(rest));
            }
        }
        Ok(None)
    }
}

/// A blob on its way.
struct Download {
    repository: Repository,
    at: Endpoint,
    digest: String,
    what: String,
    size: u64,
    position: u64,
    verifier: Option<Verifier>,
    body: Chunks,
    tries: Tries,
    resumes: u32,
    resumed_at: u64,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Download {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Ok(Some(bytes)) = self.body.next().await {
                return self.took(bytes).map(Some);
            }
            if self.position == self.size {
                return self.verify().map(|()| None);
            }
            self.resume().await?;
        }
    }

    fn took(&mut self, bytes: Bytes) -> Result<Bytes> {
        self.position += bytes.len() as u64;
        if self.position > self.size {
            return Err(self.error(Kind::TooLarge { limit: self.size }));
        }
        if let Some(verifier) = &mut self.verifier {
            verifier.update(&bytes);
        }
        // Before the last bytes are handed out: who has all of them asks for no more.
        if self.position == self.size {
            self.verify()?;
        }
        Ok(bytes)
    }

    /// Asks for the rest.
    async fn resume(&mut self) -> Result<()> {
        if self.position - self.resumed_at >= RESUME_PROGRESS {
            (self.resumes, self.tries) = (0, Tries::default());
        }
        self.resumes += 1;
        self.resumed_at = self.position;
        let broke = Kind::Truncated { got: self.position, want: self.size };
        match self.tries.next(&self.repository.client.hosts, &broke) {
            Some(delay) if self.resumes <= RESUMES_MAX => tokio::time::sleep(delay).await,
            _ => return Err(self.error(broke)),
        }
        tracing::debug!("{}: broke off after {} of {} bytes, going on there", self.what, self.position, self.size);
        self.body = self.repository.open(&self.at, &self.digest, self.position).await?;
        Ok(())
    }

    fn verify(&mut self) -> Result<()> {
        let wrong = match self.verifier.take() {
            Some(verifier) => verifier.finish(),
            None => Ok(()),
        };
        wrong.map_err(|got| self.error(Kind::WrongDigest { want: self.digest.clone(), got }))
    }

    fn error(&self, kind: Kind) -> Error {
        Error::new(&self.what, &self.at.host, kind)
    }
}

type BoxedBytes = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

/// The bytes of a blob.
pub struct BlobReader(StreamReader<BoxedBytes, Bytes>);

impl AsyncRead for BlobReader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl BlobReader {
    /// The [`Error`] inside what reading failed with, if it is one.
    pub fn error(error: &std::io::Error) -> Option<&Error> {
        error.get_ref()?.downcast_ref()
    }
}
