//! What is done when a store is opened after a crash of the process or of the machine.
//!
//! A layer's or blob's files are written before its record, so after a crash of the process no record lacks its data: only data
//! without a record can be left, and is deleted. After a crash of the machine, data that was not on disk yet may be lost though its
//! record is there. Nothing is synced in the way of a build. Instead each layer and blob has a serial number, and from time to time
//! the whole file system is synced in the background, and the last serial before that is noted. When the store is opened under
//! another boot id, records above that number are deleted.

use std::{fs::File, sync::Arc, time::Duration};

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
    pub fn recover(self: &Arc<Self>, crashed: bool) -> Result<()> {
        let serial = self.meta_number(SERIAL)?;
        let synced = self.meta_number(SYNCED)?;
        self.set_serial(serial);
        let boot = sys::user::boot_id().unwrap_or_default().into_bytes();
        let same_boot = self.table.get(Space::Meta, BOOT)?.is_none_or(|last| last == boot);
        let mut newest = serial;
        if crashed || !same_boot {
            newest = newest.max(self.drop_unsynced(synced, same_boot)?);
            self.set_serial(newest);
            self.delete_unknown()?;
        }
        if !same_boot || self.table.get(Space::Meta, BOOT)?.is_none() {
            let mut changes = vec![(Space::Meta, BOOT.to_vec(), Some(boot))];
            changes.extend(number(SYNCED, newest));
            // Records that were dropped must be gone before new ones can have the boot id of this run.
            self.table.write(changes)?;
            self.table.flush_blocking()?;
        }
        self.start_syncer(if same_boot { synced } else { newest })
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

    pub fn remember_serial(&self) {
        let serial = self.last_serial();
        if self.meta_number(SERIAL).is_ok_and(|stored| stored != serial)
            && let Err(error) = self.table.write(number(SERIAL, serial))
        {
            tracing::warn!("write to the database: {error}");
        }
    }

    /// Syncs when new data has been there for a while; ends with the store.
    fn start_syncer(self: &Arc<Self>, mut synced: u64) -> Result<()> {
        let weak = Arc::downgrade(self);
        let root = File::open(self.root.path()).at(|| "open the store".to_owned())?;
        let syncer = std::thread::Builder::new().name("store-syncer".to_owned()).spawn(move || {
            // A handle is held for moments only, as the last one to go closes the store.
            while let Some(serial) = weak.upgrade().map(|store| store.last_serial()) {
                if serial > synced && sys::file::sync_file_system(&root).is_ok() {
                    synced = serial;
                    let Some(store) = weak.upgrade() else { return };
                    let noted =
                        store.table.write(number(SYNCED, synced).into_iter().chain(number(SERIAL, synced)).collect());
                    if let Err(error) = noted {
                        tracing::warn!("write to the database: {error}");
                    }
                }
                std::thread::park_timeout(SYNC_AFTER);
            }
        });
        let syncer = syncer.at(|| "start the store's syncer".to_owned())?;
        let _ = self.syncer.set(syncer.thread().clone());
        Ok(())
    }
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
