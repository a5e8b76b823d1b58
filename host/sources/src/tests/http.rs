use std::{io::Write as _, os::unix::fs::MetadataExt as _};

use oci::testing::Response;

use super::*;

fn url(server: &Server, path: &str) -> String {
    format!("http://{}{path}", server.address)
}

#[tokio::test]
async fn a_file_comes_again_only_when_it_changed() {
    for validator in ["etag", "last-modified"] {
        let content = Arc::new(Mutex::new(("first", "Sun, 06 Nov 1994 08:49:37 GMT")));
        let state = content.clone();
        let server = Server::start(move |request| {
            let (body, date) = *state.lock().unwrap();
            let value = if validator == "etag" { format!("\"{body}\"") } else { date.to_string() };
            let sent = if validator == "etag" { "if-none-match" } else { "if-modified-since" };
            match request.header(sent) == value {
                true => Response::status(304),
                false => Response::ok(body).with(validator, value),
            }
        })
        .await;
        let world = World::new();
        let asked = request(&url(&server, "/d/file.txt"), &[], &[]);
        let first = world.resolve(&asked).await.unwrap();
        assert_eq!(files(&first.snapshot().await.unwrap()).await.unwrap(), is(&[("file.txt", "first")]));
        assert_eq!(world.resolve(&asked).await.unwrap().key(), first.key());
        *content.lock().unwrap() = ("second", "Mon, 07 Nov 1994 08:49:37 GMT");
        let second = world.resolve(&asked).await.unwrap();
        assert_ne!(second.key(), first.key());
        assert_eq!(files(&second.snapshot().await.unwrap()).await.unwrap(), is(&[("file.txt", "second")]));
        assert_eq!(server.requests().len(), 3, "{validator}");
    }
}

#[tokio::test]
async fn with_a_checksum_nothing_is_asked_before_the_file_is_needed() {
    let server =
        Server::start(|_| Response::ok("data").with("content-disposition", "attachment; filename=other")).await;
    let world = World::new();
    let sum = digest_of(b"data");
    let asked = request(&url(&server, "/file"), &[("http.checksum", &sum)], &[]);
    let resolved = world.resolve(&asked).await.unwrap();
    assert!(server.requests().is_empty());
    assert_eq!(resolved.pinned(), format!("{}@{sum}", url(&server, "/file")));
    let (a, b) = futures::join!(resolved.snapshot(), resolved.snapshot());
    assert_eq!(files(&a.unwrap()).await.unwrap(), is(&[("file", "data")]));
    assert!(b.is_ok());
    assert_eq!(server.requests().len(), 1);
    assert_eq!(world.files(&asked).await.unwrap(), is(&[("file", "data")]));
    assert_eq!(server.requests().len(), 1, "it is here");
    let wrong = request(&url(&server, "/file"), &[("http.checksum", &digest_of(b"else"))], &[]);
    let error = world.files(&wrong).await.unwrap_err();
    assert!(error.contains(&format!("has digest {sum}, want {}", digest_of(b"else"))), "{error}");
}

#[tokio::test]
async fn name_mode_owner_and_time() {
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let server = Server::start(move |_| Response::ok("data").with("last-modified", date)).await;
    let world = World::new();
    let attrs = [("http.filename", "tool"), ("http.perm", "0755")];
    let resolved = world.resolve(&request(&url(&server, "/x"), &attrs, &[])).await.unwrap();
    let view = resolved.snapshot().await.unwrap().view().await.unwrap();
    let meta = std::fs::metadata(view.path().join("tool")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.mtime()), (0o755, 784_111_777));
    let plain = world.resolve(&request(&url(&server, "/tool"), &[], &[])).await.unwrap();
    assert_ne!(plain.key(), resolved.key(), "another mode is another file");
}

#[tokio::test]
async fn what_is_packed_for_the_way_is_unpacked() {
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let text = "words ".repeat(100_000);
    let (packed, halves) = (gzip(&text), [gzip("two "), gzip("members")].concat());
    let server = Server::start(move |request| {
        assert_eq!(request.header("accept-encoding"), "gzip");
        match request.path.as_str() {
            "/all" => Response::ok(packed.clone()).with("content-encoding", "GZIP"),
            "/halves" => Response::ok(halves.clone()).with("content-encoding", "gzip"),
            "/not" => Response::ok("text").with("content-encoding", "gzip"),
            // Nothing was done for the way: the file itself is packed.
            _ => Response::ok(packed.clone()).with("content-type", "application/gzip"),
        }
    })
    .await;
    let world = World::new();
    let sum = digest_of(text.as_bytes());
    let all = request(&url(&server, "/all"), &[("http.checksum", &sum)], &[]);
    assert_eq!(world.files(&all).await.unwrap(), is(&[("all", &text)]));
    let halves = request(&url(&server, "/halves"), &[], &[]);
    assert_eq!(world.files(&halves).await.unwrap(), is(&[("halves", "two members")]));
    let error = world.files(&request(&url(&server, "/not"), &[], &[])).await.unwrap_err();
    assert!(error.contains("packed with gzip, and it is not"), "{error}");
    let same = request(&url(&server, "/same"), &[("http.checksum", &digest_of(&gzip(&text)))], &[]);
    assert!(world.resolve(&same).await.unwrap().snapshot().await.is_ok());
}

#[tokio::test]
async fn troubles() {
    // The answers, in order; words of the error, or none; how many requests.
    let table: [(&[Response], &str, usize); 6] = [
        (&[Response::status(404)], "the server answers 404", 1),
        (&[Response::status(503)], "the server answers 503", 3),
        (&[Response::status(500), Response::ok("data").cut(2), Response::ok("data")], "", 3),
        (&[Response::ok("data").cut(2)], "broke off after 2 bytes", 3),
        (&[Response::status(304)], "but it was not asked that", 1),
        (&[Response::status(302).with("location", "file:///etc/passwd")], "the server answers 302", 1),
    ];
    for (answers, words, requests) in table {
        let (list, done) = (answers.to_vec(), AtomicUsize::new(0));
        let server =
            Server::start(move |_| list[done.fetch_add(1, Ordering::SeqCst).min(list.len() - 1)].clone()).await;
        let outcome = World::new().files(&request(&url(&server, "/f"), &[], &[])).await;
        match outcome {
            Ok(found) => assert_eq!((words, found), ("", is(&[("f", "data")]))),
            Err(error) => {
                assert!(!words.is_empty() && error.contains(words), "{answers:?}: {error}");
                assert!(error.contains(&url(&server, "/f")), "{error}");
            }
        }
        assert_eq!(server.requests().len(), requests, "{answers:?}");
    }
}

#[tokio::test]
async fn headers_and_secrets() {
    let target = Server::start(|_| Response::ok("data")).await;
    let to = url(&target, "/g");
    let server = Server::start(move |request| match (request.header("authorization"), request.header("accept")) {
        ("Bearer s3cret", "text/plain") => Response::status(302).with("location", to.clone()),
        _ => Response::status(403),
    })
    .await;
    let attrs = [("http.authheadersecret", "tok"), ("http.header.accept", "text/plain")];
    let user = Arc::new(Client { secrets: HashMap::from([("tok".into(), b"Bearer s3cret\n".to_vec())]), ..client() });
    let world = World::new();
    let found = world.files(&request(&url(&server, "/f"), &attrs, &[Arc::new(client()), user])).await.unwrap();
    assert_eq!(found, is(&[("f", "data")]));
    assert_eq!(target.requests()[0].header("authorization"), "", "a secret does not go to another server");
    let error = world.files(&request(&url(&server, "/h"), &attrs, &[Arc::new(client())])).await.unwrap_err();
    assert!(error.contains("--secret id=tok"), "{error}");
    let login = format!("http://user:pass@{}/f", server.address);
    let error = world.files(&request(&login, &[], &[])).await.unwrap_err();
    assert!(error.contains("403") && !error.contains("pass"), "{error}");
}

#[tokio::test]
async fn secrets_by_the_name_of_the_host() {
    let server = Server::start(|request| match request.header("authorization") {
        "" => Response::status(401),
        said => Response::ok(said.to_owned()),
    })
    .await;
    let user = |secrets: &[(&str, &str)]| {
        let secrets = secrets.iter().map(|(id, secret)| ((*id).to_owned(), secret.as_bytes().to_vec())).collect();
        Arc::new(Client { secrets, ..client() })
    };
    let host = server.address.ip().to_string();
    let (token, header) = (format!("HTTP_AUTH_TOKEN_{host}"), format!("HTTP_AUTH_HEADER_{host}"));
    // Secrets, attributes, and what the server is told.
    type Case<'a> = (Pairs<'a>, Pairs<'a>, Option<&'a str>);
    type Pairs<'a> = &'a [(&'a str, &'a str)];
    let cases: [Case; 5] = [
        (&[(&token, "t0ken\n")], &[], Some("Bearer t0ken")),
        (&[(&header, "Basic YTpi")], &[], Some("Basic YTpi")),
        (&[(&header, "Basic YTpi"), (&token, "t0ken")], &[], Some("Bearer t0ken")),
        (&[(&token, "t0ken"), ("own", "Digest x")], &[("http.authheadersecret", "own")], Some("Digest x")),
        (&[("HTTP_AUTH_TOKEN_elsewhere", "t0ken")], &[], None),
    ];
    for (number, (secrets, attrs, said)) in cases.into_iter().enumerate() {
        let world = World::new();
        let found = world.files(&request(&url(&server, "/f"), attrs, &[user(secrets)])).await;
        match said {
            Some(said) => assert_eq!(found.unwrap(), is(&[("f", said)]), "case {number}"),
            None => assert!(found.unwrap_err().contains("401"), "case {number}"),
        }
    }
}

/// An OpenPGP key, and its signature of `signed\n`; both never expire.
const KEY: &str = include_str!("signed.key");
const SIGNATURE: &str = include_str!("signed.asc");

#[tokio::test]
async fn a_file_is_signed_by_whom_the_build_names() {
    let server =
        Server::start(|request| Response::ok(if request.path == "/good" { "signed\n" } else { "other\n" })).await;
    let world = World::new();
    let signed = [("http.sig.pubkey", KEY), ("http.sig.signature", SIGNATURE)];
    assert_eq!(world.files(&request(&url(&server, "/good"), &signed, &[])).await.unwrap(), is(&[("good", "signed\n")]));
    let error = world.files(&request(&url(&server, "/bad"), &signed, &[])).await.unwrap_err();
    assert!(error.contains("/bad: is not signed as it has to be"), "{error}");
    // What is here already, and what is pinned, is checked too.
    let sum = digest_of(b"other\n");
    let pinned: Vec<_> = signed.into_iter().chain([("http.checksum", sum.as_str())]).collect();
    for _ in 0..2 {
        assert!(world.files(&request(&url(&server, "/bad"), &pinned, &[])).await.is_err());
    }
    assert!(world.files(&request(&url(&server, "/bad"), &[], &[])).await.is_ok());
    let half = world.files(&request(&url(&server, "/good"), &signed[..1], &[])).await.unwrap_err();
    assert!(half.contains("with both"), "{half}");
}
