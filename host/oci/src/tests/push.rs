use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use bytes::Bytes;

use super::*;
use crate::{Kind, Manifest, Pushed, digest_of, media_type::OCI_MANIFEST};

const BLOB: &[u8] = b"the bytes of a layer";

fn no_progress() -> Arc<dyn Fn(u64) + Send + Sync> {
    Arc::new(|_| {})
}

async fn push(repository: &Repository, mount_from: &[&str]) -> crate::error::Result<Pushed> {
    let source = Bytes::from_static(BLOB);
    repository.push_blob(&digest_of(BLOB), BLOB.len() as u64, &source, mount_from, no_progress()).await
}

/// A registry that has nothing, mounts from `mountable` and takes uploads.
fn takes(mountable: &'static str) -> impl Fn(&Request) -> Response + Send + Sync + 'static {
    move |request| match request.method.as_str() {
        "HEAD" => Response::status(404),
        "POST" if request.param("from") == [mountable] => Response::status(201),
        "POST" => Response::status(202).with("location", "/upload/here?state=1"),
        "PUT" if request.body == BLOB && request.param("digest") == [digest_of(BLOB)] => Response::status(201),
        _ => Response::status(400),
    }
}

#[tokio::test]
async fn a_blob_is_sent_in_one_piece() {
    let server = Server::start(takes("")).await;
    assert_eq!(push(&repository(&server, "a"), &[]).await.unwrap(), Pushed::Uploaded);
    let digest = digest_of(BLOB);
    let head = format!("HEAD /v2/a/blobs/{digest}");
    assert_eq!(server.lines(), [head.as_str(), "POST /v2/a/blobs/uploads/", "PUT /upload/here"]);
    let put = &server.requests()[2];
    assert_eq!(put.param("state"), ["1"], "the location's own parameters stay");
    assert_eq!(put.header("content-length"), BLOB.len().to_string());
    assert_eq!(put.header("content-type"), "application/octet-stream");
}

#[tokio::test]
async fn a_blob_that_is_there_is_not_sent() {
    let server = Server::start(|_| Response::status(200)).await;
    assert_eq!(push(&repository(&server, "a"), &["b"]).await.unwrap(), Pushed::Existed);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn mounts_and_their_fallback() {
    let server = Server::start(takes("c")).await;
    assert_eq!(push(&repository(&server, "a"), &["a", "c"]).await.unwrap(), Pushed::Mounted);
    assert_eq!(server.requests().last().unwrap().param("mount"), [digest_of(BLOB)]);
    let server = Server::start(takes("c")).await;
    assert_eq!(push(&repository(&server, "a"), &["b"]).await.unwrap(), Pushed::Uploaded);
    assert_eq!(server.requests().len(), 3, "the location that the declined mount gave is used");
    let server = Server::start(|request| match request.param("from").is_empty() {
        true => takes("")(request),
        false => Response::status(403),
    })
    .await;
    assert_eq!(push(&repository(&server, "a"), &["b"]).await.unwrap(), Pushed::Uploaded);
    assert_eq!(server.requests().len(), 4, "a mount that is refused does not stop the push");
}

#[tokio::test]
async fn a_mount_asks_for_both_repositories() {
    let own = Arc::new(Mutex::new(String::new()));
    let realm = own.clone();
    let server = Server::start(move |request| {
        if request.path == "/token" {
            let scopes = request.param("scope").join(" ");
            return Response::ok(format!(r#"{{"token":"{}"}}"#, scopes.replace(' ', "+")));
        }
        if request.header("authorization").is_empty() {
            let challenge = format!(r#"Bearer realm="{}""#, realm.lock().unwrap());
            return Response::status(401).with("www-authenticate", challenge);
        }
        takes("b")(request)
    })
    .await;
    *own.lock().unwrap() = format!("http://{}/token", server.address);
    assert_eq!(push(&repository(&server, "a"), &["b"]).await.unwrap(), Pushed::Mounted);
    let last = server.requests().pop().unwrap();
    assert_eq!(last.header("authorization"), "Bearer repository:a:pull,push+repository:b:pull");
}

#[tokio::test]
async fn an_upload_that_fails_starts_again() {
    let puts = AtomicUsize::new(0);
    let server = Server::start(move |request| match request.method.as_str() {
        "PUT" if puts.fetch_add(1, Ordering::SeqCst) == 0 => Response::status(502),
        _ => takes("")(request),
    })
    .await;
    assert_eq!(push(&repository(&server, "a"), &[]).await.unwrap(), Pushed::Uploaded);
    let posts = server.lines().iter().filter(|line| line.starts_with("POST")).count();
    assert_eq!(posts, 2);
}

#[tokio::test]
async fn what_is_wrong_on_this_side_is_said() {
    let server = Server::start(takes("")).await;
    let repository = repository(&server, "a");
    let digest = digest_of(BLOB);
    let missing = PathBuf::from("/nonexistent/layer");
    let error = repository.push_blob(&digest, 1, &missing, &[], no_progress()).await.unwrap_err();
    assert!(matches!(error.kind, Kind::Local { .. }) && error.to_string().contains("/nonexistent/layer"), "{error}");
    for (size, words) in [(BLOB.len() as u64 + 1, "it ends after 20 of 21 bytes"), (5, "it is longer than 5 bytes")] {
        let source = Bytes::from_static(BLOB);
        let error = repository.push_blob(&digest, size, &source, &[], no_progress()).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_location_that_cannot_be() {
    for location in ["", "ftp://x/y"] {
        let server = Server::start(move |request| match request.method.as_str() {
            "POST" if location.is_empty() => Response::status(202),
            "POST" => Response::status(202).with("location", location),
            _ => Response::status(404),
        })
        .await;
        let error = push(&repository(&server, "a"), &[]).await.unwrap_err();
        assert!(matches!(error.kind, Kind::Invalid { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_manifest_is_put_as_it_is() {
    let server = Server::start(|_| Response::status(201)).await;
    let manifest = Manifest::new(Bytes::from_static(b"{}"), OCI_MANIFEST);
    repository(&server, "a").put_manifest("v1", &manifest).await.unwrap();
    let request = server.requests().pop().unwrap();
    assert_eq!((request.line().as_str(), &request.body[..]), ("PUT /v2/a/manifests/v1", &b"{}"[..]));
    assert_eq!(request.header("content-type"), OCI_MANIFEST);
}

#[tokio::test]
async fn progress_counts_the_bytes() {
    let server = Server::start(takes("")).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = seen.clone();
    let source = Bytes::from_static(BLOB);
    let progress = Arc::new(move |sent| note.lock().unwrap().push(sent));
    let repository = repository(&server, "a");
    repository.push_blob(&digest_of(BLOB), BLOB.len() as u64, &source, &[], progress).await.unwrap();
    assert_eq!(seen.lock().unwrap().last(), Some(&(BLOB.len() as u64)));
}
