//! Layers as blobs: packed, compressed and kept, each made once.

use std::{fs::File, io::BufWriter, path::PathBuf, sync::Arc};

use futures::{StreamExt, TryStreamExt};

use crate::{
    Compression, Descriptor, Provider,
    blobs::{Blob, blocking},
    error::{At, Error, Result},
    fetch,
    inner::Inner,
    layer::{
        aside::Aside,
        compress::{Compressor, Hashing, Room, decompress},
        pack::pack,
    },
    layers::{Layer, Source},
    record::BlobRecord,
    snapshot::Snapshot,
};

/// How many layers are packed at once; each compressor uses all cores.
const LAYERS_AT_ONCE: usize = 2;

/// A layer as a blob.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct LayerBlob {
    pub descriptor: Descriptor,
    pub diff_id: String,
    /// The file of the blob when it is here; else only `provider` has it (an export to the registry it came from needs no bytes).
    pub file: Option<PathBuf>,
    pub provider: Option<Arc<dyn Provider>>,
    /// Keeps the file from being deleted.
    pub pin: Option<Arc<Blob>>,
    /// When the layer was made, in milliseconds since 1970; `None` for a layer that an image brought.
    pub created: Option<u64>,
    /// What made the layer, as [`Snapshot::describe`] noted it; may be empty.
    pub description: String,
}

/// How layers become blobs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlobOptions {
    /// Of blobs that have to be made.
    pub compression: Compression,
    /// Makes a blob of this compression even where the layer came from an image with another.
    pub force: bool,
    /// Times later than this (seconds since 1970) become this, in layers that no image brought.
    pub epoch: Option<i64>,
}

impl Snapshot {
    /// The layers as blobs of this compression, bottom first, made where they are not there yet (several at once); with each its diff id.
    /// A layer that came from an image and has any compression keeps its own blob unless `force`. A blob that is not here can be
    /// streamed from its `provider`.
    pub async fn blobs(&self, compression: Compression, force: bool) -> Result<Vec<LayerBlob>> {
        self.blobs_with(BlobOptions { compression, force, epoch: None }).await
    }

    /// See [`blobs`](Self::blobs).
    pub async fn blobs_with(&self, options: BlobOptions) -> Result<Vec<LayerBlob>> {
        let layers: Vec<_> = self.0.whole_layers().into_iter().map(<[_]>::to_vec).collect();
        let blobs = futures::stream::iter(layers).map(|parts| async move {
            let Some((layer, amended)) = parts.split_last() else { return Err(Error::other("a layer of no parts")) };
            let blob = layer_blob(layer, amended, options).await?;
            let record = layer.record();
            Ok(match record.origin {
                Some(_) => blob,
                None => LayerBlob { created: Some(record.usage.created), description: record.description, ..blob },
            })
        });
        blobs.buffered(LAYERS_AT_ONCE).try_collect().await
    }
}

/// The blob of a layer, with those that it amends.
async fn layer_blob(layer: &Arc<Layer>, amended: &[Arc<Layer>], options: BlobOptions) -> Result<LayerBlob> {
    if let Some(Source { blob: descriptor, provider }) = fetch::source(layer) {
        let record = layer.record();
        if !options.force || is_of(&descriptor.media_type, options.compression) {
            let pin = layer.store.pin_blob(&descriptor.digest)?.map(Arc::new);
            let file = pin.as_ref().map(|pin| pin.path());
            let diff_id = record.diff_id.ok_or_else(|| Error::other("a layer of an image without a diff id"))?;
            return Ok(LayerBlob {
                descriptor,
                diff_id,
                file,
                provider,
                pin,
                created: None,
                description: String::new(),
            });
        }
    }
    let _only = layer.flight.lock().await;
    if let Some(found) = find(layer, amended.len(), options)? {
        return Ok(found);
    }
    let original = if fetch::source(layer).is_some() { Some(fetch::fetch(layer).await?) } else { None };
    let (layer, amended) = (layer.clone(), amended.to_vec());
    blocking(move || make(&layer, &amended, original.as_ref(), options)).await
}

fn is_of(media_type: &str, compression: Compression) -> bool {
    match compression {
        Compression::Uncompressed => media_type.ends_with(".tar"),
        Compression::Gzip(_) => media_type.ends_with("gzip"),
        Compression::Zstd(_) => media_type.ends_with("zstd"),
    }
}

/// A blob that was made before.
fn find(layer: &Layer, amended: usize, options: BlobOptions) -> Result<Option<LayerBlob>> {
    let made = |blob: &BlobRecord| {
        blob.compression == Some(options.compression) && blob.epoch == options.epoch && blob.amended == amended
    };
    let Some(record) = layer.record().blobs.into_iter().find(made) else { return Ok(None) };
    let Some(pin) = layer.store.pin_blob(&record.descriptor.digest)? else { return Ok(None) };
    Ok(Some(finished(record, pin)))
}

fn finished(record: BlobRecord, pin: Blob) -> LayerBlob {
    LayerBlob {
        file: Some(pin.path()),
        descriptor: record.descriptor,
        diff_id: record.diff_id,
        provider: None,
        pin: Some(Arc::new(pin)),
        created: None,
        description: String::new(),
    }
}

fn make(layer: &Layer, amended: &[Arc<Layer>], original: Option<&Blob>, options: BlobOptions) -> Result<LayerBlob> {
    let store = &layer.store;
    store.make_room(0, || format!("the blob of layer {}", layer.id))?;
    let ingest = store.ingest()?;
    let sink = Aside::file(&ingest.file).at(|| "open a blob".to_owned())?;
    let plain = Hashing::new(Compressor::new(options.compression, sink.clone())?);
    let diff_id = match original {
        // The archive as it came: packed again, it would have another diff id.
        Some(blob) => recompress(blob, plain)?,
        None => pack_layer(layer, amended, options, plain)?,
    };
    let (digest, size) = sink.finish().at(|| "write a blob".to_owned())?;
    store.make_room(size, || format!("blob {digest}"))?;
    store.publish(&ingest.path, crate::blobs::hex_of(&digest)?, size)?;
    let pin = store.pin_blob(&digest)?.ok_or_else(|| Error::other("a blob was deleted right after it was made"))?;
    let media_type = media_type(options.compression).to_owned();
    let descriptor = Descriptor { media_type, digest, size, annotations: Default::default() };
    let compression = Some(options.compression);
    let record = BlobRecord { descriptor, compression, epoch: options.epoch, diff_id, amended: amended.len() };
    layer.update(|layer| layer.blobs.push(record.clone()))?;
    Ok(finished(record, pin))
}

fn recompress(blob: &Blob, mut to: Hashing<Compressor<Aside>>) -> Result<String> {
    let path = blob.path();
    let file = File::open(&path).at(|| format!("open {}", path.display()))?;
    let mut from = decompress(file, Room::default()).at(|| format!("read {}", path.display()))?;
    std::io::copy(&mut from, &mut to).at(|| format!("compress {}", path.display()))?;
    finish(to)
}

fn pack_layer(
    layer: &Layer,
    amended: &[Arc<Layer>],
    options: BlobOptions,
    mut to: Hashing<Compressor<Aside>>,
) -> Result<String> {
    let parts: Vec<PathBuf> = amended.iter().map(|part| part.dir()).chain([layer.dir()]).collect();
    pack(&parts, layer.store.marks, options.epoch, BufWriter::with_capacity(1 << 20, &mut to))?;
    finish(to)
}

fn finish(to: Hashing<Compressor<Aside>>) -> Result<String> {
    let Hashing { inner, hash, bytes } = to;
    inner.finish().at(|| "finish a compressed blob".to_owned())?;
    Ok(Hashing { inner: (), hash, bytes }.digest())
}

fn media_type(compression: Compression) -> &'static str {
    match compression {
        Compression::Uncompressed => "application/vnd.oci.image.layer.v1.tar",
        Compression::Gzip(_) => "application/vnd.oci.image.layer.v1.tar+gzip",
        Compression::Zstd(_) => "application/vnd.oci.image.layer.v1.tar+zstd",
    }
}

impl Inner {
    /// Digests of blobs that belong to a layer, and go with it.
    pub fn blobs_of(record: &crate::record::LayerRecord) -> Vec<String> {
        let made = record.blobs.iter().map(|blob| blob.descriptor.digest.clone());
        made.chain(record.origin.iter().map(|origin| origin.blob.digest.clone())).collect()
    }
}
