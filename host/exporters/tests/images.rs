//! `oci`, `docker`, `image` and `registry`: images.

mod support;

use std::{
    collections::BTreeMap,
    io::{Read, Write as _},
    path::Path,
    sync::Arc,
};

use base64::Engine as _;
use oci::{Anonymous, Client, Hosts, digest_of, testing::Registry};
use serde_json::Value;
use support::{World, double, single};

/// The files of a tar.
fn files(tar: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(tar);
    let mut files = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        assert!(files.insert(name.clone(), content).is_none(), "{name} is there twice");
    }
    files
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// The blob that a descriptor names, checked.
fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
    let digest = descriptor["digest"].as_str().unwrap();
    let bytes = &files[&format!("blobs/{}", digest.replace(':', "/"))];
    assert_eq!(digest_of(bytes), digest);
    assert_eq!(descriptor["size"], bytes.len());
    bytes
}

fn unpacked(layer: &[u8], media_type: &str) -> Vec<u8> {
    let mut out = Vec::new();
    match media_type.rsplit(['+', '.']).next().unwrap() {
        "gzip" => flate2::read::MultiGzDecoder::new(layer).read_to_end(&mut out).unwrap(),
        "zstd" => zstd::stream::copy_decode(layer, out.by_ref()).map(|()| out.len()).unwrap(),
        _ => out.write(layer).unwrap(),
    };
    out
}

/// Checks one platform's image down to its layers, and answers its config and manifest.
fn check_image(files: &BTreeMap<String, Vec<u8>>, manifest: &Value) -> (Value, Value) {
    let manifest = json(blob(files, manifest));
    let config = json(blob(files, &manifest["config"]));
    let layers = manifest["layers"].as_array().unwrap();
    let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap();
    assert_eq!(layers.len(), diff_ids.len());
    for (layer, diff_id) in layers.iter().zip(diff_ids) {
        let plain = unpacked(blob(files, layer), layer["mediaType"].as_str().unwrap());
        assert_eq!(digest_of(&plain), diff_id.as_str().unwrap());
    }
    let with_layer = config["history"].as_array().unwrap().iter().filter(|entry| entry["empty_layer"] != true);
    assert_eq!(with_layer.count(), layers.len());
    (config, manifest)
}

#[tokio::test]
async fn an_oci_layout_holds_together() {
    let world = World::new();
    let built = single(&world.tree().await);
    let attrs = [("name", "alpine:3,localhost:5000/a/b"), ("annotation.org.example", "<x>")];
    let response = world.export("oci", &built, &attrs, None).await.unwrap();
    let tar = world.file();
    let files = files(&tar);
    assert!(!files.contains_key("manifest.json"));
    assert_eq!(json(&files["oci-layout"])["imageLayoutVersion"], "1.0.0");
    let index = json(&files["index.json"]);
    let names: Vec<&str> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["annotations"]["io.containerd.image.name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["docker.io/library/alpine:3", "localhost:5000/a/b:latest"]);
    assert_eq!(response["image.name"], names.join(","));
    assert_eq!(index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"], "3");

    let root = &index["manifests"][0];
    let (config, manifest) = check_image(&files, root);
    assert_eq!(root["digest"], response["containerimage.digest"].as_str());
    assert_eq!(manifest["config"]["digest"], response["containerimage.config.digest"].as_str());
    assert_eq!(manifest["annotations"]["org.example"], "<x>");
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 2);
    assert_eq!(config["config"]["Cmd"][0], "/a");
    assert_eq!(config["history"].as_array().unwrap().len(), 3);
    let engine = base64::engine::general_purpose::STANDARD;
    let descriptor = json(&engine.decode(&response["containerimage.descriptor"]).unwrap());
    assert_eq!(descriptor["digest"], root["digest"]);
    assert_eq!(descriptor["platform"], serde_json::json!({ "os": "linux", "architecture": "amd64" }));
    assert_eq!(root["platform"], descriptor["platform"]);
    assert_eq!(descriptor["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert!(world.received.lock().unwrap().largest <= 1 << 20);
}

#[tokio::test]
async fn the_same_tree_is_the_same_file() {
    let world = World::new();
    let built = single(&world.tree().await);
    let mut tars = Vec::new();
    for _ in 0..2 {
        world.export("oci", &built, &[], None).await.unwrap();
        tars.push(world.file());
    }
    assert!(tars[0] == tars[1], "the second export differs");
}

#[tokio::test]
async fn stores_of_other_times_agree_under_an_epoch() {
    let mut digests = Vec::new();
    for time in [1_500_000_000, 1_600_000_000] {
        let world = World::new();
        let tree = world.layer(world.store.scratch(), |root| {
            std::fs::write(root.join("a"), "same").unwrap();
            let file = std::fs::File::options().write(true).open(root.join("a")).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(time)).unwrap();
        });
        let tree = tree.await;
        let attrs = [("rewrite-timestamp", "true")];
        let response = world.export("oci", &single(&tree), &attrs, Some(1_000_000_000)).await.unwrap();
        let files = files(&world.file());
        let (config, manifest) = check_image(&files, &json(&files["index.json"])["manifests"][0]);
        assert_eq!(config["created"], "2001-09-09T01:46:40Z");
        assert_eq!(manifest["layers"][0]["annotations"]["buildkit/rewritten-timestamp"], "1000000000");
        digests.push(response["containerimage.digest"].clone());
    }
    assert_eq!(digests[0], digests[1]);
}

#[tokio::test]
async fn compressions_and_media_types() {
    let world = World::new();
    let built = single(&world.tree().await);
    for (attrs, want) in [
        (&[("compression", "uncompressed")][..], "application/vnd.oci.image.layer.v1.tar"),
        (&[("compression", "gzip"), ("compression-level", "1")], "application/vnd.oci.image.layer.v1.tar+gzip"),
        (&[("compression", "zstd")], "application/vnd.oci.image.layer.v1.tar+zstd"),
        (&[("oci-mediatypes", "false")], "application/vnd.docker.image.rootfs.diff.tar.gzip"),
    ] {
        world.export("oci", &built, attrs, None).await.unwrap();
        let files = files(&world.file());
        let (_, manifest) = check_image(&files, &json(&files["index.json"])["manifests"][0]);
        assert_eq!(manifest["layers"][0]["mediaType"], want);
    }
}

#[tokio::test]
async fn several_platforms_make_an_index() {
    let world = World::new();
    let built = double(&world.tree().await);
    let attrs = [
        ("annotation-index.a", "b"),
        ("annotation-manifest[linux/arm64].only", "arm"),
        ("annotation[linux/riscv64].a", "is not built, and not missed"),
    ];
    let response = world.export("oci", &built, &attrs, None).await.unwrap();
    assert!(!response.contains_key("containerimage.config.digest"));
    let files = files(&world.file());
    let root = &json(&files["index.json"])["manifests"][0];
    let index = json(blob(&files, root));
    assert_eq!(index["annotations"]["a"], "b");
    let platforms: Vec<&str> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let (config, manifest) = check_image(&files, entry);
            assert_eq!(config["architecture"], entry["platform"]["architecture"]);
            assert_eq!(manifest["annotations"]["only"] == "arm", entry["platform"]["architecture"] == "arm64");
            entry["platform"]["architecture"].as_str().unwrap()
        })
        .collect();
    assert_eq!(platforms, ["amd64", "arm64"]);
}

#[tokio::test]
async fn what_does_not_fit_is_refused() {
    let world = World::new();
    let tree = world.tree().await;
    for (kind, built, attrs, want) in [
        ("docker", double(&tree), &[][..], "Docker loads images of one platform"),
        ("oci", single(&tree), &[("annotation-index.a", "b")], "need several platforms"),
        ("oci", single(&tree), &[("name", "*")], "it gave none"),
        ("oci", exporters::Built::default(), &[], "made nothing"),
    ] {
        let error = format!("{:#}", world.export(kind, &built, attrs, None).await.unwrap_err());
        assert!(error.contains(want), "{kind} {attrs:?}: {error}");
    }
}

#[tokio::test]
async fn docker_can_load_it() {
    let world = World::new();
    let built = single(&world.tree().await);
    world.export("docker", &built, &[("name", "alpine:3")], None).await.unwrap();
    let files = files(&world.file());
    let images = json(&files["manifest.json"]);
    assert_eq!(images[0]["RepoTags"][0], "alpine:3");
    let config = json(&files[images[0]["Config"].as_str().unwrap()]);
    let layers = images[0]["Layers"].as_array().unwrap();
    assert_eq!(layers.len(), config["rootfs"]["diff_ids"].as_array().unwrap().len());
    assert!(layers.iter().all(|layer| files.contains_key(layer.as_str().unwrap())));
}

#[tokio::test]
async fn a_layout_as_a_directory() {
    let world = World::new();
    let built = single(&world.tree().await);
    let response = world.export("oci", &built, &[("tar", "false")], None).await.unwrap();
    world.export("oci", &built, &[], None).await.unwrap();
    for (path, content) in files(&world.file()).into_iter().filter(|(path, _)| !path.ends_with('/')) {
        assert!(std::fs::read(world.out().join(&path)).unwrap() == content, "{path} differs");
    }
    assert!(response.contains_key("containerimage.digest"));
}

#[tokio::test]
async fn an_image_is_kept_under_its_names() {
    let world = World::new();
    let built = single(&world.tree().await);
    let attrs = [("name", "app:1,other"), ("dangling-name-prefix", "dangling")];
    let response = world.export("image", &built, &attrs, None).await.unwrap();
    let digest = &response["containerimage.digest"];
    assert_eq!(response["image.name"], format!("app:1,other,dangling@{digest}"), "names are told as they were given");
    for name in ["app:1", "other:latest"] {
        let reference: oci::Reference = name.parse().unwrap();
        let noted = world.store.get(reference.record_key().as_bytes()).unwrap();
        assert_eq!(noted.as_deref(), Some(digest.as_bytes()));
    }
    let manifest = json(&std::fs::read(world.store.blob(digest).unwrap().unwrap()).unwrap());
    for descriptor in manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]) {
        assert!(world.store.blob(descriptor["digest"].as_str().unwrap()).unwrap().is_some());
    }
    let unkept = [("name", "unkept"), ("store", "false")];
    world.export("image", &built, &unkept, None).await.unwrap();
    let reference: oci::Reference = "unkept".parse().unwrap();
    assert_eq!(world.store.get(reference.record_key().as_bytes()).unwrap(), None);
}

async fn pull(host: &str, name: &str) -> anyhow::Result<oci::Manifest> {
    let client = Client::new(Arc::new(Hosts::new(BTreeMap::new())), Arc::new(Anonymous));
    let reference: oci::Reference = format!("{host}/{name}").parse()?;
    Ok(client.repository(&reference).manifest(reference.target()).await?)
}

#[tokio::test]
async fn images_are_pushed() {
    let world = World::new();
    let Some(registry) = Registry::start_or_skip(world.root.path(), "") else { return };
    let tree = world.tree().await;
    let host = &registry.host;
    let name = format!("{host}/one:1,{host}/two");
    let response = world.export("registry", &single(&tree), &[("name", &name)], None).await.unwrap();
    for name in ["one:1", "two:latest"] {
        assert_eq!(pull(host, name).await.unwrap().digest, response["containerimage.digest"]);
    }

    let name = format!("{host}/many:1");
    let attrs = [("name", name.as_str()), ("push", "true"), ("store", "false")];
    let response = world.export("image", &double(&tree), &attrs, None).await.unwrap();
    let index = pull(host, "many:1").await.unwrap();
    assert_eq!(index.digest, response["containerimage.digest"]);
    for manifest in json(&index.bytes)["manifests"].as_array().unwrap() {
        let digest = manifest["digest"].as_str().unwrap();
        assert_eq!(pull(host, &format!("many@{digest}")).await.unwrap().digest, digest);
    }

    let name = format!("{host}/bare");
    let attrs = [("name", name.as_str()), ("push-by-digest", "true")];
    let response = world.export("registry", &single(&tree), &attrs, None).await.unwrap();
    let digest = &response["containerimage.digest"];
    assert_eq!(&pull(host, &format!("bare@{digest}")).await.unwrap().digest, digest);
    assert!(pull(host, "bare:latest").await.is_err());

    let wrong = format!("{host}/bare@{}", digest_of(b"other"));
    let error = world.export("registry", &single(&tree), &[("name", &wrong)], None).await.unwrap_err();
    assert!(format!("{error:#}").contains("it has another digest"), "{error:#}");
}

#[tokio::test]
async fn a_damaged_layer_is_not_exported() {
    let world = World::new();
    let built = single(&world.tree().await);
    world.export("oci", &built, &[], None).await.unwrap();
    let files = files(&world.file());
    let (_, manifest) = check_image(&files, &json(&files["index.json"])["manifests"][0]);
    let layer = manifest["layers"][1]["digest"].as_str().unwrap();
    damage(&world.store.blob(layer).unwrap().unwrap());
    let error = format!("{:#}", world.export("oci", &built, &[], None).await.unwrap_err());
    assert!(error.contains("its bytes have the digest"), "{error}");
    assert!(!world.received.lock().unwrap().finished);
}

/// Changes a byte and leaves the size.
fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let mut permissions = path.metadata().unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
    std::fs::set_permissions(path, permissions).unwrap();
    std::fs::File::create(path).unwrap().write_all(&bytes).unwrap();
}

/// Says where a layer is, and fails when somebody wants its bytes.
struct Elsewhere(String);

#[async_trait::async_trait]
impl store::Provider for Elsewhere {
    async fn fetch(
        &self,
        descriptor: &store::Descriptor,
        _: u64,
    ) -> anyhow::Result<Box<dyn tokio::io::AsyncRead + Send + Unpin>> {
        anyhow::bail!("{} was fetched", descriptor.digest)
    }

    fn locator(&self) -> String {
        format!("registry:{}", self.0)
    }
}

#[tokio::test]
async fn a_base_image_is_pushed_without_its_bytes() {
    let world = World::new();
    let Some(registry) = Registry::start_or_skip(world.root.path(), "") else { return };
    let base = format!("{}/base", registry.host);
    world.export("registry", &single(&world.tree().await), &[("name", &base)], None).await.unwrap();
    let manifest = json(&pull(&registry.host, "base").await.unwrap().bytes);
    let config = world.store.blob(manifest["config"]["digest"].as_str().unwrap()).unwrap().unwrap();
    let config = json(&std::fs::read(config).unwrap());

    // Another engine, which has none of the layers.
    let other = World::new();
    let layers = manifest["layers"].as_array().unwrap().iter().zip(config["rootfs"]["diff_ids"].as_array().unwrap());
    let provider = Arc::new(Elsewhere(base));
    let lazy = layers.map(|(layer, diff_id)| store::LazyLayer {
        blob: serde_json::from_value(serde_json::json!({
            "media_type": layer["mediaType"], "digest": layer["digest"], "size": layer["size"],
        }))
        .unwrap(),
        diff_id: diff_id.as_str().unwrap().to_owned(),
        provider: provider.clone(),
        progress: None,
    });
    let snapshot = other.store.image(lazy.collect()).unwrap();
    let name = format!("{}/copy", registry.host);
    other.export("registry", &single(&snapshot), &[("name", &name)], None).await.unwrap();
    let copied = json(&pull(&registry.host, "copy").await.unwrap().bytes);
    assert_eq!(copied["layers"], manifest["layers"]);
}
