//! What every snapshotter must do, run for each of them.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use super::{Snapshotter, copy::Copy, fake::Fake, overlay::Overlay};
use crate::files::{self, Kind, Marks};

struct Place {
    dir: tempfile::TempDir,
    snapshotter: Box<dyn Snapshotter>,
    next: usize,
}

impl Place {
    fn new(snapshotter: impl Snapshotter + 'static) -> Place {
        Place { dir: tempfile::tempdir().unwrap(), snapshotter: Box::new(snapshotter), next: 0 }
    }

    fn path(&mut self) -> PathBuf {
        self.next += 1;
        self.dir.path().join(self.next.to_string())
    }

    /// A layer of what `change` does to the tree of `layers`.
    fn layer(&mut self, layers: &[PathBuf], change: impl Fn(&Path)) -> PathBuf {
        let (dir, into) = (self.path(), self.path());
        let tree = self.snapshotter.draft(layers, &dir).unwrap();
        change(&tree);
        self.snapshotter.commit(layers, &dir, &into).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        into
    }

    fn read(&mut self, layers: &[PathBuf]) -> BTreeMap<PathBuf, String> {
        let dir = self.path();
        let tree = self.snapshotter.view(layers, &dir).unwrap();
        let read = describe(&tree);
        self.snapshotter.end_view(&dir).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        read
    }

    /// Applies each change to a plain directory too, and compares after each.
    fn check(&mut self, changes: &[&dyn Fn(&Path)]) {
        let model = self.path();
        fs::create_dir(&model).unwrap();
        fs::set_permissions(&model, fs::Permissions::from_mode(0o755)).unwrap();
        let mut layers = Vec::new();
        for (i, change) in changes.iter().enumerate() {
            change(&model);
            let layer = self.layer(&layers, change);
            layers.push(layer);
            assert_eq!(self.read(&layers), describe(&model), "{} after change {i}", self.snapshotter.name());
        }
        assert_eq!(sys::mount::under(&self.dir.path().canonicalize().unwrap()).unwrap(), [] as [PathBuf; 0]);
    }
}

/// Every path with kind, mode, number of names, contents or link target, and attributes.
pub(crate) fn describe(tree: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut todo = vec![tree.to_owned()];
    while let Some(path) = todo.pop() {
        let metadata = files::lstat(&path).unwrap();
        let kind = Kind::of(&metadata);
        let data = match kind {
            Kind::File => fs::read_to_string(&path).unwrap(),
            Kind::Symlink => fs::read_link(&path).unwrap().display().to_string(),
            Kind::Dir => {
                todo.extend(files::names(&path).unwrap().into_iter().map(|name| path.join(name)));
                String::new()
            }
            _ => metadata.rdev().to_string(),
        };
        let links = if kind == Kind::Dir { 0 } else { metadata.nlink() };
        let xattrs = files::xattrs(&path).unwrap();
        let text =
            format!("{kind:?} {:o} {}:{} {links} {data} {xattrs:?}", metadata.mode(), metadata.uid(), metadata.gid());
        found.insert(path.strip_prefix(tree).unwrap().to_owned(), text);
    }
    found
}

fn write(tree: &Path, path: &str, data: &str) {
    let path = tree.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, data).unwrap();
}

fn suite(make: impl Fn() -> Place) {
    files_come_and_go(make());
    kinds_replace_each_other(make());
    attributes_are_kept(make());
    links_are_kept(make());
    drafts_can_be_dropped(make());
    views_do_not_see_drafts(make());
    many_layers(make());
}

fn files_come_and_go(mut place: Place) {
    place.check(&[
        &|tree| {
            write(tree, "a", "1");
            write(tree, "dir/a", "1");
            write(tree, "dir/sub/b", "1");
        },
        &|tree| write(tree, "a", "2"),
        &|_| {},
        &|tree| fs::remove_file(tree.join("dir/a")).unwrap(),
        &|tree| write(tree, "dir/a", "again"),
        &|tree| fs::remove_dir_all(tree.join("dir")).unwrap(),
        &|tree| write(tree, "dir/new", "1"),
        &|tree| fs::rename(tree.join("a"), tree.join("b")).unwrap(),
    ]);
}

fn kinds_replace_each_other(mut place: Place) {
    place.check(&[
        &|tree| {
            write(tree, "x/deep/file", "1");
            write(tree, "y", "1");
            symlink("y", tree.join("z")).unwrap();
        },
        &|tree| {
            fs::remove_dir_all(tree.join("x")).unwrap();
            write(tree, "x", "file");
            fs::remove_file(tree.join("y")).unwrap();
            write(tree, "y/in", "dir");
        },
        // A directory that was removed and made again hides what the lower one had.
        &|tree| {
            fs::remove_file(tree.join("x")).unwrap();
            write(tree, "x/deep/other", "1");
            fs::remove_dir_all(tree.join("y")).unwrap();
            write(tree, "y/else", "2");
        },
        &|tree| {
            fs::remove_file(tree.join("z")).unwrap();
            fs::create_dir(tree.join("z")).unwrap();
        },
    ]);
}

fn attributes_are_kept(mut place: Place) {
    place.check(&[
        &|tree| {
            write(tree, "dir/file", "1");
            fs::set_permissions(tree.join("dir"), fs::Permissions::from_mode(0o711)).unwrap();
            fs::set_permissions(tree, fs::Permissions::from_mode(0o750)).unwrap();
        },
        &|tree| fs::set_permissions(tree.join("dir/file"), fs::Permissions::from_mode(0o4755)).unwrap(),
        &|tree| fs::set_permissions(tree.join("dir"), fs::Permissions::from_mode(0o1777)).unwrap(),
        &|tree| {
            if sys::user::is_root() {
                files::set_owner(&tree.join("dir/file"), 7, 8).unwrap();
            }
        },
        &|tree| fs::set_permissions(tree, fs::Permissions::from_mode(0o700)).unwrap(),
    ]);
}

fn links_are_kept(mut place: Place) {
    place.check(&[
        &|tree| {
            write(tree, "a", "1");
            fs::hard_link(tree.join("a"), tree.join("b")).unwrap();
            symlink("/outside/../a", tree.join("s")).unwrap();
        },
        &|tree| write(tree, "c", "1"),
        &|tree| {
            fs::create_dir(tree.join("d")).unwrap();
            write(tree, "d/e", "2");
            fs::hard_link(tree.join("d/e"), tree.join("f")).unwrap();
        },
    ]);
}

fn drafts_can_be_dropped(mut place: Place) {
    let base = place.layer(&[], |tree| write(tree, "a", "1"));
    let dir = place.path();
    let layers = [base.clone()];
    let tree = place.snapshotter.draft(&layers, &dir).unwrap();
    write(&tree, "a", "2");
    place.snapshotter.discard(&layers, &dir).unwrap();
    fs::remove_dir_all(&dir).unwrap();
    assert_eq!(fs::read_to_string(base.join("a")).unwrap(), "1");
    let dir = place.path();
    place.snapshotter.draft(&[], &dir).unwrap();
    place.snapshotter.discard(&[], &dir).unwrap();
    fs::remove_dir_all(&dir).unwrap();
}

fn views_do_not_see_drafts(mut place: Place) {
    let base = place.layer(&[], |tree| write(tree, "a", "1"));
    let layers = [base];
    let (view, draft, into) = (place.path(), place.path(), place.path());
    let seen = place.snapshotter.view(&layers, &view).unwrap();
    let tree = place.snapshotter.draft(&layers, &draft).unwrap();
    write(&tree, "a", "2");
    place.snapshotter.commit(&layers, &draft, &into).unwrap();
    assert_eq!(fs::read_to_string(seen.join("a")).unwrap(), "1");
    place.snapshotter.end_view(&view).unwrap();
}

fn many_layers(mut place: Place) {
    let count = place.snapshotter.layers_max().min(150);
    let mut layers = Vec::new();
    for i in 0..count {
        let layer = place.path();
        write(&layer, &format!("dir/{i}"), "");
        write(&layer, "last", &i.to_string());
        layers.push(layer);
    }
    let read = place.read(&layers);
    assert_eq!(read.len(), count + 3);
    assert!(read[Path::new("last")].contains(&format!(" {} ", count - 1)));
}

fn marks() -> Marks {
    Marks { user: !sys::user::is_root() || sys::user::in_user_namespace() }
}

#[test]
fn copy() {
    suite(|| Place::new(Copy::new(marks())));
}

#[test]
fn fake() {
    suite(|| Place::new(Fake::new(marks())));
}

#[test]
fn overlay() {
    if !sys::user::is_root() {
        eprintln!("overlay: skipped: mounting needs root");
        return;
    }
    suite(|| Place::new(Overlay { marks: marks() }));
}

#[test]
fn the_fake_refuses_a_layer_that_changed() {
    let mut place = Place::new(Fake::new(marks()));
    let layer = place.layer(&[], |tree| write(tree, "a", "1"));
    write(&layer, "b", "2");
    let dir = place.path();
    assert!(place.snapshotter.view(&[layer], &dir).is_err());
    std::mem::forget(place);
}
