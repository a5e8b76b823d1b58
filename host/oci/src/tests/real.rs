//! Against Debian's docker-registry, where it is installed.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use bytes::Bytes;
use tokio::process::Command;

use super::*;
use crate::{Document, HostConfig, Kind, Manifest, Pushed, digest_of, media_type::OCI_MANIFEST, testing::Registry};

#[tokio::test]
async fn push_mount_and_pull() {
    let dir = tempfile::tempdir().unwrap();
    let Some(registry) = Registry::start_or_skip(dir.path(), "") else { return };
    let client = Client::new(hosts(), Arc::new(Anonymous));
    let repository = |name: &str| client.repository(&format!("{}/{name}", registry.host).parse().unwrap());
    let layer = Bytes::from((0..3_000_000u32).map(|i| (i ^ (i >> 7)) as u8).collect::<Vec<_>>());
    let (layer_digest, layer_size) = (digest_of(&layer), layer.len() as u64);
    let file = dir.path().join("layer");
    std::fs::write(&file, &layer).unwrap();
    let nothing = || Arc::new(|_| {});

    let a = repository("a:1");
    assert_eq!(a.push_blob(&layer_digest, layer_size, &file, &[], nothing()).await.unwrap(), Pushed::Uploaded);
    assert_eq!(a.push_blob(&layer_digest, layer_size, &file, &[], nothing()).await.unwrap(), Pushed::Existed);
    let b = repository("b/c:1");
    assert_eq!(b.push_blob(&layer_digest, layer_size, &file, &["a"], nothing()).await.unwrap(), Pushed::Mounted);
    let d = repository("d:1");
    assert_eq!(d.push_blob(&layer_digest, layer_size, &file, &["nope"], nothing()).await.unwrap(), Pushed::Uploaded);

    let config = Bytes::from_static(b"{}");
    a.push_blob(&digest_of(&config), 2, &config, &[], nothing()).await.unwrap();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": crate::media_type::OCI_CONFIG, "digest": digest_of(&config), "size": 2},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer_digest, "size": layer_size}],
    });
    let manifest = Manifest::new(manifest.to_string().into(), OCI_MANIFEST);
    a.put_manifest("1", &manifest).await.unwrap();
    assert_eq!(a.head_manifest("1").await.unwrap().unwrap().digest, manifest.digest);
    let pulled = a.manifest("1").await.unwrap();
    assert_eq!(pulled, manifest);
    let Document::Image(image) = pulled.parse().unwrap() else { panic!("an image") };
    assert_eq!(image.layers()[0].digest().to_string(), layer_digest);
    assert!(read(&b, &layer_digest, layer_size, 0).await.unwrap() == layer);
    assert!(read(&a, &layer_digest, layer_size, 2_999_000).await.unwrap() == layer[2_999_000..]);
    assert_eq!(a.small_blob(&digest_of(&config), 10).await.unwrap(), config);
    assert!(a.manifest("nope").await.unwrap_err().is_not_found());
}

/// Makes an authority `ca.pem`, and a certificate `cert.pem` with `key.pem` for 127.0.0.1; whether there is an openssl to do it.
async fn certificates(dir: &Path) -> bool {
    let common = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"];
    let own = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"];
    let authority = ["-keyout", "ca.key", "-out", "ca.pem"];
    let certificate = ["-keyout", "key.pem", "-out", "cert.pem", "-CA", "ca.pem", "-CAkey", "ca.key"];
    for args in [[&common[..], &authority].concat(), [&common[..], &certificate, &own].concat()] {
        match Command::new("openssl").args(args).current_dir(dir).output().await {
            Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => {
                println!("skipped: openssl cannot be run: {error}");
                return false;
            }
        }
    }
    true
}

#[tokio::test]
async fn tls() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    if !certificates(dir.path()).await {
        return;
    }
    let files = format!(
        ", tls: {{certificate: {0}/cert.pem, key: {0}/key.pem, clientcas: [{0}/ca.pem]}}",
        dir.path().display()
    );
    let Some(registry) = Registry::start_or_skip(dir.path(), &files) else { return };
    let manifest = async |config: HostConfig| {
        let config = HostConfig { plain_http: Some(false), ..config };
        let hosts = crate::Hosts::new(BTreeMap::from([(registry.host.clone(), config)])).with_retry(quick());
        let client = Client::new(Arc::new(hosts), Arc::new(Anonymous));
        client.repository(&format!("{}/a:1", registry.host).parse().unwrap()).manifest("1").await.unwrap_err()
    };
    let (ca, key_pair) = (vec![at("ca.pem")], Some((at("key.pem"), at("cert.pem"))));
    let none = HostConfig::default();
    // Whom to trust and who we are; whether the registry is spoken to, and then has no such image.
    let table = [
        (HostConfig { ca: ca.clone(), key_pair: key_pair.clone(), ..none.clone() }, true),
        (HostConfig { insecure: true, key_pair: key_pair.clone(), ..none.clone() }, true),
        (HostConfig { ca, ..none.clone() }, false),
        (HostConfig { key_pair, ..none.clone() }, false),
        (none, false),
    ];
    for (config, reached) in table {
        let shown = format!("{config:?}");
        let error = manifest(config).await;
        match reached {
            true => assert!(error.is_not_found(), "{shown}: {error}"),
            false => assert!(matches!(error.kind, Kind::Unreachable { .. }), "{shown}: {error}"),
        }
    }
}
