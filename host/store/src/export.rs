//! Layers as blobs: packed, compressed and kept, each made once.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Read, Write},
    path::PathBuf,
    sync::Arc,
};

use futures::{StreamExt, TryStreamExt};

use crate::{
    Compression, Descriptor, Provider, Store,
    blobs::{Blob, blocking},
    error::{At, Error, Result},
    fetch,
    inner::Inner,
    layer::{
        aside::Aside,
        compress::{Compressor, Hashing, Room, decompress},
        estargz::{self, Summary, TOC_DIGEST, UNCOMPRESSED_SIZE},
        pack::pack,
    },
    layers::{Layer, Source},
    record::{self, BlobRecord, SnapshotRecord},
    snapshot::Snapshot,
    table::Space,
};

/// How many layers are packed at once; each compressor uses all cores.
const LAYERS_AT_ONCE: usize = 2;
/// How many bytes of an archive are handed to its compressor at once.
const PACKED_BYTES: usize = 1 << 20;

/// Annotations of a layer that say how its blob is to be read.
pub const LAYER_ANNOTATIONS: [&str; 2] = [TOC_DIGEST, UNCOMPRESSED_SIZE];

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
    /// Times later than this (seconds since 1970) become this, in the layers above the lowest `kept`.
    pub epoch: Option<i64>,
    /// How many layers, of those below, keep their times: a base image brought them.
    pub kept: usize,
}

impl BlobOptions {
    /// Those of the layer of this number, from below.
    pub fn of(self, number: usize) -> BlobOptions {
        BlobOptions { epoch: self.epoch.filter(|_| number >= self.kept), ..self }
    }
}

impl Snapshot {
    /// The layers as blobs of this compression, bottom first, made where they are not there yet (several at once); with each its diff id.
    /// A layer that came from an image and has any compression keeps its own blob unless `force`. A blob that is not here can be
    /// streamed from its `provider`.
    pub async fn blobs(&self, compression: Compression, force: bool) -> Result<Vec<LayerBlob>> {
        self.blobs_with(BlobOptions { compression, force, epoch: None, kept: 0 }).await
    }

    /// See [`blobs`](Self::blobs).
    pub async fn blobs_with(&self, options: BlobOptions) -> Result<Vec<LayerBlob>> {
        let layers: Vec<_> = self.0.whole_layers().into_iter().map(<[_]>::to_vec).collect();
        let blobs = futures::stream::iter(layers).enumerate().map(|(number, parts)| async move {
            let Some((layer, amended)) = parts.split_last() else { return Err(Error::other("a layer of no parts")) };
            let blob = layer_blob(layer, amended, options.of(number)).await?;
            let record = layer.record();
            Ok(match record.origin {
                Some(_) => blob,
                None => LayerBlob { created: Some(record.usage.created), description: record.description, ..blob },
            })
        });
        blobs.buffered(LAYERS_AT_ONCE).try_collect().await
    }
}

impl Store {
    /// The chains of blobs, each bottom first, that the layers of a saved snapshot are known as: one in which each layer is the blob that
    /// it came or was made as first, and one for each other kind of blob. None where some layer is no blob yet. Nothing is made or
    /// fetched, and that was no use of the snapshot.
    pub fn known_blobs(&self, name: &str) -> Result<Vec<Vec<Descriptor>>> {
        let Some(bytes) = self.0.table.get(Space::Snapshot, name.as_bytes())? else { return Ok(Vec::new()) };
        let record: SnapshotRecord = record::decode(&bytes)?;
        let mut layers = Vec::with_capacity(record.layers.len());
        // The uppermost first: it is the one that is likely to be no blob.
        for id in record.layers.iter().rev() {
            let Some(layer) = self.0.load_layer(id)? else { return Ok(Vec::new()) };
            if layers.is_empty() && known_forms(&layer, None)?.is_empty() {
                return Ok(Vec::new());
            }
            layers.push(layer);
        }
        layers.reverse();
        let mut forms = Vec::with_capacity(layers.len());
        for parts in self.0.snapshot(layers).0.whole_layers() {
            let known = parts.split_last().map(|(layer, amended)| known_forms(layer, Some(amended.len())));
            match known.transpose()? {
                Some(known) if !known.is_empty() => forms.push(known),
                _ => return Ok(Vec::new()),
            }
        }
        Ok(chains(&forms))
    }
}

/// The blobs that a layer is known as, with so many that it amends, that which it came or was made as first before others.
fn known_forms(layer: &Layer, amended: Option<usize>) -> Result<Vec<Descriptor>> {
    let record = layer.record();
    let mut forms: Vec<Descriptor> = record.origin.into_iter().map(|origin| origin.blob).collect();
    for made in record.blobs.into_iter().filter(|made| amended.is_none_or(|amended| made.amended == amended)) {
        if layer.store.pin_blob(&made.descriptor.digest)?.is_some() {
            forms.push(made.descriptor);
        }
    }
    Ok(forms)
}

fn chains(layers: &[Vec<Descriptor>]) -> Vec<Vec<Descriptor>> {
    let mut kinds: Vec<&str> = Vec::new();
    for form in layers.iter().flatten() {
        if !kinds.contains(&form.media_type.as_str()) {
            kinds.push(&form.media_type);
        }
    }
    let first = layers.iter().filter_map(|forms| forms.first()).cloned().collect();
    let mut chains: Vec<Vec<Descriptor>> = vec![first];
    for kind in kinds {
        let best = |forms: &Vec<Descriptor>| {
            let same = forms.iter().find(|form| form.media_type == kind);
            same.or(forms.first()).cloned()
        };
        let chain: Vec<Descriptor> = layers.iter().filter_map(best).collect();
        if !chains.contains(&chain) {
            chains.push(chain);
        }
    }
    chains
}

/// The blob of a layer, with those that it amends.
async fn layer_blob(layer: &Arc<Layer>, amended: &[Arc<Layer>], options: BlobOptions) -> Result<LayerBlob> {
    // With other times it is another archive, which is made of the files.
    let source = fetch::source(layer).filter(|_| options.epoch.is_none());
    if let Some(Source { blob: descriptor, provider }) = source {
        let record = layer.record();
        if !options.force || is_of(&descriptor, options.compression) {
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
    if options.epoch.is_some() {
        fetch::ensure_all(&[std::slice::from_ref(layer), amended].concat()).await?;
    }
    let _only = layer.flight.lock().await;
    if let Some(found) = find(layer, amended.len(), options)? {
        return Ok(found);
    }
    let is_original = options.epoch.is_none() && fetch::source(layer).is_some();
    let original = if is_original { Some(fetch::fetch(layer).await?) } else { None };
    let (layer, amended) = (layer.clone(), amended.to_vec());
    blocking(move || make(&layer, &amended, original.as_ref(), options)).await
}

fn is_of(blob: &Descriptor, compression: Compression) -> bool {
    let is_estargz = blob.annotations.contains_key(TOC_DIGEST);
    match compression {
        Compression::Uncompressed => blob.media_type.ends_with(".tar"),
        Compression::Gzip(_) => blob.media_type.ends_with("gzip") && !is_estargz,
        Compression::Zstd(_) => blob.media_type.ends_with("zstd"),
        Compression::Estargz(_) => is_estargz,
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
    let parts = Parts { layer, amended };
    let Packed { diff_id, annotations } = match options.compression {
        Compression::Estargz(level) => estargz(&parts, original, options, (sink.clone(), level))?,
        compression => {
            let plain = Hashing::new(Compressor::new(compression, sink.clone())?);
            Packed { diff_id: write_archive(&parts, original, options, plain)?, annotations: BTreeMap::new() }
        }
    };
    let (digest, size) = sink.finish().at(|| "write a blob".to_owned())?;
    store.make_room(size, || format!("blob {digest}"))?;
    store.publish(&ingest.path, crate::blobs::hex_of(&digest)?, size)?;
    let pin = store.pin_blob(&digest)?.ok_or_else(|| Error::other("a blob was deleted right after it was made"))?;
    let media_type = media_type(options.compression).to_owned();
    let descriptor = Descriptor { media_type, digest, size, annotations };
    let compression = Some(options.compression);
    let record = BlobRecord { descriptor, compression, epoch: options.epoch, diff_id, amended: amended.len() };
    layer.update(|layer| layer.blobs.push(record.clone()))?;
    Ok(finished(record, pin))
}

/// What an archive is made of: a layer, and those below it that it amends.
struct Parts<'a> {
    layer: &'a Layer,
    amended: &'a [Arc<Layer>],
}

/// What a blob holds.
struct Packed {
    diff_id: String,
    annotations: BTreeMap<String, String>,
}

/// The layer's archive, compressed to `to`; answers the diff id.
fn write_archive(
    parts: &Parts<'_>,
    original: Option<&Blob>,
    options: BlobOptions,
    mut to: Hashing<Compressor<Aside>>,
) -> Result<String> {
    match original {
        // The archive as it came: packed again, it would have another diff id.
        Some(blob) => {
            let failed = || format!("compress {}", blob.path().display());
            io::copy(&mut plain(blob)?, &mut to).at(failed)?;
        }
        None => pack_layer(parts, options, &mut to)?,
    }
    let Hashing { inner, hash, bytes } = to;
    inner.finish().at(|| "finish a compressed blob".to_owned())?;
    Ok(Hashing { inner: (), hash, bytes }.digest())
}

fn plain(blob: &Blob) -> Result<Box<dyn Read + Send>> {
    let path = blob.path();
    let file = File::open(&path).at(|| format!("open {}", path.display()))?;
    decompress(file, Room::default()).at(|| format!("read {}", path.display()))
}

fn pack_layer(parts: &Parts<'_>, options: BlobOptions, to: impl Write) -> Result<()> {
    let dirs: Vec<PathBuf> = parts.amended.iter().map(|part| part.dir()).chain([parts.layer.dir()]).collect();
    pack(&dirs, parts.layer.store.marks, options.epoch, BufWriter::with_capacity(PACKED_BYTES, to))
}

fn estargz(parts: &Parts<'_>, original: Option<&Blob>, options: BlobOptions, to: (Aside, u32)) -> Result<Packed> {
    let (to, level) = to;
    let failed = || format!("compress layer {} as eStargz", parts.layer.id);
    let summary = match original {
        Some(blob) => estargz::compress(plain(blob)?, to, level).at(failed)?,
        None => {
            let (archive, written) = io::pipe().at(failed)?;
            let (packed, compressed) = std::thread::scope(|scope| {
                let packing = scope.spawn(|| pack_layer(parts, options, written));
                let compressed = estargz::compress(archive, to, level);
                (packing.join(), compressed)
            });
            // What broke off is told before that it did.
            if let Err(error) = &compressed
                && error.kind() != io::ErrorKind::UnexpectedEof
            {
                return Err(Error::other(format!("{}: {error}", failed())));
            }
            packed.map_err(|_| Error::other("the thread that packs a layer broke off"))??;
            compressed.at(failed)?
        }
    };
    let Summary { diff_id, bytes, toc_digest } = summary;
    let annotations = [(TOC_DIGEST, toc_digest), (UNCOMPRESSED_SIZE, bytes.to_string())];
    Ok(Packed { diff_id, annotations: annotations.map(|(name, value)| (name.to_owned(), value)).into() })
}

fn media_type(compression: Compression) -> &'static str {
    match compression {
        Compression::Uncompressed => "application/vnd.oci.image.layer.v1.tar",
        Compression::Gzip(_) | Compression::Estargz(_) => "application/vnd.oci.image.layer.v1.tar+gzip",
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
