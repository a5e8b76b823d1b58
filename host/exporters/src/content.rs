//! The bytes of blobs, wherever they are, checked as they are read.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use bytes::Bytes;
use oci::{BlobSource, Verifier};
use store::LayerBlob;
use tokio::io::{AsyncRead, ReadBuf};

/// A reader of a blob.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// A blob that an export writes.
#[derive(Clone)]
pub enum Content {
    /// A manifest, index or config.
    Bytes(Bytes),
    /// A layer: a file of the store, or what its provider has.
    Layer(LayerBlob),
}

impl Content {
    /// The bytes from the start. Reading fails at the end when they are not those of the layer's digest.
    pub async fn open(&self) -> Result<Reader> {
        let from = self.open_unverified().await?;
        let Content::Layer(layer) = self else { return Ok(from) };
        let digest = &layer.descriptor.digest;
        let verifier =
            Verifier::new(digest).with_context(|| format!("layer {digest:?}: not a known kind of digest"))?;
        Ok(Box::new(Verified { from, verifier: Some(verifier), digest: digest.clone() }))
    }

    /// The bytes from the start, for who hashes them himself.
    pub async fn open_unverified(&self) -> Result<Reader> {
        let layer = match self {
            Content::Bytes(bytes) => return Ok(Box::new(std::io::Cursor::new(bytes.clone()))),
            Content::Layer(layer) => layer,
        };
        Ok(match (&layer.file, &layer.provider) {
            (Some(file), _) => Box::new(open_file(file).await?),
            (None, Some(provider)) => provider.fetch(&layer.descriptor, 0).await?,
            (None, None) => {
                anyhow::bail!("layer {} is neither here nor does anybody have it", layer.descriptor.digest)
            }
        })
    }
}

async fn open_file(path: &std::path::Path) -> Result<tokio::fs::File> {
    tokio::fs::File::open(path).await.with_context(|| format!("open blob {}", path.display()))
}

#[async_trait]
impl BlobSource for Content {
    /// A registry hashes what it gets, and takes nothing under a digest that is not its own.
    async fn open(&self) -> Result<Reader> {
        self.open_unverified().await
    }
}

/// Bytes that turn into an error at their end when they are the wrong ones.
struct Verified {
    from: Reader,
    verifier: Option<Verifier>,
    digest: String,
}

impl AsyncRead for Verified {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut self.from).poll_read(cx, buf))?;
        let read = &buf.filled()[before..];
        let at_end = read.is_empty() && buf.remaining() > 0;
        if let Some(verifier) = &mut self.verifier {
            verifier.update(read);
        }
        if at_end && let Some(Err(found)) = self.verifier.take().map(Verifier::finish) {
            return Poll::Ready(Err(std::io::Error::other(format!(
                "layer {}: its bytes have the digest {found}",
                self.digest
            ))));
        }
        Poll::Ready(Ok(()))
    }
}
