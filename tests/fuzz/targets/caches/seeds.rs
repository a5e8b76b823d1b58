//! Files as a host writes them itself.

use std::{fs, path::Path};

use anyhow::Context;
use frontend::{Entry, Library};
use oci::wasm;
use signatures::Signature;

use crate::asks;

/// Writes what the target begins with into the directory that the variable names, and ends; where there is none, does nothing.
pub fn write_where_asked() {
    let Some(dir) = std::env::var_os("FUZZ_SEEDS") else { return };
    write(Path::new(&dir)).expect("seeds can be made and written");
    std::process::exit(0);
}

fn write(to: &Path) -> anyhow::Result<()> {
    let made = [
        ("call", b"c", record()?),
        ("entry", b"e", entry()?),
        ("bundle", b"b", bundle()?),
        ("signatures", b"s", signatures()?),
    ];
    for (name, kind, bytes) in made {
        fs::write(to.join(name), [kind.as_slice(), &bytes].concat())?;
    }
    Ok(())
}

/// A payload with a signature, as it is kept.
fn signatures() -> anyhow::Result<Vec<u8>> {
    let digest = format!("sha256:{}", "a".repeat(64));
    let payload = serde_json::json!({ "critical": {
        "identity": { "docker-reference": "a/b" }, "image": { "docker-manifest-digest": digest },
        "type": "cosign container image signature",
    } });
    let annotations = [("dev.cosignproject.cosign/signature".to_owned(), "A".repeat(86) + "==")].into();
    let kind = "application/vnd.dev.cosign.simplesigning.v1+json";
    let kept: Vec<_> = Signature::of_layer(kind, &annotations, payload.to_string().as_bytes()).into_iter().collect();
    Ok(serde_json::to_vec(&kept)?)
}

/// An archive with a frontend, which is too small to run.
fn bundle() -> anyhow::Result<Vec<u8>> {
    let packed = wasm::pack(b"\0asm\x0d\0\x01\0"[..].into(), &[], &[], &Default::default())?;
    let manifest = serde_json::json!({
        "mediaType": oci::media_type::OCI_MANIFEST, "digest": packed.manifest.digest, "size": packed.manifest.bytes.len(),
        "annotations": { build::BUNDLE_NAME: "r.example/a:1" },
    });
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [manifest] }).to_string();
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |path: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, path, bytes)
    };
    add("index.json", index.as_bytes())?;
    for blob in [&packed.manifest.bytes, &packed.config, &packed.component] {
        add(&format!("blobs/{}", oci::digest_of(blob).replacen(':', "/", 1)), blob)?;
    }
    Ok(archive.into_inner()?)
}

/// The record of a call and its answers, as the target takes them.
fn record() -> anyhow::Result<Vec<u8>> {
    let dir = tempfile::tempdir()?;
    let listed = asks::call(dir.path()).list()?;
    let id = &listed.first().context("the call is recorded")?.id;
    let json = |kind: &str| -> anyhow::Result<Vec<u8>> {
        let file = fs::read(dir.path().join(format!("{id}.{kind}")))?;
        let at = file.iter().position(|byte| *byte == b'\n').context("a digest comes first")?;
        Ok(file[at + 1..].to_vec())
    };
    Ok([json("call")?, json("answers")?].join(&b'\n'))
}

/// What a library notes of a name.
fn entry() -> anyhow::Result<Vec<u8>> {
    let dir = tempfile::tempdir()?;
    let library = Library::new(dir.path().to_owned());
    let [manifest, config, component] = [library.put(b"blob")?, library.put(b"{}")?, library.put(b"blob")?];
    library.note(&Entry { name: "a".into(), manifest, config, component, size: 4, checked: 7 })?;
    let file = fs::read_dir(dir.path().join("names"))?.next().context("it is noted")??.path();
    Ok(fs::read(file)?)
}
