//! Whatever became of the files that a host keeps of frontends, or is brought, reading them ends with what can be used, or with nothing.
//!
//! The first byte says which file the rest is: see the cases below.
#![no_main]

mod asks;
mod seeds;

use std::{fs, io::Cursor, path::Path, sync::LazyLock};

use asks::{Asks, TOKIO, call};
use frontend::{Calls, Library};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};
use signatures::{Key, Signature};
use sys::artifact::Vault;

/// A key that is used for Ed25519 and for Ed25519ph, of which nobody has the other half.
static KEY: LazyLock<Key> = LazyLock::new(|| {
    let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEADKh7+7OJbNLVXmo6SFaCfXbohMCajPGH69WsvnDYY5g=\n-----END PUBLIC KEY-----";
    Key::from_pem("it", pem).expect("it is a key")
});

/// What the record of this call is named.
static ID: LazyLock<String> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a directory");
    call(dir.path()).list().expect("it is readable").remove(0).id
});

fuzz_target!(init: seeds::write_where_asked(), |bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a directory");
    match kind {
        b'c' => record(dir.path(), rest),
        b'e' => entry(dir.path(), rest),
        b's' => signatures(rest),
        b'm' => machine_code(dir.path(), rest),
        b'b' => bundle(dir.path(), rest),
        _ => {}
    }
});

/// A recorded call and its answers, as JSON, a line for each; behind digests that are right.
fn record(dir: &Path, bytes: &[u8]) {
    let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
    for kind in ["call", "answers"] {
        let line = lines.next().unwrap_or_default();
        let file = [hex::encode(Sha256::digest(line)).as_bytes(), b"\n", line].concat();
        fs::write(dir.join(format!("{}.{kind}", *ID)), file).expect("it is ours");
    }
    let calls = Calls::new(dir.to_owned());
    calls.list().expect("it is readable");
    if let Some(recorded) = calls.recorded(&ID) {
        recorded.text();
        let _ = TOKIO.block_on(recorded.replay(&Asks));
    }
    call(dir);
}

/// Signatures that were kept with a frontend: whatever they say, this key has signed nothing of this digest.
fn signatures(bytes: &[u8]) {
    let Ok(kept) = serde_json::from_slice::<Vec<Signature>>(bytes) else { return };
    let digest = format!("sha256:{}", "a".repeat(64));
    assert!(!kept.iter().any(|signature| KEY.has_signed(&digest, signature)));
}

/// What a name means.
fn entry(dir: &Path, bytes: &[u8]) {
    let names = dir.join("library/names");
    fs::create_dir_all(&names).expect("it is ours");
    fs::write(names.join(format!("{}.json", hex::encode(Sha256::digest("a")))), bytes).expect("it is ours");
    let canary = dir.join("canary");
    fs::write(&canary, "").expect("it is ours");
    let library = Library::new(dir.join("library"));
    library.put(b"blob").expect("it is ours");
    assert!(library.find("a").is_none_or(|entry| entry.name == "a"));
    library.entries().expect("it is readable");
    let _ = library.find_manifest("sha256:aa");
    library.remove("a").expect("what is ours can be removed");
    assert!(canary.exists(), "nothing else is touched");
}

/// A compiled component that somebody changed is never taken.
fn machine_code(dir: &Path, bytes: &[u8]) {
    let vault = Vault::open(dir).expect("it is ours");
    fs::write(dir.join("code"), bytes).expect("it is ours");
    assert!(vault.load("code").expect("it is readable").is_none());
    assert!(vault.open_file("code").expect("it is readable").is_none());
}

/// An archive of frontends.
fn bundle(dir: &Path, bytes: &[u8]) {
    let library = Library::new(dir.join("library"));
    match TOKIO.block_on(build::load_bundle(Cursor::new(bytes.to_vec()), &library)) {
        Ok(names) => assert!(names.iter().all(|name| library.find(name).is_some()), "what is taken in is there"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let written = fs::read_dir(dir).expect("it is ours").filter_map(Result::ok);
    assert!(written.into_iter().all(|entry| entry.file_name() == "library"), "nothing else is written");
}
