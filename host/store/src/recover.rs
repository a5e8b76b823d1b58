//! What is done when a store is opened after a crash of the process or of the machine.
//!
//! A layer's or blob's files are written before its record, so after a crash of the process no record lacks its data: only data
//! without a record can be left, and is deleted. After a crash of the machine, data that was not on disk yet may be lost though its
//! record is there. Nothing is synced in the way of a build. Instead each layer and blob has a serial number, and from time to time
//! the whole file system is synced in the background, and the last serial before that is noted with the next layer or blob, or at the close. When the store is opened under
//! another boot id, records above that number are deleted.

use std::{
    fs::File,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use crate::{
    error::{At, Result},
    files,
    inner::Inner,
    record::{self, FileRecord, LayerRecord},
    table::{Change, Space},
};

/// How long after a new layer or blob the file system is synced.
const SYNC_AFTER: Duration = Duration::from_secs(2);

const BOOT: &[u8] = b"boot";
const SERIAL: &[u8] = b"serial";
const SYNCED: &[u8] = b"synced";

impl Inner {
    pub fn recover(&self, crashed: bool) -> Result<()> {
        let serial = self.meta_number(SERIAL)?;
        let synced = self.meta_number(SYNCED)?;
        self.serials.last.store(serial, Ordering::Release);
        let boot = sys::user::boot_id().unwrap_or_default().into_bytes();
        let same_boot = self.table.get(Space::Meta, BOOT)?.is_none_or(|last| last == boot);
        let mut newest = serial;
        if crashed || !same_boot {
            newest = newest.max(self.drop_unsynced(synced, same_boot)?);
            self.serials.last.store(newest, Ordering::Release);
            self.delete_unknown()?;
        }
        if !same_boot || self.table.get(Space::Meta, BOOT)?.is_none() {
            let mut changes = vec![(Space::Meta, BOOT.to_vec(), Some(boot))];
            changes.extend(number(SYNCED, newest));
            // Records that were dropped must be gone before new ones can have the boot id of this run.
            self.table.write(changes)?;
            self.table.flush_blocking()?;
        }
        let synced = if same_boot { synced } else { newest };
        self.serials.synced.store(synced, Ordering::Release);
        self.serials.noted.store(synced, Ordering::Release);
        self.start_syncer()
    }

    fn meta_number(&self, key: &[u8]) -> Result<u64> {
        let bytes = self.table.get(Space::Meta, key)?;
        Ok(bytes.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes))
    }

    /// Drops the records of data that may not have reached the disk, and answers the greatest serial seen.
    fn drop_unsynced(&self, synced: u64, same_boot: bool) -> Result<u64> {
        let mut newest = 0;
        let mut changes: Vec<Change> = Vec::new();
        for (space, serial) in [(Space::Layer, layer_serial as fn(&[u8]) -> Result<u64>), (Space::Blob, blob_serial)] {
            for (key, value) in self.table.scan(space, b"", usize::MAX)? {
                let serial = serial(&value)?;
                newest = newest.max(serial);
                if !same_boot && serial > synced {
                    changes.push((space, key, None));
                }
            }
        }
        if !changes.is_empty() {
            tracing::info!("{} records are dropped: the machine stopped before their data was on disk", changes.len());
            self.table.write(changes)?;
            self.table.flush_blocking()?;
        }
        Ok(newest)
    }

    /// Deletes layers, volumes and blobs that no record names.
    fn delete_unknown(&self) -> Result<()> {
        for (dir, space) in [("layers", Space::Layer), ("index", Space::Layer), ("blobs/sha256", Space::Blob)] {
            let dir = self.root.path().join(dir);
            for name in files::names(&dir)? {
                if self.table.get(space, name.to_string_lossy().as_bytes())?.is_none() {
                    self.delete_later(&dir.join(name))?;
                }
            }
        }
        let volumes = self.table.scan(Space::Volume, b"", usize::MAX)?;
        let known = volumes.iter().map(|(_, value)| Ok(record::decode::<record::VolumeRecord>(value)?.id));
        let known = known.collect::<Result<std::collections::HashSet<_>>>()?;
        let dir = self.root.path().join("volumes");
        for name in files::names(&dir)? {
            if !known.contains(name.to_string_lossy().as_ref()) {
                self.delete_later(&dir.join(name))?;
            }
        }
        Ok(())
    }

    /// Writes down how far serials went, and up to where their data is on disk.
    pub fn write_serials(&self) -> Result<()> {
        let serials = [(SERIAL, &self.serials.last), (SYNCED, &self.serials.synced)];
        let serials = serials.map(|(key, value)| (key, value.load(Ordering::Acquire)));
        let mut changes = Vec::new();
        for (key, value) in serials {
            if self.meta_number(key)? != value {
                changes.extend(number(key, value));
            }
        }
        if changes.is_empty() { Ok(()) } else { self.table.write(changes) }
    }

    /// Syncs when new data has been there for a while; ends with the store. Only numbers are shared with it: a handle of the store in
    /// its hands could be the last one, and would close the store behind the back of who dropped it.
    fn start_syncer(&self) -> Result<()> {
        let serials = self.serials.clone();
        let root = File::open(self.root.path()).at(|| "open the store".to_owned())?;
        let syncer = std::thread::Builder::new().name("store-syncer".to_owned()).spawn(move || {
            while !serials.closed.load(Ordering::Acquire) {
                let last = serials.last.load(Ordering::Acquire);
                if last > serials.synced.load(Ordering::Acquire) && sys::file::sync_file_system(&root).is_ok() {
                    serials.synced.store(last, Ordering::Release);
                }
                std::thread::park_timeout(SYNC_AFTER);
            }
        });
        let syncer = syncer.at(|| "start the store's syncer".to_owned())?;
        let _ = self.syncer.set(syncer.thread().clone());
        Ok(())
    }

    /// A number for a new layer or blob, greater than all before.
    pub fn next_serial(&self) -> u64 {
        let synced = self.serials.synced.load(Ordering::Acquire);
        if self.serials.noted.swap(synced, Ordering::AcqRel) != synced
            && let Err(error) = self.write_serials()
        {
            tracing::warn!("write to the database: {error}");
        }
        self.serials.last.fetch_add(1, Ordering::AcqRel) + 1
    }
}

/// How far serial numbers went.
#[derive(Default)]
pub(crate) struct Serials {
    last: AtomicU64,
    /// The data of all up to this is on disk.
    synced: AtomicU64,
    /// What of `synced` was written down last.
    noted: AtomicU64,
    pub closed: AtomicBool,
}

fn number(key: &[u8], value: u64) -> Vec<Change> {
    vec![(Space::Meta, key.to_vec(), Some(value.to_le_bytes().to_vec()))]
}

fn layer_serial(value: &[u8]) -> Result<u64> {
    Ok(record::decode::<LayerRecord>(value)?.serial)
}

fn blob_serial(value: &[u8]) -> Result<u64> {
    Ok(record::decode::<FileRecord>(value)?.serial)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, Store, table::Table};

    /// After a crash of the machine, what was not synced is gone as if it had never been, and the rest is there.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_not_on_disk_is_dropped_after_a_reboot() {
        let dir = tempfile::tempdir().unwrap();
        let open =
            || Store::open(dir.path(), Options { snapshotter: Some("copy".to_owned()), max_bytes: None }).unwrap();
        let store = open();
        let mut names = Vec::new();
        for _ in 0..2 {
            let snapshot = store.draft(&store.scratch()).await.unwrap().commit().await.unwrap();
            names.push(store.save(&snapshot).unwrap());
        }
        drop(store);
        let table = Table::open(&dir.path().join("db.redb")).unwrap();
        table.write(number(SYNCED, 1)).unwrap();
        table.write(vec![(Space::Meta, BOOT.to_vec(), Some(b"another boot".to_vec()))]).unwrap();
        drop(table);
        for _ in 0..2 {
            let store = open();
            assert!(store.load(&names[0]).unwrap().is_some());
            assert!(store.load(&names[1]).unwrap().is_none());
            drop(store);
            assert_eq!(files::names(&dir.path().join("layers")).unwrap().len(), 1);
        }
    }
}
