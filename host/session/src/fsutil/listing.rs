//! A tree of which only some files come with their contents; of all others the receiver gets the list.
//!
//! The list is a file at the top of the tree, as BuildKit's `local.metadatatransfer` has it: each STAT of the sender, in its order, as
//! its length in four bytes, the lowest first, and then the message.

use std::{fs::File, io::Write, os::fd::OwnedFd};

use anyhow::Context;
use prost::Message;
use proto::fsutil::Stat;
use rustix::fs::{Mode, OFlags};
use store::patterns::Matcher;

use super::{
    apply::times,
    mode::{self, Kind},
    order::Order,
    split,
};

/// The file with the list. A file of this name that the sender has is left out.
pub const LISTING_FILE: &str = ".fsutil-metadata";
/// The largest list, in bytes: some millions of files.
pub(super) const LISTING_MAX_BYTES: usize = 256 << 20;

pub(super) struct Listing {
    /// Which files come with their contents, with the directories that lead to them.
    contents: Matcher,
    order: Order,
    bytes: Vec<u8>,
    /// Directories on the way to where the list is, that nothing was taken of so far.
    waiting: Vec<Stat>,
    newest: i64,
}

impl Listing {
    pub(super) fn new(contents: Matcher) -> Self {
        Listing { contents, order: Order::new(), bytes: Vec::new(), waiting: Vec::new(), newest: 0 }
    }

    /// Writes down the next STAT. Answers what is to be made because of it: nothing, or the file with the directories that lead to it.
    pub(super) fn take(&mut self, stat: Stat) -> anyhow::Result<Vec<Stat>> {
        let is_dir = mode::kind(stat.mode) == Kind::Directory;
        self.order.next(&stat.path, is_dir)?;
        if stat.path == LISTING_FILE {
            return Ok(Vec::new());
        }
        let len = stat.encoded_len();
        anyhow::ensure!(
            self.bytes.len() + len + 4 <= LISTING_MAX_BYTES,
            "the list of the directory's files is longer than {LISTING_MAX_BYTES} bytes"
        );
        self.bytes.extend(u32::try_from(len)?.to_le_bytes());
        stat.encode(&mut self.bytes)?;
        self.newest = self.newest.max(stat.mod_time);
        let (parent, _) = split(&stat.path);
        while self.waiting.last().is_some_and(|last| last.path != parent) {
            self.waiting.pop();
        }
        if self.contents.matches(&stat.path) {
            return Ok(self.waiting.drain(..).chain([stat]).collect());
        }
        if is_dir {
            self.waiting.push(stat);
        }
        Ok(Vec::new())
    }

    /// Writes the file. Its time is that of the newest file in the list, so that the same list is the same file.
    pub(super) fn finish(self, root: &OwnedFd) -> anyhow::Result<()> {
        let write = || -> anyhow::Result<()> {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
            let mut file = File::from(rustix::fs::openat(root, LISTING_FILE, flags, mode)?);
            file.write_all(&self.bytes)?;
            rustix::fs::fchmod(&file, mode)?;
            Ok(rustix::fs::futimens(&file, &times(self.newest))?)
        };
        write().with_context(|| format!("write {LISTING_FILE}"))
    }
}
