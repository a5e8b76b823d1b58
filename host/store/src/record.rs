//! What the database knows of layers, snapshots, blobs and volumes. Written as JSON.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Compression, Descriptor,
    error::{Error, Result},
};

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// When something was made and used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub created: u64,
    pub last_used: u64,
    pub count: u64,
}

impl Usage {
    pub fn new() -> Usage {
        let now = now();
        Usage { created: now, last_used: now, count: 1 }
    }

    pub fn touch(&mut self) {
        self.last_used = now();
        self.count += 1;
    }
}

/// A layer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    pub usage: Usage,
    /// Its directory is there. Else it can be fetched.
    pub present: bool,
    /// It may hide files of lower layers.
    #[serde(default)]
    pub hides: bool,
    /// There is nothing in it, and its root is as that of the layer below.
    #[serde(default)]
    pub empty: bool,
    /// Bytes on disk, when they were measured.
    #[serde(default)]
    pub bytes: Option<u64>,
    /// The layer that it was made on.
    #[serde(default)]
    pub parent: Option<String>,
    #[serde(default)]
    pub description: String,
    /// BuildKit's record type.
    #[serde(default)]
    pub kind: String,
    /// SHA-256 of the uncompressed tar, `sha256:...`, once known.
    #[serde(default)]
    pub diff_id: Option<String>,
    #[serde(default)]
    pub blobs: Vec<BlobRecord>,
    /// Where an image's layer comes from.
    #[serde(default)]
    pub origin: Option<Origin>,
    /// Its number in the order of making; see `durable`.
    #[serde(default)]
    pub serial: u64,
    /// Over its parent, it is a part of one layer with that (see `amend`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub amends: bool,
    /// What was made of the snapshot that ends with it (see `amend`), by key: names of snapshots. The newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<(String, String)>,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl LayerRecord {
    pub fn new(kind: &str) -> LayerRecord {
        LayerRecord {
            usage: Usage::new(),
            present: true,
            hides: false,
            empty: false,
            bytes: None,
            parent: None,
            description: String::new(),
            kind: kind.to_owned(),
            diff_id: None,
            blobs: Vec::new(),
            origin: None,
            serial: 0,
            amends: false,
            notes: Vec::new(),
        }
    }

    /// It is an image's, and can be had there.
    pub fn came_from(&mut self, blob: Descriptor, locator: String) {
        self.description = format!("pulled from {locator}");
        self.origin = Some(Origin { blob, locator });
    }
}

/// A layer's blob in one compression.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct BlobRecord {
    pub descriptor: Descriptor,
    /// How it was made; `None` for the blob that an image came with.
    pub compression: Option<Compression>,
    /// The clamp of times that it was packed with.
    #[serde(default)]
    pub epoch: Option<i64>,
    pub diff_id: String,
    /// How many layers below it are packed with it, which it amends.
    #[serde(default)]
    pub amended: usize,
}

/// See [`LayerRecord::origin`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub blob: Descriptor,
    pub locator: String,
}

/// A saved snapshot.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotRecord {
    pub usage: Usage,
    pub layers: Vec<String>,
}

/// A blob's file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct FileRecord {
    pub usage: Usage,
    pub size: u64,
    /// See [`LayerRecord::serial`].
    #[serde(default)]
    pub serial: u64,
}

/// What a root keeps.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct RootRecord {
    pub usage: Usage,
    pub description: String,
    /// Names of saved snapshots.
    pub snapshots: Vec<String>,
    /// Blobs, in hexadecimal.
    pub blobs: Vec<String>,
}

/// A volume.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct VolumeRecord {
    pub usage: Usage,
    pub kind: String,
    /// Its directory.
    pub id: String,
    #[serde(default)]
    pub bytes: Option<u64>,
}

pub(crate) fn encode(record: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(record).map_err(|error| Error::other(format!("write a record: {error}")))
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::other(format!("read a record of the database: {error}")))
}
