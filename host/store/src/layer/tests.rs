//! Layers go through tar and back; archives that mean harm do not get out.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use tar::{Builder, EntryType, Header};

use super::{
    compress::{Compressor, Room, decompress},
    pack::pack,
    read::{EXTENSION_MAX, Reader, SPARSE_PIECES_MAX},
    unpack::{Form, Outcome, PATH_LEN_MAX, Unpack},
};
use crate::{
    Compression,
    error::{Error, Result},
    files::{self, Marks},
    snapshotter::tests::describe,
};

fn marks() -> Marks {
    Marks { user: !sys::user::is_root() || sys::user::in_user_namespace() }
}

fn layer_form() -> Form {
    Form::Layer { marks: marks(), has_lower: false }
}

fn unpack(archive: &[u8], into: &Path, form: Form) -> Result<Outcome> {
    Unpack::new(into, form, &|| Ok(()))?.run(archive)
}

fn root(test: &str) -> bool {
    let root = sys::user::is_root();
    if !root {
        eprintln!("{test}: skipped: owners and devices need root");
    }
    root
}

/// A layer with everything in it.
fn rich_layer(dir: &Path) {
    let long = "long".repeat(60);
    fs::create_dir_all(dir.join("dir").join(&long)).unwrap();
    fs::write(dir.join("dir").join(&long).join("file"), "1").unwrap();
    fs::write(dir.join("name \u{e9}\n"), "odd name").unwrap();
    fs::write(dir.join("suid"), "2").unwrap();
    fs::set_permissions(dir.join("suid"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::hard_link(dir.join("suid"), dir.join("dir/other-name")).unwrap();
    symlink("x".repeat(300), dir.join("link")).unwrap();
    symlink("/etc/passwd", dir.join("out")).unwrap();
    files::make_node(&dir.join("fifo"), rustix::fs::FileType::Fifo, 0o640, 0).unwrap();
    files::make_node(&dir.join("dev"), rustix::fs::FileType::CharacterDevice, 0o600, rustix::fs::makedev(5, 300))
        .unwrap();
    files::make_whiteout(&dir.join("gone")).unwrap();
    fs::create_dir(dir.join("opaque")).unwrap();
    marks().set_opaque(&dir.join("opaque")).unwrap();
    fs::write(dir.join("opaque/new"), "3").unwrap();
    files::set_owner(&dir.join("opaque/new"), 1 << 22, 77).unwrap();
    // A VFS_CAP_REVISION_2 value: CAP_NET_RAW, permitted and effective.
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    files::set_xattr(&dir.join("opaque/new"), b"security.capability", &capability).unwrap();
    files::set_mtime(&dir.join("opaque/new"), 1_234_567, 0).unwrap();
    files::set_mtime(&dir.join("opaque"), 7, 0).unwrap();
}

fn packed(dir: &Path, epoch: Option<i64>) -> Vec<u8> {
    let mut archive = Vec::new();
    pack(&[dir.to_path_buf()], marks(), epoch, &mut archive).unwrap();
    archive
}

#[test]
fn a_layer_survives_tar() {
    if !root("a_layer_survives_tar") {
        return;
    }
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    rich_layer(from.path());
    let archive = packed(from.path(), None);
    assert_eq!(unpack(&archive, to.path(), layer_form()).unwrap(), Outcome::Done { hides: true });
    let mut expect = describe(from.path());
    expect.remove(Path::new(""));
    let mut read = describe(to.path());
    read.remove(Path::new(""));
    assert_eq!(read, expect);
    assert!(marks().is_opaque(&to.path().join("opaque")).unwrap());
    assert_eq!(fs::metadata(to.path().join("opaque")).unwrap().mtime(), 7);
    assert_eq!(fs::metadata(to.path().join("opaque/new")).unwrap().mtime(), 1_234_567);
    assert_eq!(packed(to.path(), Some(0)), packed(from.path(), Some(0)), "packed again, the same bytes");
}

#[test]
fn times_are_clamped_to_the_epoch() {
    let dir = tempfile::tempdir().unwrap();
    for (name, time) in [("old", 5), ("new", 2_000_000_000)] {
        fs::write(dir.path().join(name), "").unwrap();
        files::set_mtime(&dir.path().join(name), time, 0).unwrap();
    }
    let archive = packed(dir.path(), Some(1000));
    let mut reader = Reader::new(&archive[..]);
    let mut times = BTreeMap::new();
    while let Some(entry) = reader.next().unwrap() {
        times.insert(entry.path, entry.mtime.0);
    }
    assert_eq!(times, BTreeMap::from([(b"old".to_vec(), 5), (b"new".to_vec(), 1000)]));
}

#[test]
fn compressions_are_read_back_and_repeatable() {
    let data: Vec<u8> = (0..3_000_000u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
    for compression in [Compression::Uncompressed, Compression::Gzip(1), Compression::Gzip(6), Compression::Zstd(3)] {
        let file = || tempfile::NamedTempFile::new().unwrap();
        let compress = || {
            let file = file();
            let mut to = Compressor::new(compression, file.reopen().unwrap()).unwrap();
            to.write_all(&data).unwrap();
            to.finish().unwrap();
            fs::read(file.path()).unwrap()
        };
        let (one, two) = (compress(), compress());
        assert!(one == two, "{compression:?}");
        let mut plain = Vec::new();
        std::io::copy(&mut decompress(std::io::Cursor::new(one), Room::default()).unwrap(), &mut plain).unwrap();
        assert!(plain == data, "{compression:?}");
    }
    for wrong in [Compression::Gzip(10), Compression::Zstd(-1), Compression::Zstd(23)] {
        assert!(Compressor::new(wrong, std::io::sink()).is_err(), "{wrong:?}");
    }
}

/// What is meant to fill a disk ends at a limit, and what is only large does not.
#[test]
fn what_comes_of_a_blob_is_bounded() {
    const MIB: u64 = 1 << 20;
    let zeros = vec![0; 8 << 20];
    for compression in [Compression::Gzip(6), Compression::Zstd(3), Compression::Uncompressed] {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut to = Compressor::new(compression, file.reopen().unwrap()).unwrap();
        to.write_all(&zeros).unwrap();
        to.finish().unwrap();
        let read = |room: Room| {
            let from = fs::File::open(file.path()).unwrap();
            std::io::copy(&mut decompress(from, room).unwrap(), &mut std::io::sink()).map_err(|error| error.to_string())
        };
        let room = Room { free: MIB, ratio: 100, most: u64::MAX };
        let is_bomb = compression != Compression::Uncompressed;
        assert_eq!(read(room).is_err_and(|error| error.contains("more than 100 for each byte")), is_bomb);
        assert_eq!(read(Room { ratio: 1 << 20, ..room }), Ok(8 * MIB), "so much may come of each byte");
        assert_eq!(read(Room { free: 8 * MIB, ..room }), Ok(8 * MIB), "so little may be of any");
        assert_eq!(read(Room::default()), Ok(8 * MIB));
        let refused = read(Room { most: 8 * MIB - 1, ..Room::default() });
        assert!(refused.is_err_and(|error| error.contains("(maxUsedSpace)")), "{compression:?}");
    }
}

/// Kind, path, link target or contents.
type Line = (EntryType, &'static str, &'static str);

/// Archives by hand.
fn archive(lines: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, path, extra) in lines {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(if *kind == EntryType::Directory { 0o755 } else { 0o644 });
        header.set_uid(u64::from(rustix::process::getuid().as_raw()));
        header.set_gid(u64::from(rustix::process::getgid().as_raw()));
        header.set_mtime(1);
        let mut data = "";
        if matches!(kind, EntryType::Link | EntryType::Symlink) {
            header.as_old_mut().linkname[..extra.len()].copy_from_slice(extra.as_bytes());
        } else {
            data = extra;
        }
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

use EntryType::{Directory as D, Link as L, Regular as F, Symlink as S};

/// Whatever an archive holds, nothing beside the directory changes.
#[test]
fn hostile_archives_stay_inside() {
    let cases: &[&[Line]] = &[
        &[(F, "../out", "x")],
        &[(F, "a/../../out", "x")],
        &[(F, "/../out", "x")],
        &[(S, "s", ".."), (F, "s/out", "x")],
        &[(S, "s", "../../../../../../../../../tmp"), (F, "s/pintle-hostile-archive", "x")],
        &[(S, "s", "/tmp"), (F, "s/pintle-hostile-archive", "x")],
        &[(S, "s", "/tmp"), (D, "s/pintle-hostile-archive", "")],
        &[(S, "s", "../secret"), (F, "s", "x")],
        &[(S, "s", "../secret"), (L, "l", "s"), (F, "l", "x")],
        &[(L, "l", "../secret"), (F, "l", "x")],
        &[(L, "l", "/../secret")],
        &[(S, "s", ".."), (L, "l", "s/secret"), (F, "l", "x")],
        &[(S, "s", ".."), (F, "s/.wh.secret", "")],
        &[(S, "s", ".."), (F, "s/.wh..wh..opq", "")],
        &[(F, ".wh...", "")],
        &[(F, ".wh..", "")],
        &[(F, ".wh.", "")],
        &[(F, ".wh.a/b", "x")],
        &[(F, ".wh..wh..opq/b", "x")],
        &[(S, "d", ".."), (D, "d", ""), (F, "d/secret", "x")],
        &[(D, "d", ""), (S, "d", ".."), (F, "d/secret", "x")],
        &[(S, "/proc-self", "/proc/self/cwd"), (F, "proc-self/out", "x")],
    ];
    for (i, case) in cases.iter().enumerate() {
        for form in [layer_form(), Form::Tree, Form::Plain] {
            let dir = tempfile::tempdir().unwrap();
            let outside = dir.path().join("outside");
            let root = outside.join("root");
            fs::create_dir_all(&root).unwrap();
            fs::write(outside.join("secret"), "secret").unwrap();
            let outcome = unpack(&archive(case), &root, form);
            assert!(!Path::new("/tmp/pintle-hostile-archive").exists(), "case {i} {form:?}: {outcome:?}");
            assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "secret", "case {i} {form:?}");
            assert_eq!(fs::metadata(outside.join("secret")).unwrap().nlink(), 1, "case {i} {form:?}: {outcome:?}");
            assert_eq!(files::names(&outside).unwrap(), ["root", "secret"], "case {i} {form:?}: {outcome:?}");
            assert_eq!(files::names(dir.path()).unwrap(), ["outside"]);
        }
    }
}

#[test]
fn overlay_marks_in_an_archive_are_not_taken_over() {
    let mut builder = Builder::new(Vec::new());
    let records: &[(&str, &[u8])] = &[
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/x"),
        ("SCHILY.xattr.user.kept", b"1"),
    ];
    builder.append_pax_extensions(records.iter().copied()).unwrap();
    let mut bytes = builder.into_inner().unwrap();
    bytes.truncate(bytes.len() - 1024);
    bytes.extend(archive(&[(D, "d", "")]));
    let dir = tempfile::tempdir().unwrap();
    unpack(&bytes, dir.path(), layer_form()).unwrap();
    let names: Vec<_> = xattr::list(dir.path().join("d")).unwrap().collect();
    assert_eq!(names, ["user.kept"]);
}

#[test]
fn limits_of_archives_are_held() {
    let mut long_name = Header::new_gnu();
    long_name.set_entry_type(EntryType::GNULongName);
    long_name.set_size(EXTENSION_MAX + 1);
    long_name.set_cksum();
    let long_path = archive(&[(F, "a", "")]);
    let mut pax = Builder::new(Vec::new());
    pax.append_pax_extensions([("path", "a/".repeat(PATH_LEN_MAX).as_bytes())]).unwrap();
    let mut pax = pax.into_inner().unwrap();
    pax.truncate(pax.len() - 1024);
    pax.extend(&long_path);
    let mut sparse = Builder::new(Vec::new());
    let pieces = SPARSE_PIECES_MAX + 1;
    sparse
        .append_pax_extensions([
            ("GNU.sparse.major", &b"1"[..]),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.realsize", b"9"),
        ])
        .unwrap();
    let mut sparse = sparse.into_inner().unwrap();
    sparse.truncate(sparse.len() - 1024);
    sparse.extend(archive(&[(F, "a", &format!("{pieces}\n{}", " ".repeat(600)))]));
    for (name, bytes) in [("long name", long_name.as_bytes().to_vec()), ("long path", pax), ("sparse map", sparse)] {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(unpack(&bytes, dir.path(), layer_form()), Err(Error::Other(_) | Error::Io { .. })), "{name}");
    }
}

/// An archive that is cut anywhere, or has any byte changed, is an error or unpacks; it never panics.
#[test]
fn broken_archives_are_errors() {
    let whole = archive(&[(D, "d", ""), (F, "d/f", "contents"), (S, "s", "d"), (L, "l", "d/f")]);
    let mut errors = 0;
    for end in (0..whole.len() - 1024).step_by(7) {
        let dir = tempfile::tempdir().unwrap();
        if let Err(error) = unpack(&whole[..end], dir.path(), layer_form()) {
            assert!(error.to_string().contains("archive"), "{error}");
            errors += 1;
        }
    }
    // All but those that end where an entry ends.
    assert!(errors > 300, "{errors}");
    for at in (0..whole.len()).step_by(5) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        let dir = tempfile::tempdir().unwrap();
        let _ = unpack(&bytes, dir.path(), layer_form());
        assert!(dir.path().exists());
    }
}

/// GNU tar's three PAX forms and its own, as far as `tar` is there to make them.
#[test]
fn sparse_files_are_read_in_every_form() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    fs::create_dir(&from).unwrap();
    let file = fs::File::create(from.join("sparse")).unwrap();
    file.set_len(5 << 20).unwrap();
    use std::os::unix::fs::FileExt;
    for i in 0..30 {
        file.write_all_at(b"data", i * 150_000).unwrap();
    }
    drop(file);
    let expect = fs::read(from.join("sparse")).unwrap();
    let forms = [
        &["--format=gnu"][..],
        &["--format=pax", "--sparse-version=0.0"],
        &["--format=pax", "--sparse-version=0.1"],
        &["--format=pax", "--sparse-version=1.0"],
    ];
    for (tried, form) in forms.iter().enumerate() {
        let made = std::process::Command::new("tar")
            .arg("-S")
            .args(*form)
            .args(["-C", from.to_str().unwrap(), "-cf", "-", "sparse"])
            .output();
        let Ok(made) = made else {
            eprintln!("sparse_files_are_read_in_every_form: skipped: no tar command");
            return;
        };
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let to = dir.path().join(format!("to{tried}"));
        fs::create_dir(&to).unwrap();
        unpack(&made.stdout, &to, layer_form()).unwrap();
        assert!(fs::read(to.join("sparse")).unwrap() == expect, "{form:?}");
        assert!(fs::metadata(to.join("sparse")).unwrap().blocks() < 4 << 11, "{form:?}: holes stay holes");
    }
}

/// What needs the layers below is recognised, and what does not is not.
#[test]
fn archives_that_need_lower_layers_say_so() {
    let form = Form::Layer { marks: marks(), has_lower: true };
    let cases: &[(&[Line], bool)] = &[
        (&[(D, "d", ""), (F, "d/f", "x"), (L, "l", "d/f")], false),
        (&[(F, "d/f", "x")], true),
        (&[(L, "l", "lower")], true),
        (&[(F, ".wh.l", ""), (L, "m", "l")], true),
        (&[(F, ".wh..wh..opq", "")], true),
        (&[(D, "d", ""), (F, "d/.wh..wh..opq", "")], false),
        (&[(S, "bin", "usr/bin"), (F, "bin/f", "x")], true),
        (&[(F, "d/.wh.f", "")], true),
    ];
    for (lines, needs) in cases {
        let dir = tempfile::tempdir().unwrap();
        let outcome = unpack(&archive(lines), dir.path(), form).unwrap();
        assert_eq!(outcome == Outcome::NeedsLower, *needs, "{lines:?}");
    }
}

#[test]
fn whiteouts_do_not_hide_their_own_layer() {
    let dir = tempfile::tempdir().unwrap();
    let lines = [(D, "d", ""), (F, "d/new", "x"), (F, "d/.wh..wh..opq", ""), (F, "f", "x"), (F, ".wh.f", "")];
    for form in [layer_form(), Form::Tree] {
        let root: PathBuf = dir.path().join(format!("{}", form == Form::Tree));
        fs::create_dir(&root).unwrap();
        unpack(&archive(&lines), &root, form).unwrap();
        assert!(root.join("d/new").exists() && root.join("f").is_file(), "{form:?}");
    }
}
