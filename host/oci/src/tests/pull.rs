use std::{collections::BTreeMap, sync::Arc};

use super::*;
use crate::{
    BlobReader, HostConfig, Kind, MANIFEST_BYTES_MAX, digest_of,
    media_type::{OCI_INDEX, OCI_MANIFEST},
    testing::Content,
};

const MANIFEST: &str = r#"{"schemaVersion":2}"#;

fn content() -> Content {
    let mut content = Content::default();
    content.manifest(Some("1"), OCI_MANIFEST, MANIFEST);
    content
}

async fn good() -> Server {
    Server::start(move |request| content().answer(request)).await
}

#[tokio::test]
async fn a_manifest_by_tag_and_by_digest() {
    let server = good().await;
    let repository = repository(&server, "a/b:1");
    let by_tag = repository.manifest("1").await.unwrap();
    assert_eq!((&by_tag.bytes[..], by_tag.media_type.as_str()), (MANIFEST.as_bytes(), OCI_MANIFEST));
    assert_eq!(repository.manifest(&by_tag.digest).await.unwrap(), by_tag);
    let head = repository.head_manifest("1").await.unwrap().unwrap();
    assert_eq!((head.digest, head.size), (by_tag.digest, MANIFEST.len() as u64));
    assert_eq!(repository.head_manifest("2").await.unwrap(), None);
    assert_eq!(server.lines()[0], "GET /v2/a/b/manifests/1");
    assert!(server.requests()[0].header("accept").contains("manifest.list.v2"));
}

#[tokio::test]
async fn what_a_registry_answers_and_what_the_user_reads() {
    let wrong = Response::ok("{}").with("content-type", OCI_MANIFEST);
    let large = Response::ok("").with("content-length", (MANIFEST_BYTES_MAX + 1).to_string());
    let said = r#"{"errors":[{"code":"DENIED","message":"pull access denied\nfor a"}]}"#;
    // The answer to every request; words of the error; how many requests were made.
    let table = [
        (Response::status(401), "wants a login (401): check the name, then `docker login 127.0.0.1", 1),
        (
            Response { body: said.into(), ..Response::status(403) },
            "denies access (403: denied pull access denied for a)",
            1,
        ),
        (Response::status(404), "has none (404): check name, tag and digest", 1),
        (Response::status(418), "refused (418)", 1),
        (Response::status(503), "failed repeatedly (503): try again later", 4),
        (Response::status(429).with("retry-after", "0"), "says to wait 0 s", 4),
        (Response::status(429).with("retry-after", "3600"), "says to wait 3600 s: try again later, log in", 1),
        (Response::status(429), "limits how often it may be asked (429): try again later", 4),
        (Response::ok(MANIFEST).cut(3), "cut the answer off after 3 of 19 bytes", 4),
        (wrong, "sent other bytes than asked for: want sha256:", 1),
        (large, "more than the 4194304 bytes", 1),
    ];
    let digest = digest_of(MANIFEST.as_bytes());
    for (response, words, requests) in table {
        let answer = response.clone();
        let server = Server::start(move |_| answer.clone()).await;
        let error = repository(&server, "a").manifest(&digest).await.unwrap_err().to_string();
        let name = format!("{}/a@{digest}: registry {} ", server.address, server.address);
        assert!(error.starts_with(&name), "{error}");
        assert!(error.contains(words), "{response:?}: {error}");
        assert_eq!(server.requests().len(), requests, "{response:?}");
    }
}

#[tokio::test]
async fn a_registry_that_recovers() {
    let troubles =
        vec![Response::status(500), Response::status(429).with("retry-after", "0"), Response::ok(MANIFEST).cut(5)];
    let server = Server::start(script(troubles, |request| content().answer(request))).await;
    assert_eq!(repository(&server, "a").manifest("1").await.unwrap().bytes, MANIFEST);
    assert_eq!(server.requests().len(), 4);
}

#[tokio::test]
async fn a_digest_in_the_header_that_is_not_that_of_the_bytes() {
    let lie = Response::ok("{}").with("docker-content-digest", digest_of(b"other"));
    let server = Server::start(move |_| lie.clone()).await;
    let error = repository(&server, "a").manifest("1").await.unwrap_err();
    assert!(matches!(error.kind, Kind::WrongDigest { .. }), "{error}");
}

/// Stops `server`. Its port is free once the listener is gone, which the task's end tells.
async fn gone(server: Server) {
    let address = server.address;
    drop(server);
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn nobody_listens() {
    let server = good().await;
    let repository = repository(&server, "a");
    gone(server).await;
    let error = repository.manifest("1").await.unwrap_err();
    assert!(matches!(&error.kind, Kind::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("cannot be reached"), "{error}");
}

#[tokio::test]
async fn a_blob_goes_on_where_it_broke() {
    let data: Vec<u8> = (0..100_000u32).map(|i| i as u8).collect();
    let mut content = Content::default();
    let digest = content.blob(data.clone());
    for ranges in [true, false] {
        let content = content.clone();
        let cuts = Arc::new(std::sync::Mutex::new(vec![70_000, 0, 1, 30_000]));
        let server = Server::start(move |request| {
            let mut request = request.clone();
            if !ranges {
                request.headers.remove("range");
            }
            let response = content.answer(&request);
            match cuts.lock().unwrap().pop() {
                Some(cut) => response.cut(cut),
                None => response,
            }
        })
        .await;
        let hosts = Hosts::default().with_retry(Retry { attempts: 9, ..quick() });
        let client = Client::new(Arc::new(hosts), Arc::new(Anonymous));
        let repository = client.repository(&reference(&server, "a"));
        assert!(read(&repository, &digest, data.len() as u64, 0).await.unwrap() == data, "ranges: {ranges}");
        let asked: Vec<_> = server.requests().iter().map(|r| r.header("range").to_string()).collect();
        match ranges {
            true => assert_eq!(asked, ["", "bytes=30000-", "bytes=30001-", "bytes=30001-"]),
            false => assert_eq!(asked.len(), 5, "without ranges the longest of the cut answers decides: {asked:?}"),
        }
        assert!(read(&repository, &digest, data.len() as u64, 99_990).await.unwrap() == data[99_990..]);
    }
}

#[tokio::test]
async fn a_blob_that_is_not_what_was_asked_for() {
    let digest = digest_of(b"12345");
    // The answer to every request; words of the error.
    let table = [
        (Response::ok("54321"), "sent other bytes than asked for"),
        (Response::ok("1234567"), "more than the 5 bytes"),
        (Response::ok("12345").cut(2), "cut the answer off after"),
        (Response::ok("123"), "cut the answer off after 3 of 5 bytes"),
        (Response::status(404), "has none"),
    ];
    for (response, words) in table {
        let answer = response.clone();
        let server = Server::start(move |_| answer.clone()).await;
        let error = read(&repository(&server, "a"), &digest, 5, 0).await.unwrap_err();
        assert!(error.contains(words) && error.contains(&format!("blob {digest} of")), "{response:?}: {error}");
    }
    let lie = Response { status: 206, ..Response::ok("5") }.with("content-range", "bytes 0-0/5");
    let server = Server::start(move |_| lie.clone()).await;
    let error = read(&repository(&server, "a"), &digest, 5, 4).await.unwrap_err();
    assert!(error.contains("makes no sense"), "{error}");
}

#[tokio::test]
async fn the_error_inside_a_read_can_be_told() {
    let server = Server::start(|_| Response::ok("54321")).await;
    let mut reader = repository(&server, "a").blob(&digest_of(b"12345"), 5, 0).await.unwrap();
    let error = reader.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert!(matches!(BlobReader::error(&error).unwrap().kind, Kind::WrongDigest { .. }));
}

#[tokio::test]
async fn small_blobs_are_limited_and_verified() {
    let mut content = Content::default();
    let digest = content.blob("config");
    let server = Server::start(move |request| content.answer(request)).await;
    let repository = repository(&server, "a");
    assert_eq!(repository.small_blob(&digest, 6).await.unwrap(), "config");
    assert!(matches!(repository.small_blob(&digest, 5).await.unwrap_err().kind, Kind::TooLarge { limit: 5 }));
    assert_eq!(repository.blob_size(&digest).await.unwrap(), Some(6));
    assert_eq!(repository.blob_size(&digest_of(b"")).await.unwrap(), None);
    let liar = Server::start(|_| Response::ok("konfig")).await;
    let error = super::repository(&liar, "a").small_blob(&digest, 6).await.unwrap_err();
    assert!(matches!(error.kind, Kind::WrongDigest { .. }), "{error}");
}

#[tokio::test]
async fn a_mirror_is_asked_first_and_may_fail() {
    for mirror_works in [true, false] {
        let mirror = Server::start(move |request| match mirror_works {
            true => content().answer(request),
            false => Response::status(404),
        })
        .await;
        let origin = good().await;
        let name = reference(&origin, "a");
        let config = HostConfig { mirrors: vec![format!("{}/proxy", mirror.address)], ..HostConfig::default() };
        let hosts = Hosts::new(BTreeMap::from([(name.registry().to_string(), config)])).with_retry(quick());
        let repository = Client::new(Arc::new(hosts), Arc::new(Anonymous)).repository(&name);
        assert_eq!(repository.manifest("1").await.unwrap().bytes, MANIFEST);
        assert_eq!(mirror.lines(), ["GET /v2/proxy/a/manifests/1"]);
        assert_eq!(mirror.requests()[0].param("ns"), [name.registry()]);
        assert_eq!(origin.requests().len(), usize::from(!mirror_works));
    }
}

#[tokio::test]
async fn an_error_has_what_each_mirror_said() {
    for (status, is_auth) in [(401, true), (403, true), (404, false), (500, false)] {
        let mirror = Server::start(move |_| Response::status(status)).await;
        let origin = Server::start(|_| Response::status(404)).await;
        let name = reference(&origin, "a");
        let config = HostConfig { mirrors: vec![mirror.address.to_string()], ..HostConfig::default() };
        let hosts = Hosts::new(BTreeMap::from([(name.registry().to_string(), config)])).with_retry(quick());
        let repository = Client::new(Arc::new(hosts), Arc::new(Anonymous)).repository(&name);
        let error = repository.manifest("1").await.unwrap_err();
        assert!(error.is_not_found() && error.is_auth() == is_auth, "{error}");
        let tries = if status == 500 { quick().attempts as usize } else { 1 };
        assert_eq!(
            (mirror.requests().len(), origin.requests().len()),
            (tries, 1),
            "a definite answer is not asked for again"
        );
        gone(origin).await;
        let error = repository.manifest("1").await.unwrap_err().to_string();
        let (first, then) = error.split_once("; before that, ").expect("both places");
        assert!(
            first.starts_with(&format!("{}:1: registry {} cannot be reached", name.name(), name.host())),
            "{error}"
        );
        assert!(
            then.starts_with(&format!("registry {} ", mirror.address)) && then.contains(&status.to_string()),
            "{error}"
        );
    }
}

#[tokio::test]
async fn redirects() {
    let storage = good().await;
    let to = format!("http://{}/v2/a/manifests/1", storage.address);
    let server = Server::start(move |_| Response::status(307).with("location", to.clone())).await;
    assert_eq!(repository(&server, "a").manifest("1").await.unwrap().bytes, MANIFEST);
    for bad in ["file:///etc/passwd", "/v2/a/manifests/1"] {
        let server = Server::start(move |_| Response::status(307).with("location", bad)).await;
        repository(&server, "a").manifest("1").await.unwrap_err();
        assert!(server.requests().len() <= 36, "a circle of redirects ends");
    }
}

#[tokio::test]
async fn what_refers_to_a_manifest_in_a_list_or_under_a_tag() {
    let digest = digest_of(MANIFEST.as_bytes());
    let index = |digest: &str| {
        let manifest = serde_json::json!({
            "mediaType": OCI_MANIFEST, "digest": digest, "size": 2, "artifactType": "application/vnd.example",
        });
        serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [manifest]}).to_string()
    };
    let (listed, tagged) = (index(&digest_of(b"listed")), index(&digest_of(b"tagged")));
    let list = Response::ok(listed).with("content-type", OCI_INDEX);
    // What the registry answers to the question, whether there is a tag, and what is found.
    let table = [
        (list.clone(), true, Some("listed")),
        (list, false, Some("listed")),
        (Response::status(404), true, Some("tagged")),
        (Response::status(405), true, Some("tagged")),
        (Response::ok("<html>"), true, Some("tagged")),
        (Response::status(404), false, None),
    ];
    for (answer, has_tag, found) in table {
        let (tag, tagged) = (digest.replacen(':', "-", 1), tagged.clone());
        let server = Server::start(move |request| match request.path.split_once("/referrers/") {
            Some(_) => answer.clone(),
            None if has_tag && request.path.ends_with(&tag) => {
                Response::ok(tagged.clone()).with("content-type", OCI_INDEX)
            }
            None => Response::status(404),
        })
        .await;
        let referrers = repository(&server, "a/b").referrers(&digest).await.unwrap();
        let digests: Vec<_> = referrers.iter().map(|entry| entry.digest().to_string()).collect();
        assert_eq!(digests, found.map(|name| digest_of(name.as_bytes())).into_iter().collect::<Vec<_>>());
        assert_eq!(server.lines()[0], format!("GET /v2/a/b/referrers/{digest}"));
    }
    let server = Server::start(|_| Response::status(403)).await;
    let error = repository(&server, "a").referrers(&digest).await.unwrap_err().to_string();
    assert!(error.starts_with("referrers of ") && error.contains("denies access"), "{error}");
}
