use oci::testing::Response;

use super::*;

/// An image `1` of two layers, for amd64 and arm64.
fn content() -> (Content, Vec<Vec<u8>>) {
    let mut content = Content::default();
    let layers = vec![tar(&[("a", "lower"), ("b", "below")]), tar(&[("a", "upper"), (".wh.b", ""), ("d/c", "deep")])];
    let amd64 = add_image(&mut content, Some("amd64"), "amd64", &layers);
    let arm64 = add_image(&mut content, Some("arm64"), "arm64", &[tar(&[("arm", "64")])]);
    add_index(&mut content, "1", &[("arm64", arm64), ("amd64", amd64)]);
    (content, layers)
}

fn expected() -> Files {
    is(&[("a", "upper"), ("d", "/"), ("d/c", "deep")])
}

fn image(server: &Server, rest: &str) -> String {
    format!("docker-image://{}/{rest}", server.address)
}

fn blobs(server: &Server) -> Vec<String> {
    server.lines().into_iter().filter(|line| line.contains("/blobs/")).collect()
}

#[tokio::test]
async fn layers_come_when_files_are_wanted_and_once() {
    let (content, layers) = content();
    let server = serve(content).await;
    let (world, build) = (World::new(), Arc::new(client()));
    let resolved = world.resolve(&request(&image(&server, "x:1"), &[], std::slice::from_ref(&build))).await.unwrap();
    assert_eq!(server.lines()[0], "HEAD /v2/x/manifests/1");
    assert_eq!(
        (server.lines().len(), blobs(&server).len()),
        (4, 1),
        "index, manifest and config: {:?}",
        server.lines()
    );
    let snapshot = resolved.snapshot().await.unwrap();
    assert_eq!(blobs(&server).len(), 1);
    assert_eq!(files(&snapshot).await.unwrap(), expected());
    assert_eq!(files(&snapshot).await.unwrap(), expected());
    let mut wanted: Vec<_> = layers.iter().map(|layer| format!("GET /v2/x/blobs/{}", digest_of(layer))).collect();
    let mut got = blobs(&server)[1..].to_vec();
    got.sort();
    wanted.sort();
    assert_eq!(got, wanted);
}

#[tokio::test]
async fn a_tag_is_asked_for_once_a_build() {
    let (content, _) = content();
    let server = serve(content).await;
    let (world, build) = (World::new(), [Arc::new(client())]);
    let tag = request(&image(&server, "x:1"), &[], &build);
    let first = world.resolve(&tag).await.unwrap();
    let asked = server.lines().len();
    let again = futures::future::try_join_all((0..4).map(|_| world.resolve(&tag))).await.unwrap();
    assert_eq!(server.lines().len(), asked);
    assert_eq!(again[0].key(), first.key());
    let next = request(&image(&server, "x:1"), &[], &[Arc::new(client())]);
    assert_eq!(world.resolve(&next).await.unwrap().key(), first.key());
    assert_eq!(server.lines()[asked..], ["HEAD /v2/x/manifests/1"], "the next build has the rest in the store");
}

#[tokio::test]
async fn tag_digest_and_manifest_share_a_key() {
    let (content, _) = content();
    let server = serve(content).await;
    let world = World::new();
    let build = [Arc::new(client())];
    let by_tag = world.resolve(&request(&image(&server, "x:1"), &[], &build)).await.unwrap();
    let pinned = by_tag.pinned();
    let by_digest = world.resolve(&request(&pinned, &[], &build)).await.unwrap();
    let by_name = world.resolve(&request(&image(&server, "y:amd64"), &[], &build)).await.unwrap();
    assert_eq!(by_tag.key(), by_digest.key());
    assert_eq!(by_tag.key(), by_name.key());
    let info = by_tag.image().unwrap();
    assert!(pinned.ends_with(&format!("x:1@{}", info.digest)), "{pinned}");
    assert!(String::from_utf8(info.config).unwrap().contains("A=b"));
    let mut arm = request(&image(&server, "x:1"), &[], &build);
    arm.platform.1 = "arm64".into();
    assert_ne!(world.resolve(&arm).await.unwrap().key(), by_tag.key());
    assert_eq!(world.files(&arm).await.unwrap(), is(&[("arm", "64")]));
}

#[tokio::test]
async fn refusals() {
    let (mut content, layers) = content();
    add_manifest(&mut content, Some("few"), r#"{"rootfs":{"diff_ids":[]}}"#, &layers);
    let wrong = format!(r#"{{"rootfs":{{"diff_ids":["{}"]}}}}"#, digest_of(b"else"));
    add_manifest(&mut content, Some("wrong"), &wrong, &layers[..1]);
    let absent = add_image(&mut Content::default(), None, "amd64", &[tar(&[("x", "y")])]);
    add_index(&mut content, "absent", &[("amd64", absent)]);
    let server = serve(content).await;
    let sum = digest_of(b"");
    // The image; its attributes; the architecture; words of the error.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, &'a str);
    let table: [Case<'_>; 9] = [
        ("x:1", &[], "s390x", "has no image for linux/s390x; it has linux/arm64, linux/amd64"),
        ("x:2", &[], "amd64", "has none (404): check name, tag and digest"),
        ("X:1", &[], "amd64", "lower case"),
        ("x:1", &[("image.checksum", &sum)], "amd64", "but its checksum was to be"),
        ("x:1", &[("image.resolvemode", "maybe")], "amd64", "want default, pull or local"),
        ("x:1", &[("image.layerlimit", "-1")], "amd64", "want a number of layers"),
        ("x:few", &[], "amd64", "the manifest has 2 layers, but the config has 0 diff ids"),
        ("x:wrong", &[], "amd64", "uncompressed, its digest is"),
        ("x:absent", &[], "amd64", "has none (404)"),
    ];
    let world = World::new();
    for (name, attrs, architecture, words) in table {
        let mut asked = request(&image(&server, name), attrs, &[Arc::new(client())]);
        asked.platform.1 = architecture.into();
        let error = world.files(&asked).await.expect_err(name);
        assert!(error.contains(words), "{name}: {error}");
    }
}

#[tokio::test]
async fn indexes_in_indexes() {
    let (mut content, _) = content();
    let manifest = add_image(&mut content, None, "amd64", &[tar(&[("deep", "down")])]);
    let mut entry = ("amd64", manifest);
    for depth in 1..=5 {
        let tag = format!("deep{depth}");
        let digest = add_index(&mut content, &tag, std::slice::from_ref(&entry));
        let size = content.all().iter().find(|(_, bytes)| digest_of(bytes) == digest).unwrap().1.len();
        entry.1 = serde_json::json!({"mediaType": OCI_INDEX, "digest": digest, "size": size});
    }
    let server = serve(content).await;
    let world = World::new();
    let ask = |tag: &str| request(&image(&server, &format!("x:{tag}")), &[], &[Arc::new(client())]);
    assert_eq!(world.files(&ask("deep4")).await.unwrap(), is(&[("deep", "down")]));
    let error = world.files(&ask("deep5")).await.unwrap_err();
    assert!(error.contains("more than 4 deep"), "{error}");
}

#[tokio::test]
async fn a_config_that_is_too_large() {
    let mut content = Content::default();
    let large = oci::CONFIG_BYTES_MAX + 1;
    let config = serde_json::json!({"mediaType": OCI_CONFIG, "digest": digest_of(b""), "size": large});
    let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": []}).to_string();
    content.manifest(Some("1"), OCI_MANIFEST, manifest);
    let server = serve(content).await;
    let asked = request(&image(&server, "x:1"), &[], &[Arc::new(client())]);
    let error = World::new().files(&asked).await.unwrap_err();
    assert!(error.contains("has 8388609 bytes; 8388608 are allowed"), "{error}");
}

#[tokio::test]
async fn fewer_layers() {
    let (content, _) = content();
    let server = serve(content).await;
    let world = World::new();
    let one = request(&image(&server, "x:1"), &[("image.layerlimit", "1")], &[Arc::new(client())]);
    assert_eq!(world.files(&one).await.unwrap(), is(&[("a", "lower"), ("b", "below")]));
    let none = request(&image(&server, "x:1"), &[("image.layerlimit", "0")], &[Arc::new(client())]);
    assert_eq!(world.files(&none).await.unwrap(), is(&[]));
}

#[tokio::test]
async fn a_registry_that_is_down() {
    let (content, _) = content();
    let up = Arc::new(AtomicUsize::new(1));
    let state = up.clone();
    let server = Server::start(move |request| match state.load(Ordering::SeqCst) {
        1 => content.answer(request),
        _ => Response::status(503),
    })
    .await;
    let world = World::new();
    let ask = |mode: &str| request(&image(&server, "x:1"), &[("image.resolvemode", mode)], &[Arc::new(client())]);
    let key = world.resolve(&ask("local")).await.unwrap().key();
    let asked = server.lines().len();
    assert_eq!(world.resolve(&ask("local")).await.unwrap().key(), key);
    assert_eq!(server.lines().len(), asked, "what is known is not asked for");
    up.store(0, Ordering::SeqCst);
    assert_eq!(world.resolve(&ask("default")).await.unwrap().key(), key);
    let error = world.resolve(&ask("pull")).await.err().unwrap();
    assert!(error.contains("503"), "{error}");
    let unknown = request(&image(&server, "x:2"), &[], &[Arc::new(client())]);
    assert!(world.resolve(&unknown).await.is_err());
}

#[tokio::test]
async fn a_tag_that_moves() {
    let (mut content, _) = content();
    let old = content.clone();
    add_image(&mut content, Some("1"), "amd64", &[tar(&[("new", "image")])]);
    let moved = Arc::new(AtomicUsize::new(0));
    let state = moved.clone();
    let server = Server::start(move |request| match state.load(Ordering::SeqCst) {
        0 => old.answer(request),
        _ => content.answer(request),
    })
    .await;
    let (world, build) = (World::new(), [Arc::new(client())]);
    let before = world.resolve(&request(&image(&server, "x:1"), &[], &build)).await.unwrap().key();
    moved.store(1, Ordering::SeqCst);
    let same = world.resolve(&request(&image(&server, "x:1"), &[], &build)).await.unwrap().key();
    assert_eq!(same, before, "within a build a tag means one thing");
    let next = request(&image(&server, "x:1"), &[], &[Arc::new(client())]);
    assert_eq!(world.files(&next).await.unwrap(), is(&[("new", "image")]));
}

#[tokio::test]
async fn logins_and_tokens_come_from_the_client() {
    let (content, _) = content();
    let basic = content.clone();
    let server = Server::start(move |request| match request.header("authorization") {
        // "dTpw" is "u:p".
        "Basic dTpw" => basic.answer(request),
        _ => Response::status(401).with("www-authenticate", r#"Basic realm="r""#),
    })
    .await;
    let world = World::new();
    let error = world.files(&request(&image(&server, "x:1"), &[], &[Arc::new(client())])).await.unwrap_err();
    assert!(error.contains("wants a login"), "{error}");
    let user = Arc::new(Client { login: ("u".into(), "p".into()), ..client() });
    let both = request(&image(&server, "x:1"), &[], &[Arc::new(client()), user.clone()]);
    assert_eq!(world.files(&both).await.unwrap(), expected());
    assert_eq!(user.asked.lock().unwrap()[..], [server.address.to_string()]);

    let bearer = Server::start(move |request| match request.header("authorization") {
        "Bearer given" => content.answer(request),
        _ => Response::status(401).with("www-authenticate", r#"Bearer realm="http://127.0.0.1:1/t""#),
    })
    .await;
    let user = Arc::new(Client { token: Some("given".into()), ..client() });
    let asked = request(&image(&bearer, "z:1"), &[], std::slice::from_ref(&user));
    assert_eq!(World::new().files(&asked).await.unwrap(), expected());
    assert_eq!(user.asked.lock().unwrap()[0], "repository:z:pull");
}

#[tokio::test]
async fn a_layer_can_be_read_after_its_build_by_who_may() {
    let (content, _) = content();
    let server = Server::start(move |request| match request.header("authorization") {
        "Basic dTpw" => content.answer(request),
        _ => Response::status(401).with("www-authenticate", r#"Basic realm="r""#),
    })
    .await;
    let world = World::new();
    let login = || Arc::new(Client { login: ("u".into(), "p".into()), ..client() });
    let first = request(&image(&server, "x:1"), &[], &[login()]);
    let snapshot = world.resolve(&first).await.unwrap().snapshot().await.unwrap();
    drop(first);
    let second = request(&image(&server, "x:1"), &[], &[login()]);
    world.resolve(&second).await.unwrap();
    assert_eq!(files(&snapshot).await.unwrap(), expected());
    let locator = format!("registry:{}/x", server.address);
    let reopened = world.registries.reopen(&locator).unwrap();
    assert_eq!(reopened.locator(), locator);
    for bad in ["registry:", "registry:UPPER/X", "oci-layout:x", ""] {
        assert!(world.registries.reopen(bad).is_none(), "{bad}");
    }
}

#[tokio::test]
async fn a_layer_of_other_bytes() {
    let (content, layers) = content();
    let digest = digest_of(&layers[0]);
    let server = Server::start(move |request| match request.path.ends_with(&digest) {
        true => Response { body: vec![0; content.answer(request).body.len()].into(), ..content.answer(request) },
        false => content.answer(request),
    })
    .await;
    let world = World::new();
    let asked = request(&image(&server, "x:1"), &[], &[Arc::new(client())]);
    let error = world.files(&asked).await.unwrap_err();
    assert!(error.contains(&digest_of(&layers[0])) && error.contains("got sha256:"), "{error}");
}

/// What an export under a name leaves, without a push: the blobs, and a note of the name.
#[tokio::test]
async fn an_image_that_was_only_built_here() {
    let world = World::new();
    let layer = tar(&[("built", "here")]);
    let mut content = Content::default();
    let root = add_image(&mut content, None, "amd64", std::slice::from_ref(&layer));
    for (media_type, bytes) in content.all() {
        let descriptor = store::Descriptor {
            media_type,
            digest: digest_of(&bytes),
            size: bytes.len() as u64,
            annotations: Default::default(),
        };
        world.store.put_blob(&descriptor, bytes).await.unwrap();
    }
    // Nobody listens there.
    let name = "127.0.0.1:1/built:v1";
    let reference: oci::Reference = name.parse().unwrap();
    let digest = root["digest"].as_str().unwrap().as_bytes().to_vec();
    world.store.write(vec![(reference.record_key().into_bytes(), Some(digest))]).unwrap();
    for mode in ["local", "default"] {
        let identifier = format!("docker-image://{name}");
        let asked = request(&identifier, &[("image.resolvemode", mode)], &[Arc::new(client())]);
        assert_eq!(world.files(&asked).await.unwrap(), is(&[("built", "here")]), "{mode}");
    }
    let pull = request(&format!("docker-image://{name}"), &[("image.resolvemode", "pull")], &[Arc::new(client())]);
    assert!(world.resolve(&pull).await.err().unwrap().contains("cannot be reached"));
}

#[tokio::test]
async fn layers_that_an_earlier_run_did_not_fetch() {
    let (content, _) = content();
    let server = serve(content).await;
    let World { store, registries, sources, dir } = World::new();
    let asked = request(&image(&server, "x:1"), &[], &[Arc::new(client())]);
    let snapshot = sources.resolve(&asked).await.unwrap().snapshot().await.unwrap();
    let name = store.save(&snapshot).unwrap();
    drop((snapshot, sources, registries, store));
    let again = World::open(dir);
    let loaded = again.store.load(&name).unwrap().expect("its layers can be had again");
    assert_eq!(files(&loaded).await.unwrap(), expected());
}
