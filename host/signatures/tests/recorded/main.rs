//! Signatures that cosign made, as README.md says.

use std::{collections::HashMap, fs, path::Path};

use serde::Deserialize;
use signatures::{Key, Signature};

/// The beginning of the names of those that are no signatures.
const REFUSED: &str = "refused-";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recorded {
    #[serde(skip)]
    name: String,
    key: String,
    digest: String,
    media_type: String,
    annotations: HashMap<String, String>,
    blob: String,
}

impl Recorded {
    fn signature(&self, blob: &str) -> Signature {
        assert!(Signature::is_layer(&self.media_type), "{}", self.name);
        Signature::of_layer(&self.media_type, &self.annotations, blob.as_bytes()).expect("it holds a signature")
    }

    fn key(&self) -> Key {
        Key::from_pem(&self.name, &self.key).expect("cosign wrote it")
    }
}

fn recorded() -> Vec<Recorded> {
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded")).expect("they are there");
    let files = files.map(|entry| entry.expect("it can be read").path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let read = |path: std::path::PathBuf| {
        let text = fs::read_to_string(&path).expect("it is text");
        let recorded: Recorded = serde_json::from_str(&text).expect("it has the fields");
        Recorded { name: path.file_stem().expect("it has a name").to_string_lossy().into_owned(), ..recorded }
    };
    files.map(read).collect()
}

#[test]
fn each_is_by_its_key_for_its_digest_alone() {
    let all = recorded();
    assert!(all.len() > 10);
    for one in &all {
        let is_good = !one.name.starts_with(REFUSED);
        let signature = one.signature(&one.blob);
        assert_eq!(one.key().has_signed(&one.digest, &signature), is_good, "{}", one.name);
        for other in &all {
            if other.key != one.key {
                assert!(!other.key().has_signed(&one.digest, &signature), "{} by {}", one.name, other.name);
            }
            if other.digest != one.digest {
                assert!(!one.key().has_signed(&other.digest, &signature), "{} for {}", one.name, other.name);
            }
        }
    }
}

/// Changes in what is signed, in the signature and in the digest that is spoken of.
#[test]
fn none_survives_a_change() {
    for one in recorded() {
        let hex = one.digest.strip_prefix("sha256:").expect("a digest");
        let other = format!("{}{}", if hex.starts_with('0') { '1' } else { '0' }, &hex[1..]);
        for changed in [
            one.blob.replace(hex, &other),
            format!("{} ", one.blob),
            one.blob.replacen("\"sig\":\"M", "\"sig\":\"N", 1),
        ] {
            let is_bundle = one.annotations.is_empty();
            let is_same = changed == one.blob || (is_bundle && changed.trim_end() == one.blob);
            let signature = one.signature(&changed);
            let is_good = is_same && !one.name.starts_with(REFUSED);
            for digest in [one.digest.clone(), format!("sha256:{other}")] {
                assert_eq!(one.key().has_signed(&digest, &signature), is_good && digest == one.digest, "{}", one.name);
            }
        }
    }
}
