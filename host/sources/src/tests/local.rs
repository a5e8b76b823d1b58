use std::{fs, os::unix::fs::PermissionsExt as _};

use proptest::prelude::*;
use store::patterns;

use super::*;

fn write(root: &Path, list: &[(&str, &str)]) {
    for (path, content) in list {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

fn json(list: &[&str]) -> String {
    serde_json::to_string(list).unwrap()
}

/// A client that shares `context`, with or without a wire between.
fn shares(dir: &Path, wire: bool) -> Arc<Client> {
    let dirs = HashMap::from([("context".to_string(), dir.to_path_buf())]);
    Arc::new(match wire {
        true => Client { remote: dirs, ..client() },
        false => Client { dirs, ..client() },
    })
}

#[tokio::test]
async fn what_the_filter_selects() {
    // The include patterns; the exclude patterns; the paths to follow; what comes.
    type Case<'a> = (&'a [&'a str], &'a [&'a str], &'a [&'a str], &'a [&'a str]);
    let table: [Case<'_>; 7] = [
        (&[], &[], &[], &["a.txt", "b.md", "d/", "d/e/", "d/e/f.txt", "d/g.md", "link->d/e"]),
        (&["*.txt"], &[], &[], &["a.txt"]),
        (&["**/*.txt"], &["d"], &[], &["a.txt"]),
        (&[], &["**/*.md", "!d/g.md"], &[], &["a.txt", "d/", "d/e/", "d/e/f.txt", "d/g.md", "link->d/e"]),
        (&[], &["*", "!d/e"], &[], &["d/", "d/e/", "d/e/f.txt"]),
        (&[], &[], &["link/f.txt"], &["d/", "d/e/", "d/e/f.txt", "link->d/e"]),
        (&["b.md"], &[], &["a.txt"], &["a.txt", "b.md"]),
    ];
    for wire in [false, true] {
        for (include, exclude, follow, want) in table {
            let world = World::new();
            let dir = world.dir.path().join("context");
            write(&dir, &[("a.txt", "1"), ("b.md", "2"), ("d/e/f.txt", "3"), ("d/g.md", "4")]);
            std::os::unix::fs::symlink("d/e", dir.join("link")).unwrap();
            let attrs = [
                ("local.includepattern", json(include)),
                ("local.excludepatterns", json(exclude)),
                ("local.followpaths", json(follow)),
            ];
            let attrs: Vec<_> = attrs.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let found = world.files(&request("local://context", &attrs, &[shares(&dir, wire)])).await.unwrap();
            let shown: Vec<_> = found
                .iter()
                .map(|(path, what)| match what.strip_prefix("-> ") {
                    Some(target) => format!("{path}->{target}"),
                    None if what == "/" => format!("{path}/"),
                    None => path.clone(),
                })
                .collect();
            assert_eq!(shown, want, "include {include:?} exclude {exclude:?} follow {follow:?} wire {wire}");
        }
    }
}

#[tokio::test]
async fn what_is_excluded_is_not_even_opened() {
    let world = World::new();
    let dir = world.dir.path().join("context");
    write(&dir, &[("keep/a", "1"), ("secret/b", "2")]);
    // Root may open everything, so that permissions prove nothing: a pipe does. Opening it to read would wait for a writer.
    let pipe = std::process::Command::new("mkfifo").arg(dir.join("secret/pipe")).status().unwrap();
    assert!(pipe.success());
    fs::set_permissions(dir.join("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    let asked = request("local://context", &[("local.excludepatterns", r#"["secret"]"#)], &[shares(&dir, false)]);
    assert_eq!(world.files(&asked).await.unwrap(), is(&[("keep", "/"), ("keep/a", "1")]));
    fs::set_permissions(dir.join("secret"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn the_key_is_the_same_as_long_as_nothing_changes() {
    for wire in [false, true] {
        let world = World::new();
        let dir = world.dir.path().join("context");
        write(&dir, &[("a", "1"), ("d/b", "2")]);
        let ask = || request("local://context", &[], &[shares(&dir, wire)]);
        let first = world.resolve(&ask()).await.unwrap();
        assert_eq!(world.resolve(&ask()).await.unwrap().key(), first.key(), "wire {wire}");
        write(&dir, &[("d/b", "changed")]);
        fs::remove_file(dir.join("a")).unwrap();
        let second = world.resolve(&ask()).await.unwrap();
        assert_ne!(second.key(), first.key());
        let now = files(&second.snapshot().await.unwrap()).await.unwrap();
        assert_eq!(now, is(&[("d", "/"), ("d/b", "changed")]), "wire {wire}");
        let before = files(&first.snapshot().await.unwrap()).await.unwrap();
        assert_eq!(before, is(&[("a", "1"), ("d", "/"), ("d/b", "2")]), "an earlier answer stays as it was");
        let anew = request("local://context", &[("local.differ", "none")], &[shares(&dir, wire)]);
        assert_eq!(world.files(&anew).await.unwrap(), now);
    }
}

#[tokio::test]
async fn what_is_always_sent_is_the_same_where_its_content_is() {
    let world = World::new();
    let dir = world.dir.path().join("context");
    write(&dir, &[("a", "1"), ("d/b", "2")]);
    let resolve = async || {
        let asked = request("local://context", &[("local.differ", "none")], &[shares(&dir, true)]);
        world.resolve(&asked).await.unwrap()
    };
    // Held: the index of one that is not is written a little later, and until then nothing is known to be the same.
    let first = resolve().await;
    assert_eq!(resolve().await.key(), first.key());
    let modified = fs::metadata(dir.join("d/b")).unwrap().modified().unwrap();
    write(&dir, &[("d/b", "3")]);
    fs::File::options().write(true).open(dir.join("d/b")).unwrap().set_modified(modified).unwrap();
    let second = resolve().await;
    assert_ne!(second.key(), first.key(), "one byte, and neither size nor time");
    fs::remove_dir_all(dir.join("d")).unwrap();
    assert_ne!(resolve().await.key(), second.key());
    let left = request("local://context", &[("local.differ", "none")], &[shares(&dir, true)]);
    assert_eq!(world.files(&left).await.unwrap(), is(&[("a", "1")]));
}

#[tokio::test]
async fn other_filters_and_names_do_not_mix() {
    let world = World::new();
    let dir = world.dir.path().join("context");
    write(&dir, &[("a", "1"), ("b", "2")]);
    let build = [shares(&dir, true)];
    for _ in 0..2 {
        let a = request("local://context", &[("local.includepattern", r#"["a"]"#)], &build);
        let b = request("local://context", &[("local.includepattern", r#"["b"]"#)], &build);
        let both = futures::future::join(world.files(&a), world.files(&b)).await;
        assert_eq!((both.0.unwrap(), both.1.unwrap()), (is(&[("a", "1")]), is(&[("b", "2")])));
    }
    assert_eq!(build[0].synced.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn owners_are_left_behind() {
    let world = World::new();
    let dir = world.dir.path().join("context");
    write(&dir, &[("a", "1")]);
    if std::os::unix::fs::chown(dir.join("a"), Some(1234), Some(1234)).is_err() {
        println!("skipped: changing an owner needs root");
        return;
    }
    let resolved = world.resolve(&request("local://context", &[], &[shares(&dir, false)])).await.unwrap();
    let view = resolved.snapshot().await.unwrap().view().await.unwrap();
    let meta = fs::metadata(view.path().join("a")).unwrap();
    assert_eq!((std::os::unix::fs::MetadataExt::uid(&meta), std::os::unix::fs::MetadataExt::gid(&meta)), (0, 0));
}

#[tokio::test]
async fn refusals() {
    let world = World::new();
    let dir = world.dir.path().join("context");
    write(&dir, &[("a", "1")]);
    let build = [shares(&dir, false)];
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
    let table: [Case<'_>; 6] = [
        ("local://context", &[("local.includepattern", "a")], "want a JSON list of strings"),
        ("local://context", &[("local.excludepatterns", r#"["["]"#)], "pattern \"[\""),
        ("local://context", &[("local.differ", "maybe")], "want metadata or none"),
        ("local://context", &[("local.session", "gone")], "is not connected"),
        ("local://context", &[("local.metadatatransfer", "perhaps")], "local.metadatatransfer"),
        ("local://other", &[], "the client shares no directory \"other\""),
    ];
    for (name, attrs, words) in table {
        let error = world.resolve(&request(name, attrs, &build)).await.err().expect(words);
        assert!(error.contains(words), "{error}");
    }
    let nobody = world.resolve(&request("local://context", &[], &[])).await.err().unwrap();
    assert!(nobody.contains("not connected"), "{nobody}");
    assert!(world.resolve(&request("nonsense", &[], &[])).await.err().unwrap().contains("no scheme"));
    assert!(world.resolve(&request("ftp://x", &[], &[])).await.err().unwrap().contains("unknown scheme"));
}

#[tokio::test]
async fn of_some_files_the_list_alone() {
    let files = ["data", "dir/file1", "dir/file2", "dir/sub/bar1", "dir/sub/bar2", "dir/sub2/bar3", "foo"];
    let want = [".fsutil-metadata", "dir", "dir/file1", "dir/sub", "dir/sub/bar1", "foo"];
    let contents = json(&["dir/**/*1", "foo"]);
    let attrs = [("local.metadatatransfer", "true"), ("local.metadatatransferexclude", contents.as_str())];
    for wire in [false, true] {
        let world = World::new();
        let dir = world.dir.path().join("context");
        write(&dir, &files.map(|path| (path, path)));
        // One that the directory has already is not the list.
        write(&dir, &[(".fsutil-metadata", "old")]);
        let wanted = request("local://context", &attrs, &[shares(&dir, wire)]);
        let found = world.files(&wanted).await.unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), want, "wire {wire}");
        fs::remove_dir_all(dir.join("dir/sub")).unwrap();
        let again = world.files(&wanted).await.unwrap();
        assert_eq!(again.keys().collect::<Vec<_>>(), [want[0], want[1], want[2], want[5]], "wire {wire}");
    }
}

/// What a filter selects of a list of files, one file at a time, with the directories that these need.
fn naive(files: &[String], include: &[String], exclude: &[String]) -> Vec<String> {
    let filter = patterns::Filter::new(include, exclude).unwrap();
    let mut selected: Vec<String> = files.iter().filter(|file| filter.selects(Path::new(file))).cloned().collect();
    selected.sort();
    selected
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn random_trees_and_filters(
        files in prop::collection::btree_set("[ab]/[ab]/[ab]|[ab]/c|d", 1..8),
        include in prop::collection::vec("[ab]|[ab]/[*a]|\\*\\*/[ab]|d", 0..3),
        exclude in prop::collection::vec("!?[ab]|!?[ab]/[*b]|!?\\*\\*/[ab]", 0..3),
    ) {
        let files: Vec<String> = files.into_iter().collect();
        let want = naive(&files, &include, &exclude);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new();
            let dir = world.dir.path().join("context");
            fs::create_dir(&dir).unwrap();
            for file in &files {
                write(&dir, &[(file, file)]);
            }
            let (include, exclude) = (serde_json::to_string(&include).unwrap(), serde_json::to_string(&exclude).unwrap());
            let attrs = [("local.includepattern", include.as_str()), ("local.excludepatterns", exclude.as_str())];
            for wire in [false, true] {
                let found = world.files(&request("local://context", &attrs, &[shares(&dir, wire)])).await.unwrap();
                let found: Vec<_> = found.into_iter().filter(|(_, what)| what != "/").map(|(path, _)| path).collect();
                assert_eq!(found, want, "wire {wire}");
            }
        });
    }
}
