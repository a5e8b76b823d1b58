//! Names and encodings of what travels beside the calls: gRPC metadata, as BuildKit's session package reads and writes it.

use std::str::FromStr;

use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};

/// Headers of Control's Session call.
pub const SESSION_ID: &str = "x-docker-expose-session-uuid";
/// A name for people; not used by the daemon.
pub const SESSION_NAME: &str = "x-docker-expose-session-name";
/// See [`crate::Session::shared_key`].
pub const SESSION_SHARED_KEY: &str = "x-docker-expose-session-sharedkey";
/// One value for each method that the client serves, `/service/method`.
pub const SESSION_METHOD: &str = "x-docker-expose-session-grpc-method";

/// The name of the directory that FileSync is to send.
pub const DIR_NAME: &str = "dir-name";
/// Patterns of files that FileSync is to send.
pub const INCLUDE_PATTERNS: &str = "include-patterns";
/// Patterns of files that FileSync is to leave out.
pub const EXCLUDE_PATTERNS: &str = "exclude-patterns";
/// Paths whose symlinks FileSync is to follow.
pub const FOLLOW_PATHS: &str = "followpaths";

/// Which of the client's exports FileSend writes to: its place in the list of exporters.
pub const EXPORTER_ID: &str = "buildkit-attachable-exporter-id";
/// Prefix of attributes that FileSend hands to the client.
pub const EXPORTER_ATTR_PREFIX: &str = "exporter-md-";
/// `1` says that one FileSend brings the trees of all platforms.
pub const EXPORTER_MULTI_PLATFORM: &str = "buildkit-exporter-multi-platform";

/// Which SSH agent ForwardAgent is to reach.
pub const SSH_ID: &str = "buildkit.ssh.id";
/// Path of the upload that Pull is to send.
pub const UPLOAD_PATH: &str = "urlpath";
/// Host of the upload's URL.
pub const UPLOAD_HOST: &str = "urlhost";

/// Which store of blobs a call of Content is about.
pub const STORE_ID: &str = "buildkit-attachable-store-id";

/// Largest header list that either end accepts, in bytes. Patterns travel as headers, and an ignore file may be long.
pub const HEADER_LIST_MAX_BYTES: u32 = 1 << 20;

const ENCODED_SUFFIX: &str = "-encoded";

/// Adds one value for each of `values`. When a header cannot hold one of them, all are query-escaped, and `KEY-encoded: 1` says so.
pub fn insert_list(map: &mut MetadataMap, key: &'static str, values: &[String]) {
    let plain = values.iter().all(|v| v.bytes().all(|b| (b' '..=b'~').contains(&b)) && v.trim() == v);
    for value in values {
        let text = if plain { value.clone() } else { url::form_urlencoded::byte_serialize(value.as_bytes()).collect() };
        if let Ok(value) = AsciiMetadataValue::from_str(&text) {
            map.append(key, value);
        }
    }
    if !plain && let Ok(flag) = AsciiMetadataKey::from_str(&format!("{key}{ENCODED_SUFFIX}")) {
        map.insert(flag, AsciiMetadataValue::from_static("1"));
    }
}

/// What [`insert_list`] put in.
pub fn list(map: &MetadataMap, key: &str) -> Vec<String> {
    let encoded =
        map.get(format!("{key}{ENCODED_SUFFIX}").as_str()).is_some_and(|v| matches!(v.as_bytes(), b"1" | b"true"));
    let decode = |value: &AsciiMetadataValue| {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        if encoded { unescape(&text) } else { text }
    };
    map.get_all(key).iter().map(decode).collect()
}

/// The first value of `key`; empty when there is none.
pub fn first(map: &MetadataMap, key: &str) -> String {
    list(map, key).into_iter().next().unwrap_or_default()
}

fn unescape(text: &str) -> String {
    // As a query of one nameless parameter, except that `&` and `=` are plain text here.
    let text = text.replace('&', "%26");
    url::form_urlencoded::parse(format!("={text}").as_bytes()).map(|(_, value)| value.into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_survive() {
        let cases: &[&[&str]] =
            &[&[], &["a"], &["**/*.go", "!x y"], &["äpfel", "a+b c&d=e%41"], &["new\nline"], &[" blank "], &[""]];
        for values in cases {
            let values: Vec<String> = values.iter().map(|v| v.to_string()).collect();
            let mut map = MetadataMap::new();
            insert_list(&mut map, EXCLUDE_PATTERNS, &values);
            assert_eq!(list(&map, EXCLUDE_PATTERNS), values);
        }
    }

    #[test]
    fn ascii_is_sent_as_it_is() {
        let mut map = MetadataMap::new();
        insert_list(&mut map, INCLUDE_PATTERNS, &["a%20b+c".to_owned()]);
        assert_eq!(map.get(INCLUDE_PATTERNS).unwrap(), "a%20b+c");
        assert!(map.get("include-patterns-encoded").is_none());
    }

    #[test]
    fn go_escapes_are_read() {
        let mut map = MetadataMap::new();
        map.append(FOLLOW_PATHS, AsciiMetadataValue::from_static("%C3%A4+b%2Bc"));
        map.insert("followpaths-encoded", AsciiMetadataValue::from_static("1"));
        assert_eq!(first(&map, FOLLOW_PATHS), "ä b+c");
    }
}
