use std::fs;

use super::*;

/// An OCI layout with one image, tagged `v1`; the digest of its manifest.
fn layout(dir: &Path) -> String {
    let layer = tar(&[("f", "from a layout")]);
    let config =
        format!(r#"{{"os":"linux","architecture":"amd64","rootfs":{{"diff_ids":["{}"]}}}}"#, digest_of(&layer));
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": descriptor(OCI_CONFIG, config.as_bytes()),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    })
    .to_string();
    fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    for bytes in [&layer[..], config.as_bytes(), manifest.as_bytes()] {
        fs::write(blob(dir, &digest_of(bytes)), bytes).unwrap();
    }
    let mut entry = descriptor(OCI_MANIFEST, manifest.as_bytes());
    entry["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": "v1"});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [entry]});
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
    digest_of(manifest.as_bytes())
}

fn blob(dir: &Path, digest: &str) -> PathBuf {
    dir.join("blobs/sha256").join(&digest[7..])
}

fn shares(name: &str, dir: &Path) -> Arc<Client> {
    Arc::new(Client { dirs: HashMap::from([(name.to_string(), dir.to_path_buf())]), ..client() })
}

#[tokio::test]
async fn by_digest_and_by_tag() {
    let world = World::new();
    let dir = world.dir.path().join("layout");
    let digest = layout(&dir);
    let build = [shares("base", &dir)];
    let by_digest = request(&format!("oci-layout://base@{digest}"), &[], &build);
    assert_eq!(world.files(&by_digest).await.unwrap(), is(&[("f", "from a layout")]));
    let by_tag = world.resolve(&request("oci-layout://base:v1", &[], &build)).await.unwrap();
    assert_eq!(by_tag.key(), world.resolve(&by_digest).await.unwrap().key());
    assert_eq!(by_tag.pinned(), format!("oci-layout://base@{digest}"));
    let attrs = [("oci.store", "base"), ("oci.session", build[0].id.as_str())];
    let by_store = request(&format!("oci-layout://other@{digest}"), &attrs, &build);
    assert!(world.resolve(&by_store).await.is_ok());
}

#[tokio::test]
async fn refusals() {
    let world = World::new();
    let dir = world.dir.path().join("layout");
    let digest = layout(&dir);
    let build = [shares("base", &dir)];
    let absent = digest_of(b"absent");
    fs::write(blob(&dir, &digest_of(b"right")), "wrong").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", blob(&dir, &digest_of(b"link"))).unwrap();
    fs::create_dir(blob(&dir, &digest_of(b"dir"))).unwrap();
    let table = [
        (format!("base@{absent}"), "cannot read blobs/sha256/"),
        (format!("base@{}", digest_of(b"right")), "holds other bytes"),
        (format!("base@{}", digest_of(b"link")), "cannot read blobs/sha256/"),
        (format!("base@{}", digest_of(b"dir")), "it is no file"),
        ("base:v2".to_string(), "has no image tagged \"v2\"; it has: v1"),
        (format!("other@{digest}"), "no client of this build shares it"),
    ];
    for (name, words) in table {
        let error = world.resolve(&request(&format!("oci-layout://{name}"), &[], &build)).await.err().expect(&name);
        assert!(error.contains(words), "{name}: {error}");
    }
}
