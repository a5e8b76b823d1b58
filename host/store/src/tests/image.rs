//! Layers of images: fetched late, once, and checked; and layers as blobs.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use sha2::{Digest, Sha256};
use tokio::io::AsyncRead;

use super::*;
use crate::{BlobOptions, Compression, Descriptor, LayerBlob, LazyLayer, Provider, snapshotter::tests::describe};

/// A registry in memory.
#[derive(Default)]
struct Memory {
    blobs: Mutex<std::collections::HashMap<String, Vec<u8>>>,
    fetches: AtomicUsize,
    /// Break off after so many bytes of each transfer.
    cut: Option<usize>,
}

impl Memory {
    fn put(&self, data: &[u8]) -> Descriptor {
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(data)));
        self.blobs.lock().unwrap().insert(digest.clone(), data.to_vec());
        let media_type = "application/vnd.oci.image.layer.v1.tar+gzip".to_owned();
        Descriptor { media_type, digest, size: data.len() as u64, annotations: Default::default() }
    }
}

struct Handle(Arc<Memory>);

#[async_trait::async_trait]
impl Provider for Handle {
    async fn fetch(&self, descriptor: &Descriptor, offset: u64) -> anyhow::Result<Box<dyn AsyncRead + Send + Unpin>> {
        self.0.fetches.fetch_add(1, Ordering::Relaxed);
        let blobs = self.0.blobs.lock().unwrap();
        let data = blobs.get(&descriptor.digest).ok_or_else(|| anyhow::anyhow!("404"))?;
        let rest = data.get(offset as usize..).unwrap_or_default();
        let rest = &rest[..rest.len().min(self.0.cut.unwrap_or(usize::MAX))];
        Ok(Box::new(std::io::Cursor::new(rest.to_vec())))
    }
    fn locator(&self) -> String {
        "memory:test".to_owned()
    }
}

fn lazy(registry: &Arc<Memory>, blob: &LayerBlob) -> LazyLayer {
    let provider = Arc::new(Handle(registry.clone()));
    LazyLayer { blob: blob.descriptor.clone(), diff_id: blob.diff_id.clone(), provider, progress: None }
}

/// An image of three layers, and its tree.
async fn image(store: &Store, registry: &Arc<Memory>) -> (Vec<LazyLayer>, Vec<String>) {
    let one = changed(store, &store.scratch(), |tree| {
        write(tree, "etc/conf", "1");
        write(tree, "etc/gone", "1");
        write(tree, "big", vec![7; 300_000]);
    })
    .await;
    let two = changed(store, &one, |tree| {
        fs::remove_file(tree.join("etc/gone")).unwrap();
        write(tree, "usr/bin/tool", "2");
    })
    .await;
    let three = changed(store, &two, |tree| write(tree, "etc/conf", "3")).await;
    let mut layers = Vec::new();
    for blob in three.blobs(Compression::Gzip(6), false).await.unwrap() {
        registry.put(&fs::read(blob.file.as_ref().unwrap()).unwrap());
        layers.push(lazy(registry, &blob));
    }
    let view = three.view().await.unwrap();
    (layers, described(view.path()))
}

fn described(tree: &Path) -> Vec<String> {
    describe(tree)
        .into_iter()
        .filter(|(path, _)| !path.as_os_str().is_empty())
        .map(|(path, text)| format!("{} {text}", path.display()))
        .collect()
}

#[test]
fn images_are_fetched_when_read_and_once() {
    for kind in kinds() {
        let (made, used) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let registry = Arc::new(Memory::default());
        block_on(async {
            let (layers, expect) = image(&open(made.path(), kind), &registry).await;
            let store = open(used.path(), kind);
            let snapshot = store.image(layers.clone()).unwrap();
            let name = store.save(&snapshot).unwrap();
            assert_eq!(registry.fetches.load(Ordering::Relaxed), 0, "nothing is fetched before it is read");
            let again = store.image(layers).unwrap();
            let views = futures::future::join_all((0..8).map(|i| {
                let snapshot = if i % 2 == 0 { snapshot.clone() } else { again.clone() };
                async move { snapshot.view().await.unwrap() }
            }));
            for view in views.await {
                assert_eq!(described(view.path()), expect);
            }
            assert_eq!(registry.fetches.load(Ordering::Relaxed), 3);
            drop((snapshot, again, store));
            let store = open(used.path(), kind);
            let snapshot = store.load(&name).unwrap().unwrap();
            assert_eq!(described(snapshot.view().await.unwrap().path()), expect);
            assert_eq!(registry.fetches.load(Ordering::Relaxed), 3);
        });
    }
}

#[test]
fn a_lazy_snapshot_can_be_loaded_by_a_later_process() {
    let (made, used) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let registry = Arc::new(Memory::default());
    block_on(async {
        let (layers, expect) = image(&open(made.path(), "fake"), &registry).await;
        let store = open(used.path(), "fake");
        let name = store.save(&store.image(layers).unwrap()).unwrap();
        drop(store);
        let store = open(used.path(), "fake");
        assert!(store.load(&name).unwrap().is_none(), "nobody knows how to reach it");
        let reach = registry.clone();
        store.set_providers(move |locator| {
            (locator == "memory:test").then(|| Arc::new(Handle(reach.clone())) as Arc<dyn Provider>)
        });
        let snapshot = store.load(&name).unwrap().unwrap();
        assert_eq!(described(snapshot.view().await.unwrap().path()), expect);
    });
}

#[test]
fn transfers_that_break_off_are_resumed() {
    let (made, used) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let whole = Arc::new(Memory::default());
    block_on(async {
        let (layers, _) = image(&open(made.path(), "fake"), &whole).await;
        let size = layers[0].blob.size as usize;
        let blobs = Mutex::new(whole.blobs.lock().unwrap().clone());
        let flaky = Arc::new(Memory { blobs, fetches: AtomicUsize::new(0), cut: Some(size / 3 + 1) });
        let store = open(used.path(), "fake");
        let blob = store.fetch_blob(&layers[0].blob, Arc::new(Handle(flaky.clone()))).await.unwrap();
        assert_eq!(fs::metadata(blob.path()).unwrap().len(), size as u64);
        assert_eq!(flaky.fetches.load(Ordering::Relaxed), 3);
        let hopeless = Arc::new(Memory {
            blobs: Mutex::new(whole.blobs.lock().unwrap().clone()),
            cut: Some(0),
            ..Memory::default()
        });
        let error = store.fetch_blob(&layers[1].blob, Arc::new(Handle(hopeless))).await.err().unwrap();
        assert!(error.to_string().contains("ended after 0 of"), "{error}");
    });
}

#[test]
fn wrong_bytes_are_refused_and_not_kept() {
    let (made, used) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let registry = Arc::new(Memory::default());
    block_on(async {
        let (layers, expect) = image(&open(made.path(), "fake"), &registry).await;
        let right = registry.blobs.lock().unwrap().clone();
        let store = open(used.path(), "fake");
        let snapshot = store.image(layers.clone()).unwrap();
        for wrong in
            [b"short".to_vec(), vec![0; layers[0].blob.size as usize], vec![0; layers[0].blob.size as usize + 1]]
        {
            registry.blobs.lock().unwrap().insert(layers[0].blob.digest.clone(), wrong);
            assert!(snapshot.view().await.is_err());
        }
        *registry.blobs.lock().unwrap() = right;
        assert_eq!(described(snapshot.view().await.unwrap().path()), expect);

        let other = LazyLayer { diff_id: layers[1].diff_id.clone(), ..layers[0].clone() };
        let error = store.image(vec![other]).unwrap().view().await.err().unwrap();
        assert!(error.to_string().contains("config says"), "{error}");
        assert!(store.image(vec![LazyLayer { diff_id: "sha256:x".to_owned(), ..layers[0].clone() }]).is_err());
    });
}

/// A layer that says less than it must, as some builders make them: it is understood over those below.
#[test]
fn sparse_archives_are_understood_over_lower_layers() {
    for kind in kinds() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Arc::new(Memory::default());
        block_on(async {
            let store = open(dir.path(), kind);
            let base = changed(&store, &store.scratch(), |tree| {
                write(tree, "usr/bin/old", "1");
                std::os::unix::fs::symlink("usr/bin", tree.join("bin")).unwrap();
                use std::os::unix::fs::PermissionsExt;
                fs::set_permissions(tree.join("usr"), fs::Permissions::from_mode(0o711)).unwrap();
            })
            .await;
            let base = base.blobs(Compression::Gzip(1), false).await.unwrap().remove(0);
            registry.put(&fs::read(base.file.as_ref().unwrap()).unwrap());
            let mut archive = tar::Builder::new(Vec::new());
            let mut add = |path: &str, link: Option<&str>| {
                let mut header = tar::Header::new_ustar();
                header.set_path(path).unwrap();
                header.set_mode(0o644);
                header.set_size(0);
                if let Some(link) = link {
                    header.set_entry_type(tar::EntryType::Link);
                    header.set_link_name(link).unwrap();
                }
                header.set_cksum();
                archive.append(&header, std::io::empty()).unwrap();
            };
            add("bin/new", None);
            add("usr/linked", Some("usr/bin/old"));
            let archive = archive.into_inner().unwrap();
            let blob = registry.put(&archive);
            let upper = LazyLayer { diff_id: blob.digest.clone(), blob, ..lazy(&registry, &base) };
            let snapshot = store.image(vec![lazy(&registry, &base), upper]).unwrap();
            let view = snapshot.view().await.unwrap();
            let seen = describe(view.path());
            assert!(seen[Path::new("bin")].starts_with("Symlink"), "{kind}: {seen:?}");
            assert!(seen.contains_key(Path::new("usr/bin/new")), "{kind}: {seen:?}");
            assert!(seen[Path::new("usr")].starts_with("Dir 40711"), "{kind}: {seen:?}");
            assert!(seen[Path::new("usr/linked")].contains(" 1 []"), "{kind}: {seen:?}");
        });
    }
}

#[test]
fn blobs_are_made_once_and_agree_on_their_diff_id() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Arc::new(Memory::default());
    block_on(async {
        let store = open(dir.path(), "fake");
        let (layers, _) = image(&store, &registry).await;
        let pulled = store.image(layers.clone()).unwrap();
        let kept = pulled.blobs(Compression::Zstd(3), false).await.unwrap();
        assert!(kept.iter().zip(&layers).all(|(blob, lazy)| blob.descriptor == lazy.blob), "an image's blobs stay");
        let forced = pulled.blobs(Compression::Zstd(3), true).await.unwrap();
        for (forced, lazy) in forced.iter().zip(&layers) {
            assert_eq!(forced.diff_id, lazy.diff_id);
            assert!(forced.descriptor.media_type.ends_with("zstd"));
        }
        let own = changed(&store, &pulled, |tree| write(tree, "own", "1")).await;
        let options = BlobOptions { compression: Compression::Gzip(6), force: false, epoch: Some(0), kept: 3 };
        let one = own.blobs_with(options).await.unwrap().remove(3);
        let two = own.blobs_with(options).await.unwrap().remove(3);
        assert_eq!(one.descriptor, two.descriptor);
        let plain =
            own.blobs_with(BlobOptions { compression: Compression::Uncompressed, ..options }).await.unwrap().remove(3);
        assert_eq!((&plain.descriptor.digest, &plain.diff_id), (&one.diff_id, &one.diff_id));
        let all = own.blobs_with(options).await.unwrap();
        assert!(all.iter().zip(&layers).all(|(blob, lazy)| blob.descriptor == lazy.blob), "those of the base stay");
        let rewritten = own.blobs_with(BlobOptions { kept: 2, ..options }).await.unwrap();
        assert_eq!(rewritten[1].descriptor, layers[1].blob);
        assert_ne!(
            rewritten[2].diff_id, layers[2].diff_id,
            "a layer that came from elsewhere has the times that are asked for"
        );
        let view = own.view().await.unwrap();
        assert!(view.path().join("own").exists());
    });
}

/// A registry by another name.
struct Named(&'static str, Arc<Memory>);

#[async_trait::async_trait]
impl Provider for Named {
    async fn fetch(&self, descriptor: &Descriptor, offset: u64) -> anyhow::Result<Box<dyn AsyncRead + Send + Unpin>> {
        Handle(self.1.clone()).fetch(descriptor, offset).await.map_err(|error| error.context(self.0))
    }
    fn locator(&self) -> String {
        format!("memory:{}", self.0)
    }
}

/// `layers` as an image of another registry.
fn renamed(layers: &[LazyLayer], name: &'static str, registry: &Arc<Memory>) -> Vec<LazyLayer> {
    let provider = |_: &LazyLayer| Arc::new(Named(name, registry.clone())) as Arc<dyn Provider>;
    layers.iter().map(|layer| LazyLayer { provider: provider(layer), ..layer.clone() }).collect()
}

#[test]
fn a_layer_is_had_from_any_image_that_has_it() {
    let (made, used) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (good, broken) = (Arc::new(Memory::default()), Arc::new(Memory::default()));
    block_on(async {
        let (layers, expect) = image(&open(made.path(), "fake"), &good).await;
        let store = open(used.path(), "fake");
        let read = async |snapshot: &crate::Snapshot| {
            let view = snapshot.view().await.map_err(|error| error.to_string())?;
            Ok::<_, String>(described(view.path()))
        };
        // First seen through a registry that does not have it, and saved so.
        let first = store.image(renamed(&layers, "broken", &broken)).unwrap();
        let name = store.save(&first).unwrap();
        let error = read(&first).await.unwrap_err();
        assert!(error.contains("broken: 404"), "{error}");
        let worse = store.image(renamed(&layers, "worse", &broken)).unwrap();
        let error = read(&worse).await.unwrap_err();
        assert!(error.contains("worse: 404"), "the image that was named last is told: {error}");
        // Naming it elsewhere is enough, whoever reads it, and the last name comes first.
        let second = store.image(renamed(&layers, "good", &good)).unwrap();
        let again = store.image(renamed(&layers[..1], "broken", &broken)).unwrap();
        assert_eq!(read(&store.load(&name).unwrap().unwrap()).await.unwrap(), expect);
        assert_eq!(good.fetches.load(Ordering::Relaxed), 3);
        let blobs = second.blobs(Compression::Gzip(6), false).await.unwrap();
        assert_eq!(blobs[2].provider.as_ref().unwrap().locator(), "memory:good");
        drop((first, worse, second, again, blobs, store));
        // Where it came from is what a later process knows.
        let store = open(used.path(), "fake");
        let record = store.disk_usage().await.unwrap().into_iter().find(|record| record.description.contains("memory"));
        assert_eq!(record.unwrap().description, "pulled from memory:good");
    });
}

#[test]
fn an_image_with_other_blobs_of_the_same_files_is_another_place_to_have_them() {
    let (made, used) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (good, bad) = (Arc::new(Memory::default()), Arc::new(Memory::default()));
    block_on(async {
        let maker = open(made.path(), "fake");
        let (layers, expect) = image(&maker, &good).await;
        let zstd = maker.image(layers.clone()).unwrap().blobs(Compression::Zstd(1), true).await.unwrap();
        // What one registry gives has the right digest, and is not what the config says.
        let lie = bad.put(&fs::read(zstd[1].file.as_ref().unwrap()).unwrap());
        let lies = LazyLayer { blob: lie, ..renamed(&layers[..1], "bad", &bad).remove(0) };
        let store = open(used.path(), "fake");
        let wrong = store.image(vec![lies]).unwrap();
        let right = store.image(layers).unwrap();
        assert_eq!(described(right.view().await.unwrap().path()), expect);
        assert!(wrong.view().await.is_ok(), "it is the same layer");
    });
}

#[test]
fn what_a_broken_transfer_left_is_no_trap_for_the_next() {
    let (made, used) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (good, bad) = (Arc::new(Memory::default()), Arc::new(Memory { cut: Some(5), ..Memory::default() }));
    block_on(async {
        let (layers, _) = image(&open(made.path(), "fake"), &good).await;
        let blob = &layers[0].blob;
        bad.blobs.lock().unwrap().insert(blob.digest.clone(), vec![0; 5]);
        let store = open(used.path(), "fake");
        assert!(store.fetch_blob(blob, Arc::new(Handle(bad))).await.is_err());
        let fetched = store.fetch_blob(blob, Arc::new(Handle(good.clone()))).await.unwrap();
        assert_eq!(fs::metadata(fetched.path()).unwrap().len(), blob.size);
        assert_eq!(good.fetches.load(Ordering::Relaxed), 2, "the rest, and then all");
    });
}
