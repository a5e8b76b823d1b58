//! File actions on directories, each compared with the tree that it leaves.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};

use llb::op::CopyAction;

use store::Dir;

use super::{copier, owner::Owner, simple};

fn plain(path: &Path) -> Dir {
    Dir::plain(path).unwrap()
}

/// Makes files from lines: `PATH CONTENT`, `PATH/` for a directory, `PATH -> TARGET` for a symlink.
fn plant(root: &Path, lines: &str) {
    for line in lines.split(';').map(str::trim).filter(|line| !line.is_empty()) {
        if let Some((path, target)) = line.split_once(" -> ") {
            make_parent(root, path);
            symlink(target, root.join(path)).unwrap();
        } else if let Some((path, content)) = line.split_once(' ') {
            make_parent(root, path);
            fs::write(root.join(path), content).unwrap();
        } else {
            fs::create_dir_all(root.join(line)).unwrap();
        }
    }
}

fn make_parent(root: &Path, path: &str) {
    fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
}

/// The opposite of [`plant`], sorted.
fn harvest(root: &Path) -> String {
    fn walk(dir: &Path, rel: &str, out: &mut Vec<String>) {
        let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(Result::unwrap).collect();
        entries.sort_by_key(|entry| entry.file_name());
        for entry in entries {
            let (path, rel) = (entry.path(), format!("{rel}{}", entry.file_name().to_string_lossy()));
            let meta = path.symlink_metadata().unwrap();
            if meta.is_symlink() {
                out.push(format!("{rel} -> {}", fs::read_link(&path).unwrap().display()));
            } else if meta.is_dir() {
                out.push(format!("{rel}/"));
                walk(&path, &format!("{rel}/"), out);
            } else {
                out.push(format!("{rel} {}", fs::read_to_string(&path).unwrap_or_default()));
            }
        }
    }
    let mut out = Vec::new();
    walk(root, "", &mut out);
    out.join("; ")
}

/// As the Dockerfile frontend asks for it.
fn dockerfile_copy(src: &str, dest: &str) -> CopyAction {
    CopyAction {
        src: src.into(),
        dest: dest.into(),
        follow_symlink: true,
        dir_copy_contents: true,
        create_dest_path: true,
        allow_wildcard: true,
        allow_empty_wildcard: true,
        ..CopyAction::default()
    }
}

/// What copying `action` from a tree of `from` into one of `to` leaves, or its error.
fn copied(from: &str, to: &str, action: &CopyAction, owner: Option<Owner>) -> Result<String, String> {
    let (source, dest) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    plant(source.path(), from);
    plant(dest.path(), to);
    copier::copy(&plain(source.path()), &plain(dest.path()), action, owner).map_err(|error| format!("{error:#}"))?;
    Ok(harvest(dest.path()))
}

#[test]
fn where_a_copy_goes() {
    let cases = [
        // from, to, src, dest, what is there then
        ("a x", "", "/a", "/b", "b x"),
        ("a x", "", "/a", "/d/", "d/; d/a x"),
        ("a x", "d/", "/a", "/d", "d/; d/a x"),
        ("a x", "d y", "/a", "/d", "d x"),
        ("a x", "", "/a", "/", "a x"),
        ("a x", "", "/a", "/p/q/r", "p/; p/q/; p/q/r x"),
        ("d/a x; d/e/", "", "/d", "/", "a x; e/"),
        ("d/a x", "", "/d", "/t", "t/; t/a x"),
        ("d/a x", "t/b y", "/d", "/t/", "t/; t/a x; t/b y"),
        ("a x; b y; c.t z", "", "/[ab]", "/o/", "o/; o/a x; o/b y"),
        ("d1/f x; d2/g y", "", "/d*", "/o", "o/; o/f x; o/g y"),
        ("d1/f x; d2/f y; e", "", "/d?/f", "/o/", "o/; o/f y"),
        ("l -> real; real x", "", "/l", "/o", "o x"),
        ("d/l -> ../real; real x", "", "/d", "/o", "o/; o/l -> ../real"),
        ("a x", "l -> t; t/", "/a", "/l/", "l -> t; t/; t/a x"),
        ("a x", "l -> /t; t/", "/a", "/l/b", "l -> /t; t/; t/b x"),
        ("a x", "l -> ../../../t; t/", "/a", "/l/b", "l -> ../../../t; t/; t/b x"),
        ("a x", "b -> keep; keep y", "/a", "/b", "b -> keep; keep x"),
        ("a x", "t/a -> ../keep; keep y", "/a", "/t/", "keep y; t/; t/a x"),
        ("a x", "b -> gone", "/a", "/b", "b -> gone; gone x"),
        ("a x", "b -> /g/one", "/a", "/b/c", "b -> /g/one; g/; g/one/; g/one/c x"),
        ("d/a x", "b -> s/../g", "/d", "/b", "b -> s/../g; g/; g/a x"),
        ("d/s/c x; d/t y; d/l -> s; d/e/", "", "/d/*/c", "/o/", "o/; o/c x"),
        ("d/s/c x; l -> d", "", "/l/*/c", "/o/", "o/; o/c x"),
        ("a x", "", "/none*", "/b", ""),
        ("a x", "", "/../../a", "/../../b", "b x"),
    ];
    for (from, to, src, dest, want) in cases {
        let got = copied(from, to, &dockerfile_copy(src, dest), None);
        assert_eq!(got.as_deref(), Ok(want), "{from} | {to} | {src} -> {dest}");
    }
}

#[test]
fn what_looks_like_a_pattern_and_is_none() {
    let plain = |src| CopyAction { allow_wildcard: false, ..dockerfile_copy(src, "/b") };
    let error = |action| copied("a x", "", &action, None).unwrap_err();
    let hint = "; it is a pattern only with the option wildcard";
    assert_eq!(error(plain("/*.txt")), format!("\"/*.txt\": not found{hint}"));
    assert_eq!(error(plain("/none")), "\"/none\": not found");
    assert!(!error(CopyAction { allow_empty_wildcard: false, ..dockerfile_copy("/*.txt", "/b") }).contains(hint));
    let dir = tempfile::tempdir().unwrap();
    let root = store::Dir::plain(dir.path()).unwrap();
    let error = simple::rm(&root, "/*.txt", false, false).unwrap_err();
    assert_eq!(error.to_string(), format!("/*.txt does not exist{hint}"));
}

#[test]
fn copies_that_are_refused() {
    let cases = [
        ("", "", "/a", "/b", "not found"),
        ("d/a x", "t y", "/d", "/t", "not a directory"),
        ("d/s/a x", "t/s y", "/d", "/t", "over what is not a directory"),
        ("d/s x", "t/s/y z", "/d", "/t", "cannot replace the directory"),
        ("a x", "t y", "/a", "/t/b", "not a directory"),
        ("a x", "t y; l -> t", "/a", "/l/b", "not a directory"),
        ("a x", "l -> l", "/a", "/l/b", "symlinks on the way"),
    ];
    for (from, to, src, dest, want) in cases {
        let got = copied(from, to, &dockerfile_copy(src, dest), None);
        assert!(got.as_ref().is_err_and(|error| error.contains(want)), "{src} -> {dest}: {got:?}, want {want:?}");
    }
    for (dest, want) in [("/none/b", false), ("/none/", true), ("/t/b", true), ("/t/none/b", false)] {
        let action = CopyAction { create_dest_path: false, ..dockerfile_copy("/a", dest) };
        assert_eq!(copied("a x", "t/", &action, None).is_ok(), want, "{dest}");
    }
    let replace = CopyAction { always_replace_existing_dest_paths: true, ..dockerfile_copy("/d", "/t") };
    assert_eq!(copied("d/s/a x; d/u v", "t/s y; t/u/w z", &replace, None).as_deref(), Ok("t/; t/s/; t/s/a x; t/u v"));
    assert_eq!(copied("d/a x", "t y", &replace, None).as_deref(), Ok("t/; t/a x"));
}

#[test]
fn patterns_choose_what_is_copied() {
    let from = "d/a.go x; d/b.txt y; d/s/c.go z; d/s/d.txt w; d/e/";
    let include = CopyAction { include_patterns: vec!["**/*.go".into()], ..dockerfile_copy("/d", "/o") };
    assert_eq!(copied(from, "", &include, None).as_deref(), Ok("o/; o/a.go x; o/s/; o/s/c.go z"));
    let exclude = CopyAction { exclude_patterns: vec!["**/*.go".into()], ..dockerfile_copy("/d", "/o") };
    assert_eq!(copied(from, "", &exclude, None).as_deref(), Ok("o/; o/b.txt y; o/e/; o/s/; o/s/d.txt w"));
    let both = vec!["s".into(), "!s/c.go".into()];
    let back = CopyAction { exclude_patterns: both, ..dockerfile_copy("/d", "/o") };
    assert_eq!(copied(from, "", &back, None).as_deref(), Ok("o/; o/a.go x; o/b.txt y; o/e/; o/s/; o/s/c.go z"));
}

#[test]
fn owner_mode_and_time_are_set_where_asked() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: changing owners needs root");
        return;
    }
    let (source, dest) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    plant(source.path(), "d/a x; d/l -> a");
    fs::set_permissions(source.path().join("d/a"), fs::Permissions::from_mode(0o4750)).unwrap();
    let action = CopyAction { timestamp: Some(1_000_000_000), mode_str: "g-x".into(), ..dockerfile_copy("/d", "/p/o") };
    copier::copy(&plain(source.path()), &plain(dest.path()), &action, Some(Owner { uid: 7, gid: 8 })).unwrap();
    for (path, mode) in [("p", 0o755), ("p/o", 0o755), ("p/o/a", 0o4740), ("p/o/l", 0o777)] {
        let meta = dest.path().join(path).symlink_metadata().unwrap();
        assert_eq!((meta.uid(), meta.gid()), (7, 8), "owner of {path}");
        assert_eq!(meta.mode() & 0o7777, mode, "mode of {path}: {:o}", meta.mode());
    }
    assert_eq!(dest.path().join("p/o/a").metadata().unwrap().mtime(), 1);
}

#[test]
fn what_a_copy_makes_on_the_way_is_not_like_its_source() {
    let (source, dest) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    plant(source.path(), "d/s/a x");
    for path in ["d", "d/s"] {
        fs::set_permissions(source.path().join(path), fs::Permissions::from_mode(0o1700)).unwrap();
    }
    let times = super::paths::timestamps(5_000_000_000);
    rustix::fs::utimensat(rustix::fs::CWD, source.path().join("d"), &times, rustix::fs::AtFlags::empty()).unwrap();
    let copied = |action: CopyAction| {
        copier::copy(&plain(source.path()), &plain(dest.path()), &action, None).unwrap();
    };
    let mode = |path: &str| dest.path().join(path).metadata().unwrap().mode() & 0o7777;
    copied(dockerfile_copy("/d", "/plain/o"));
    assert_eq!((mode("plain"), mode("plain/o"), mode("plain/o/s")), (0o755, 0o755, 0o1700));
    assert_eq!(dest.path().join("plain/o").metadata().unwrap().mtime(), 5, "the time is the source's");
    copied(CopyAction { mode: Some(0o4750), ..dockerfile_copy("/d", "/number/o") });
    assert_eq!((mode("number"), mode("number/o"), mode("number/o/s")), (0o750, 0o750, 0o4750));
    copied(CopyAction { dir_copy_contents: false, ..dockerfile_copy("/d", "/whole/o") });
    assert_eq!((mode("whole"), mode("whole/o")), (0o755, 0o1700));
}

#[test]
fn required_paths_are_those_of_the_tree_that_is_copied_from() {
    let copy = |required: &str| CopyAction {
        include_patterns: vec!["s/a".into()],
        required_paths: vec![required.into()],
        ..dockerfile_copy("/d", "/o")
    };
    assert_eq!(copied("d/s/a x", "", &copy("/d/s/a"), None).as_deref(), Ok("o/; o/s/; o/s/a x"));
    assert!(copied("d/s/a x", "", &copy("/s/a"), None).is_err());
}

#[test]
fn hard_links_stay_links_and_fifos_fifos() {
    let (source, dest) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    plant(source.path(), "d/a x");
    fs::hard_link(source.path().join("d/a"), source.path().join("d/b")).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, source.path().join("d/f"), fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)
        .unwrap();
    copier::copy(&plain(source.path()), &plain(dest.path()), &dockerfile_copy("/d", "/o"), None).unwrap();
    let inode = |name: &str| dest.path().join("o").join(name).symlink_metadata().unwrap().ino();
    assert_eq!(inode("a"), inode("b"));
    let kind = dest.path().join("o/f").symlink_metadata().unwrap().mode() & 0o170_000;
    assert_eq!(kind, 0o010_000, "a fifo is copied as a fifo, and not read");
}

#[test]
fn archives_are_unpacked_where_asked() {
    let (source, dest) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    archive.append_data(&mut header, "in/f", &b"y"[..]).unwrap();
    let data = archive.into_inner().unwrap().finish().unwrap();
    fs::write(source.path().join("a.tgz"), data).unwrap();
    fs::write(source.path().join("plain.gz"), [0x1f, 0x8b, 8, 0, 0]).unwrap();
    let add = |src: &str, dest: &str| CopyAction { attempt_unpack: true, ..dockerfile_copy(src, dest) };
    copier::copy(&plain(source.path()), &plain(dest.path()), &add("/a.tgz", "/o"), None).unwrap();
    copier::copy(&plain(source.path()), &plain(dest.path()), &add("/plain.gz", "/p/"), None).unwrap();
    assert_eq!(fs::read(dest.path().join("o/in/f")).unwrap(), b"y");
    assert!(dest.path().join("p/plain.gz").is_file(), "what is no archive is copied as it is");
}

#[test]
fn simple_actions() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    plant(root, "l -> d; d/; out -> ../../../escape");
    let dir = &plain(root);
    simple::mkfile(dir, "/l/f", 0o600, b"x", None, Some(5_000_000_000)).unwrap();
    simple::mkdir(dir, "/p/q", 0o700, true, None, None).unwrap();
    assert!(simple::mkdir(dir, "/no/q", 0o700, false, None, None).is_err());
    simple::mkdir(dir, "/p", 0o755, false, None, None).unwrap();
    simple::symlink(dir, "/anything", "/p/s", None, None).unwrap();
    assert_eq!(harvest(root), "d/; d/f x; l -> d; out -> ../../../escape; p/; p/q/; p/s -> /anything");
    assert_eq!(root.join("d/f").metadata().unwrap().mtime(), 5);
    simple::rm(dir, "/l", false, false).unwrap();
    assert_eq!(harvest(root), "d/; d/f x; out -> ../../../escape; p/; p/q/; p/s -> /anything");
    simple::rm(dir, "/p/*", false, true).unwrap();
    simple::rm(dir, "/none", true, false).unwrap();
    assert!(simple::rm(dir, "/none", false, false).is_err());
    for path in ["/", "..", "/..", "a/../..", "."] {
        assert!(simple::rm(dir, path, true, false).is_err(), "{path:?} names the root");
    }
    assert_eq!(harvest(root), "d/; d/f x; out -> ../../../escape; p/");
}
