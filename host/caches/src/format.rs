//! BuildKit's cache config (`cache/remotecache/v1/types/spec.go`), and what pintle adds to its records.
//!
//! A record is one output of a step. What BuildKit needs to find it again is its digest and links to the records of its inputs;
//! pintle's digest is the class of the output, and [`Step`], a field that BuildKit passes over, says how that class came about. So
//! each engine can read what the other wrote, and takes what it understands.

use serde::{Deserialize, Serialize};
use solver::Look;

/// The config's media type.
pub const CONFIG_TYPE: &str = "application/vnd.buildkit.cacheconfig.v0";
/// The key under which an image's config holds the records of an inline cache: JSON in base64.
pub const INLINE_KEY: &str = "moby.buildkit.cache.v0";
/// The annotation of a layer that has the digest of its uncompressed tar.
pub const DIFF_ID_KEY: &str = "containerd.io/uncompressed";
/// The annotation of a layer that says when it was made.
pub const CREATED_KEY: &str = "buildkit/createdat";
/// The largest config that is read, in bytes.
pub const CONFIG_BYTES_MAX: u64 = 64 << 20;

/// The config.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// All layers, each with what lies below it.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_empty")]
    pub layers: Vec<Layer>,
    /// All records.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_empty")]
    pub records: Vec<Record>,
}

/// A layer in its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Its digest.
    #[serde(default)]
    pub blob: String,
    /// The index of the layer below; -1 where there is none.
    #[serde(default, rename = "parent")]
    pub parent_index: i64,
    /// What a manifest says of it elsewhere, in a store that has no manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<LayerAnnotations>,
}

/// What the blob of a layer is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LayerAnnotations {
    /// Its media type.
    #[serde(rename = "mediaType")]
    pub media_type: String,
    /// The digest of its uncompressed tar.
    #[serde(rename = "diffID")]
    pub diff_id: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was made.
    #[serde(rename = "createdAt")]
    pub created_at: String,
}

/// One output of a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Its results as chains of layers, by the uppermost.
    #[serde(rename = "layers", skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_empty")]
    pub results: Vec<RecordResult>,
    /// Its results as lists of layers, bottom first.
    #[serde(rename = "chains", skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_empty")]
    pub chains: Vec<Chain>,
    /// Its key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// For each input the records that it may be.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_empty")]
    pub inputs: Vec<Vec<Link>>,
    /// How the key came about, in a record of pintle's.
    #[serde(rename = "pintle", skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
}

/// A result that is a chain of layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordResult {
    /// The index of the uppermost layer.
    #[serde(default)]
    pub layer: i64,
    /// When it was made.
    #[serde(rename = "createdAt", default = "no_time")]
    pub created_at: String,
}

/// A result that is a list of layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chain {
    /// Their indexes, bottom first.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub layers: Vec<i64>,
    /// When it was made.
    #[serde(rename = "createdAt", default = "no_time")]
    pub created_at: String,
}

/// A record that an input may be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Link {
    /// What of it is looked at.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub selector: String,
    /// Its index.
    pub link: i64,
}

/// The step that a record of pintle's is an output of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The op's key.
    pub op: String,
    /// The vertex's name.
    pub name: String,
    /// Which output.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub output: u32,
    /// How many outputs the step has.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub outputs: u32,
    /// The result is the empty tree, which has no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub scratch: bool,
    /// How it looks at its inputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Seen>,
}

/// How a step looks at one of its inputs, and what it saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// The name of the vertex that made it.
    pub name: String,
    /// What of it counts.
    pub look: Look,
    /// The digest of what that held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contents: Option<String>,
}

/// The time that Go writes for none.
pub fn no_time() -> String {
    "0001-01-01T00:00:00Z".into()
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Go writes an empty list as null.
fn null_is_empty<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}
