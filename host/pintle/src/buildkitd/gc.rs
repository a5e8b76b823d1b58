//! What buildkitd deletes after builds: the policies of its file, or its own.

use std::{path::Path, time::Duration};

use anyhow::Context;

use super::read::{Size, Value};
use crate::api::Policy;

/// buildkitd's own policies: files that are made again at little cost go first...
const CHEAP_KINDS: [&str; 3] = ["type==source.local", "type==exec.cachemount", "type==source.git.checkout"];
/// ... when they were not used for so long, and are larger than so many bytes;
const CHEAP_AGE: Duration = Duration::from_secs(48 * 3600);
const CHEAP_BYTES: u64 = 512_000_000;
/// then whatever was not used for so long, then anything.
const OLD: Duration = Duration::from_secs(60 * 24 * 3600);
/// Where the file gives no space: what is left alone, the most that is used, both with a part of the disk that is the least of it,
/// and what stays free.
const RESERVED: (u64, u64) = (10, 10_000_000_000);
const MAX_USED: (u64, u64) = (60, 100_000_000_000);
const MIN_FREE_PERCENT: u64 = 20;

/// What the file says.
#[derive(Debug, Default, Clone)]
pub struct Gc {
    /// Nothing is deleted.
    pub off: bool,
    /// The policies of the file.
    pub own: Vec<Policy>,
    space: Policy,
    disk_bytes: u64,
}

impl Gc {
    /// The policies, in order.
    pub fn policies(&self) -> Vec<Policy> {
        if self.off {
            return Vec::new();
        }
        if !self.own.is_empty() {
            return self.own.clone();
        }
        let space = self.space();
        let cheap = Policy {
            filters: CHEAP_KINDS.map(String::from).to_vec(),
            keep_duration: Some(CHEAP_AGE),
            max_used: Some(CHEAP_BYTES),
            ..Policy::default()
        };
        let old = Policy { keep_duration: Some(OLD), ..space.clone() };
        vec![cheap, old, space.clone(), Policy { all: true, ..space }]
    }

    fn space(&self) -> Policy {
        if self.space != Policy::default() || self.disk_bytes == 0 {
            return self.space.clone();
        }
        let least = |(percent, bytes): (u64, u64)| Some(part(self.disk_bytes, percent).min(bytes));
        Policy {
            reserved: least(RESERVED),
            max_used: least(MAX_USED),
            min_free: Some(part(self.disk_bytes, MIN_FREE_PERCENT)),
            ..Policy::default()
        }
    }

    /// Looks how large the disk is that the store will be on.
    pub fn measure(&mut self, root: &Path) {
        self.disk_bytes = disk_bytes(root).unwrap_or_default();
    }

    /// A key that is beside the policies: `reservedSpace`, `maxUsedSpace`, `minFreeSpace`.
    pub fn set(&mut self, name: &str, size: Size, root: &Path) -> anyhow::Result<()> {
        set_size(&mut self.space, name, bytes(size, root)?);
        Ok(())
    }

    /// A key of a policy.
    pub fn set_policy(&mut self, number: usize, name: &str, value: Value, root: &Path) -> anyhow::Result<()> {
        if self.own.len() <= number {
            self.own.resize_with(number + 1, Policy::default);
        }
        let policy = &mut self.own[number];
        match value {
            Value::Bool(all) => policy.all = all,
            Value::Texts(filters) => {
                Policy::check(&filters)?;
                policy.filters = filters;
            }
            Value::Duration(age) => policy.keep_duration = Some(age).filter(|age| !age.is_zero()),
            Value::Size(size) => set_size(policy, name, bytes(size, root)?),
            _ => {}
        }
        Ok(())
    }
}

/// As in buildkitd, zero is as good as nothing; the old names mean what is left alone.
fn set_size(policy: &mut Policy, name: &str, bytes: u64) {
    let slot = match name {
        "maxUsedSpace" => &mut policy.max_used,
        "minFreeSpace" => &mut policy.min_free,
        _ => &mut policy.reserved,
    };
    *slot = Some(bytes).filter(|bytes| *bytes > 0);
}

/// A size in bytes; a part is one of the disk that the store is on.
pub fn bytes(size: Size, root: &Path) -> anyhow::Result<u64> {
    Ok(match size {
        Size::Bytes(bytes) => bytes,
        Size::Percent(percent) => part(disk_bytes(root)?, percent),
    })
}

fn part(bytes: u64, percent: u64) -> u64 {
    (u128::from(bytes) * u128::from(percent) / 100) as u64
}

fn disk_bytes(root: &Path) -> anyhow::Result<u64> {
    let there = root.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let disk = rustix::fs::statvfs(there).with_context(|| format!("ask for the size of {}", there.display()))?;
    Ok(disk.f_blocks.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_of_its_own() {
        let mut gc = Gc { disk_bytes: 50_000_000_000, ..Gc::default() };
        let own = gc.policies();
        assert_eq!(own.iter().map(|policy| policy.all).collect::<Vec<_>>(), [false, false, false, true]);
        assert_eq!((own[0].max_used, own[0].filters.len()), (Some(CHEAP_BYTES), 3));
        let space = |policy: &Policy| (policy.reserved, policy.max_used, policy.min_free);
        assert_eq!(space(&own[3]), (Some(5_000_000_000), Some(30_000_000_000), Some(10_000_000_000)));
        gc.disk_bytes *= 100;
        assert_eq!((gc.policies()[3].reserved, gc.policies()[3].max_used), (Some(RESERVED.1), Some(MAX_USED.1)));
        gc.set("reservedSpace", Size::Bytes(7), Path::new("/")).unwrap();
        assert_eq!(space(&gc.policies()[2]), (Some(7), None, None));
        gc.off = true;
        assert_eq!(gc.policies(), []);
    }
}
