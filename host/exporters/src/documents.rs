//! Manifests and indexes as BuildKit writes them: the same fields in the same order, indented by two spaces, so that the same
//! image has the same digest.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;

/// What names a blob in a manifest, an index or a response.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Descriptor {
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// A platform in a descriptor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Platform {
    architecture: String,
    os: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    variant: String,
}

impl From<&oci::Platform> for Platform {
    fn from(platform: &oci::Platform) -> Self {
        Platform {
            architecture: platform.architecture().to_owned(),
            os: platform.os().to_owned(),
            variant: platform.variant().to_owned(),
        }
    }
}

/// An image manifest.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Manifest {
    pub schema_version: u32,
    pub media_type: String,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An index of manifests.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Index {
    pub schema_version: u32,
    pub media_type: String,
    pub manifests: Vec<Descriptor>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A document that was written: its bytes and what names them.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Document {
    pub descriptor: Descriptor,
    pub bytes: Bytes,
}

impl Document {
    /// From finished bytes.
    pub fn new(media_type: &str, bytes: Bytes) -> Self {
        let descriptor = Descriptor {
            media_type: media_type.to_owned(),
            digest: oci::digest_of(&bytes),
            size: bytes.len() as u64,
            annotations: BTreeMap::new(),
            platform: None,
        };
        Document { descriptor, bytes }
    }
}

/// JSON on one line, as Go's `json.Marshal` writes it.
pub fn compact(value: &impl Serialize) -> serde_json::Result<Bytes> {
    Ok(escape(serde_json::to_string(value)?).into())
}

/// JSON as Go's `json.MarshalIndent` writes it with two spaces.
pub fn indented(value: &impl Serialize) -> serde_json::Result<Bytes> {
    Ok(escape(serde_json::to_string_pretty(value)?).into())
}

/// Go escapes what could be read as HTML. In JSON these characters only stand in texts, so they can be replaced anywhere.
fn escape(json: String) -> String {
    if !json.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return json;
    }
    let pairs =
        [("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"), ("\u{2028}", "\\u2028"), ("\u{2029}", "\\u2029")];
    pairs.iter().fold(json, |json, (plain, escaped)| json.replace(plain, escaped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_as_go_writes_it() {
        let value = serde_json::json!({"b": "<a & b>", "a": []});
        assert_eq!(&*compact(&value).unwrap(), br#"{"b":"\u003ca \u0026 b\u003e","a":[]}"#);
        let pretty = "{\n  \"b\": \"\\u003ca \\u0026 b\\u003e\",\n  \"a\": []\n}";
        assert_eq!(&*indented(&value).unwrap(), pretty.as_bytes());
    }
}
