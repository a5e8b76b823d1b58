//! The process is killed at random points, again and again: the store opens, and no record points at nothing.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use rand::Rng;

use super::*;

const ROOT: &str = "PINTLE_TEST_CRASH_ROOT";

/// Not a test of its own: what the killed process does. Prints the names of what was flushed.
#[test]
fn child() {
    let Ok(root) = std::env::var(ROOT) else { return };
    let store = open(Path::new(&root), kinds()[0]);
    block_on(async {
        let mut base = store.scratch();
        for i in 0u64.. {
            let pid = std::process::id();
            base = changed(&store, &base, |tree| write(tree, &format!("f{}", i % 7), format!("{pid} {i}"))).await;
            let name = store.save(&base).unwrap();
            store.write(vec![(format!("{pid}/{i:08}").into_bytes(), Some(name.clone().into_bytes()))]).unwrap();
            if i % 5 == 0 {
                store.flush().await.unwrap();
                println!("flushed {name}");
            }
            if i % 11 == 10 {
                println!("pruning");
                let only = |record: &crate::DiskRecord| record.usage_count > 0;
                store.prune(&crate::Prune { all: true, filter: Some(&only), ..Default::default() }).unwrap();
                base = store.scratch();
            }
        }
    });
}

#[test]
fn kill_at_any_time_loses_nothing_that_was_flushed() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..6 {
        let flushed = run_and_kill(dir.path());
        let store = open(dir.path(), kinds()[0]);
        assert!(left_mounts(dir.path()).is_empty());
        block_on(async {
            for name in flushed {
                let snapshot = store.load(&name).unwrap().expect("flushed, so it is there");
                read_all(&snapshot).await;
            }
            // Every record that is there has its data, and each run's writes are there up to some point.
            let mut last: Option<(String, u64)> = None;
            for (key, name) in store.scan(b"", usize::MAX).unwrap() {
                let key = String::from_utf8(key).unwrap();
                let (run, number) = key.split_once('/').unwrap();
                let number: u64 = number.parse().unwrap();
                let follows = last.as_ref().filter(|(before, _)| before == run).map_or(0, |(_, number)| number + 1);
                assert_eq!(number, follows, "a write from the middle is lost");
                last = Some((run.to_owned(), number));
                if let Some(snapshot) = store.load(std::str::from_utf8(&name).unwrap()).unwrap() {
                    read_all(&snapshot).await;
                }
            }
            assert!(last.is_some());
        });
    }
}

async fn read_all(snapshot: &Snapshot) {
    for layer in &snapshot.0.layers {
        assert!(!crate::files::names(&layer.dir()).unwrap().is_empty(), "layer {}", layer.id);
    }
    let view = snapshot.view().await.unwrap();
    for name in crate::files::names(view.path()).unwrap() {
        assert!(!fs::read_to_string(view.path().join(name)).unwrap().is_empty());
    }
}

/// Lets the child flush a few times, kills it, and answers what it had flushed since it last pruned.
fn run_and_kill(root: &Path) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["tests::crash::child", "--exact", "--nocapture"])
        .env(ROOT, root)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut flushed = Vec::new();
    let mut wait = rand::rng().random_range(2..9);
    let note = |line: String, flushed: &mut Vec<String>| match line.strip_prefix("flushed ") {
        Some(name) => flushed.push(name.to_owned()),
        None if line == "pruning" => flushed.clear(),
        None => {}
    };
    while wait > 0 {
        let line = lines.next().expect("the child runs until it is killed").unwrap();
        wait -= usize::from(line.starts_with("flushed"));
        note(line, &mut flushed);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    lines.map_while(Result::ok).for_each(|line| note(line, &mut flushed));
    flushed
}
