//! `local` and `tar`: the files themselves.

mod support;

use std::{io::Read as _, os::unix::fs::MetadataExt as _};

use exporters::Built;
use support::{World, double, single};
use tar::EntryType;

#[tokio::test]
async fn local_sends_the_tree() {
    let world = World::new();
    let tree = world.tree().await;
    world.export("local", &single(&tree), &[("dest", "x")], None).await.unwrap();
    let out = world.out();
    assert_eq!(std::fs::read_to_string(out.join("a/file")).unwrap(), "content");
    assert_eq!(std::fs::read(out.join("b")).unwrap().len(), 700_000);
    assert!(!out.join("a/gone").exists());
    let received = world.received.lock().unwrap();
    assert_eq!((received.trees.len(), &received.trees[0].prefix, received.trees[0].mod_time), (1, &None, None));
}

#[tokio::test]
async fn local_puts_platforms_side_by_side_with_the_epoch() {
    let world = World::new();
    let tree = world.tree().await;
    world.export("local", &double(&tree), &[], Some(5)).await.unwrap();
    for platform in ["linux_amd64", "linux_arm64"] {
        assert_eq!(std::fs::read_to_string(world.out().join(platform).join("a/file")).unwrap(), "content");
    }
    let received = world.received.lock().unwrap();
    assert!(received.trees.iter().all(|tree| tree.mod_time == Some(5_000_000_000)));
}

#[tokio::test]
async fn one_platform_can_have_a_directory_of_its_own() {
    let world = World::new();
    let mut built = Built { refs: vec![(String::new(), Some(world.tree().await))], ..Built::default() };
    for (config, directory) in [
        (None, oci::Platform::host().to_string().replace('/', "_")),
        (Some(r#"{"os":"linux","architecture":"arm","variant":"v7"}"#), "linux_arm_v7".to_owned()),
    ] {
        built.metadata.extend(config.map(|config| ("containerimage.config".to_owned(), config.as_bytes().to_vec())));
        world.export("local", &built, &[("platform-split", "true")], None).await.unwrap();
        assert_eq!(std::fs::read_to_string(world.out().join(directory).join("a/file")).unwrap(), "content");
    }
}

#[tokio::test]
async fn platforms_that_would_overwrite_each_other_are_refused() {
    let world = World::new();
    let built = double(&world.tree().await);
    for kind in ["local", "tar"] {
        let error = world.export(kind, &built, &[("platform-split", "false")], None).await.unwrap_err().to_string();
        assert!(error.contains("is in platform linux/amd64 and in linux/arm64"), "{kind}: {error}");
    }
    let attrs = [("platform-split", "false"), ("mode", "delete")];
    let error = world.export("local", &built, &attrs, None).await.unwrap_err().to_string();
    assert!(error.contains("mode=delete"), "{error}");
}

#[tokio::test]
async fn an_empty_tree_can_be_exported() {
    let world = World::new();
    let built = Built { refs: vec![(String::new(), None)], ..Built::default() };
    world.export("local", &built, &[], None).await.unwrap();
    world.export("tar", &built, &[], None).await.unwrap();
    assert_eq!(tar::Archive::new(&world.file()[..]).entries().unwrap().count(), 0);
}

/// Name, kind, link target and time of each entry.
fn list(tar: &[u8]) -> Vec<(String, EntryType, String, u64)> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let link = entry.link_name().unwrap().map_or(String::new(), |link| link.display().to_string());
        (name, entry.header().entry_type(), link, entry.header().mtime().unwrap())
    });
    entries.collect()
}

#[tokio::test]
async fn tar_has_files_links_and_attributes() {
    let world = World::new();
    let long = "n".repeat(180);
    let tree = world.tree().await;
    let tree = world
        .layer(tree, |root| {
            std::fs::write(root.join(&long), "long").unwrap();
            rustix::fs::mkfifoat(rustix::fs::CWD, root.join("pipe"), rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
            if let Err(error) = xattr::set(root.join("b"), "user.note", b"value") {
                println!("skipped in part: no extended attributes here: {error}");
            }
        })
        .await;
    world.export("tar", &single(&tree), &[], Some(9)).await.unwrap();
    let tar = world.file();
    let entries = list(&tar);
    let link = |name: &str| (name.to_owned(), EntryType::Link, "a/file".to_owned(), 9);
    let names: Vec<&str> = entries.iter().map(|entry| entry.0.as_str()).collect();
    assert_eq!(names, ["a/", "a/file", "a/hard", "a/soft", "b", &long, "pipe"]);
    assert_eq!(entries[2], link("a/hard"));
    assert_eq!(entries[3], ("a/soft".to_owned(), EntryType::Symlink, "/a/file".to_owned(), 9));
    assert_eq!(entries[6].1, EntryType::Fifo);
    let mut archive = tar::Archive::new(&tar[..]);
    let mut big = archive.entries().unwrap().nth(4).unwrap().unwrap();
    let notes: Vec<(String, Vec<u8>)> = big
        .pax_extensions()
        .unwrap()
        .into_iter()
        .flatten()
        .map(|pair| pair.unwrap())
        .map(|pair| (pair.key().unwrap().to_owned(), pair.value_bytes().to_vec()))
        .collect();
    if xattr::SUPPORTED_PLATFORM && xattr::get(world.root.path(), "user.note").is_ok() {
        assert_eq!(notes, [("SCHILY.xattr.user.note".to_owned(), b"value".to_vec())]);
    }
    let mut content = Vec::new();
    big.read_to_end(&mut content).unwrap();
    assert_eq!(content, vec![7; 700_000]);
    assert!(world.received.lock().unwrap().largest <= 1 << 20);
}

#[tokio::test]
async fn tar_keeps_owners_modes_and_times_and_splits_platforms() {
    let world = World::new();
    let tree = world.tree().await;
    world.export("tar", &double(&tree), &[], None).await.unwrap();
    let tar = world.file();
    let names: Vec<String> = list(&tar).into_iter().map(|entry| entry.0).collect();
    assert_eq!(names[0], "linux_amd64/");
    assert!(names.contains(&"linux_arm64/a/file".to_owned()));
    let view = tree.view().await.unwrap();
    let real = view.path().join("a/file").metadata().unwrap();
    let mut archive = tar::Archive::new(&tar[..]);
    let entry = archive.entries().unwrap().map(Result::unwrap).find(|e| e.path().unwrap().ends_with("a/file")).unwrap();
    let header = entry.header();
    assert_eq!(header.mode().unwrap(), real.mode() & 0o7777);
    assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (real.uid().into(), real.gid().into()));
    assert_eq!(header.mtime().unwrap() as i64, real.mtime());
}

#[test]
fn attributes_are_checked_before_the_build() {
    let world = World::new();
    let check = |kind: &str, name: &str, value: &str| {
        let attrs = [(name.to_owned(), value.to_owned())].into();
        world.exporter(kind).check(&attrs).map_err(|error| error.to_string())
    };
    for (kind, name, value, want) in [
        ("local", "mode", "move", "want copy or delete"),
        ("tar", "platform-split", "2", "want true or false"),
        ("tar", "source-date-epoch", "x", "want a number"),
        ("tar", "mode", "move", "want copy or delete"),
        ("image", "push", "true", "push needs a name"),
        ("registry", "name", "lower/Upper", "invalid image name"),
    ] {
        let error = check(kind, name, value).expect_err(want);
        assert!(error.contains(want), "{kind} {name}={value}: {error}");
    }
    for (kind, name) in [("local", "dest"), ("tar", "dest"), ("oci", "annotation.a"), ("image", "name-canonical")] {
        assert_eq!(check(kind, name, ""), Ok(()));
    }
}

#[test]
fn unknown_attributes_are_said_to_be_ignored() {
    let world = World::new();
    for (kind, name, want) in [
        ("local", "mod", r#"did you mean "mode"?"#),
        ("local", "name", r#"unknown attribute "name" is ignored"#),
        ("tar", "zzzzzzzz", r#"unknown attribute "zzzzzzzz" is ignored"#),
        ("oci", "push", r#"unknown attribute "push" is ignored"#),
        ("docker", "compresion", r#"did you mean "compression"?"#),
        ("image", "push-by-diges", r#"did you mean "push-by-digest"?"#),
    ] {
        let attrs = [(name.to_owned(), "x".to_owned())].into();
        let exporter = world.exporter(kind);
        exporter.check(&attrs).unwrap();
        let said = exporter.ignored(&attrs).concat();
        assert!(said.contains(want), "{kind} {name}: {said}");
    }
    let known = [("containerimage.config", "{}"), ("annotation.a", "b")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(world.exporter("image").ignored(&known.into()), [""; 0]);
}

#[tokio::test]
async fn without_a_client_there_is_nobody_to_send_to() {
    let world = World::new();
    let tree = world.tree().await;
    for kind in ["local", "tar", "oci", "docker"] {
        let target = exporters::Target { session: None, ..world.target(&[]) };
        let error = world.exporter(kind).export(&single(&tree), &target).await.unwrap_err();
        assert!(error.to_string().contains("no client"), "{kind}: {error}");
    }
}
