//! Caches in stores of objects: each layer lies under a name of its own, and the config, which says of each layer what a manifest
//! would say, under the name of the cache.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use exporters::content::{Content, Reader};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use store::{Descriptor, LayerBlob, Provider};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::{
    Found, Party,
    format::{CREATED_KEY, Config, DIFF_ID_KEY, LayerAnnotations, no_time},
    manifest::created,
    write::Written,
};

/// How large the parts are in which a layer is sent, in bytes.
pub(crate) const PART_BYTES: u64 = 16 << 20;
/// How many parts of a layer are in memory at once.
pub(crate) const PARTS_AT_ONCE: usize = 2;

/// Told how much of a layer is sent.
pub(crate) type Report<'a> = &'a (dyn Fn(u64) + Send + Sync);

/// A store in which blobs are found by their digest.
#[async_trait]
pub(crate) trait Objects: Send + Sync + 'static {
    /// Where blobs are, for locators: nothing secret.
    fn place(&self) -> String;
    /// Whether the blob is there.
    async fn has(&self, digest: &str) -> Result<bool>;
    /// Whether the blob is there; it then stays as long as if it were written now.
    async fn keep(&self, digest: &str) -> Result<bool> {
        self.has(digest).await
    }
    /// The blob from `offset` on.
    async fn read(&self, digest: &str, offset: u64) -> Result<Reader>;
    /// Writes a blob of `size` bytes.
    async fn write(&self, digest: &str, size: u64, from: Reader, report: Report<'_>) -> Result<()>;
}

/// Writes the layers that are not there yet, so many at once. Answers the config.
pub(crate) async fn export(to: &dyn Objects, cache: &Written, at_once: usize, party: &Party) -> Result<Bytes> {
    let puts: Vec<_> = cache.layers.iter().map(|layer| put(to, layer, party)).collect();
    futures::stream::iter(puts).buffer_unordered(at_once).try_collect::<()>().await?;
    let annotations: BTreeMap<_, _> =
        cache.layers.iter().map(|layer| (&layer.descriptor.digest, annotations(layer))).collect();
    let mut config = cache.config.clone();
    for layer in &mut config.layers {
        layer.annotations = annotations.get(&layer.blob).cloned();
    }
    Ok(serde_json::to_vec(&config)?.into())
}

async fn put(to: &dyn Objects, layer: &LayerBlob, party: &Party) -> Result<()> {
    let Descriptor { digest, size, .. } = &layer.descriptor;
    let told = party.writing("layer");
    let report = |done| told(digest, "", done, *size);
    let put = async {
        if !to.keep(digest).await? {
            let from = Content::Layer(layer.clone()).open().await?;
            to.write(digest, *size, from, &report).await?;
        }
        report(*size);
        anyhow::Ok(())
    };
    put.await.with_context(|| format!("write layer {digest}"))
}

fn annotations(layer: &LayerBlob) -> LayerAnnotations {
    LayerAnnotations {
        media_type: exporters::layer_type(&layer.descriptor.media_type, true),
        diff_id: layer.diff_id.clone(),
        size: layer.descriptor.size,
        created_at: created(layer).unwrap_or_else(no_time),
    }
}

/// A cache whose config was read.
pub(crate) fn found(config: &[u8], from: Arc<dyn Objects>) -> Result<Found> {
    let config: Config = serde_json::from_slice(config).context("the cache's config cannot be read")?;
    let layers = config.layers.iter().filter_map(|layer| {
        let LayerAnnotations { media_type, diff_id, size, created_at } = layer.annotations.clone()?;
        let annotations = [(DIFF_ID_KEY.to_owned(), diff_id), (CREATED_KEY.to_owned(), created_at)].into();
        let digest = layer.blob.clone();
        Some((digest.clone(), Descriptor { media_type, digest, size, annotations }))
    });
    let layers = layers.collect();
    Ok(Found { config, layers, provider: Arc::new(Layers(from)) })
}

/// Gives layers to the store.
struct Layers(Arc<dyn Objects>);

#[async_trait]
impl Provider for Layers {
    async fn fetch(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn AsyncRead + Send + Unpin>> {
        self.0.read(&descriptor.digest, offset).await
    }

    fn locator(&self) -> String {
        self.0.place()
    }

    async fn has(&self, descriptor: &Descriptor) -> Result<bool> {
        // A store that does not answer has nothing; that is no reason to fail a build.
        Ok(self.0.has(&descriptor.digest).await.unwrap_or_else(|error| {
            tracing::warn!("{}: {error:#}", self.0.place());
            false
        }))
    }
}

/// Cuts `size` bytes into parts, numbered from 1. Fails where there are fewer.
pub(crate) fn parts(from: Reader, size: u64, part_bytes: u64) -> impl Stream<Item = Result<(u64, Bytes)>> + Send {
    let start = (from, size, 1);
    futures::stream::try_unfold(start, move |(mut from, left, number)| async move {
        if left == 0 {
            // Only at its end does a reader say that what it read was not what it should be.
            let more = from.read(&mut [0]).await.context("read the layer")?;
            anyhow::ensure!(more == 0, "the layer has more than {size} bytes");
            return Ok(None);
        }
        let mut part = BytesMut::zeroed(usize::try_from(left.min(part_bytes))?);
        from.read_exact(&mut part).await.context("read the layer")?;
        let left = left - part.len() as u64;
        Ok(Some(((number, part.freeze()), (from, left, number + 1))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn cut(bytes: &'static [u8], size: u64) -> Result<Vec<(u64, Bytes)>> {
        parts(Box::new(bytes), size, 3).try_collect().await
    }

    #[tokio::test]
    async fn parts_are_whole() {
        let part = |number, text: &'static str| (number, Bytes::from(text));
        assert_eq!(cut(b"", 0).await.unwrap(), []);
        assert_eq!(cut(b"abc", 3).await.unwrap(), [part(1, "abc")]);
        assert_eq!(cut(b"abcdefgh", 8).await.unwrap(), [part(1, "abc"), part(2, "def"), part(3, "gh")]);
        assert!(cut(b"abcd", 5).await.is_err());
        assert!(cut(b"abcd", 3).await.is_err());
    }
}
