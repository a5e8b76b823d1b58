//! A transfer without a wire, for trees that both ends can open.

use std::{io, os::fd::OwnedFd};

use anyhow::Context;

use super::{
    Walk,
    apply::{Apply, Options},
    send::open_regular,
};

/// Makes `dest` equal to the tree that `walk` finds, as [`super::receive`] would. `progress` gets bytes copied and 0. Blocks.
/// A file that grew since it was found is taken as it was read.
pub fn mirror(walk: Walk, dest: OwnedFd, options: Options, progress: &dyn Fn(u64, u64)) -> anyhow::Result<()> {
    let root = walk.root();
    let mut apply = Apply::new(dest, options)?;
    let mut copied = 0;
    for entry in walk {
        let entry = entry?;
        let Some(wanted) = apply.entry(entry.stat)? else { continue };
        let mut copy = || -> anyhow::Result<u64> {
            let mut to = apply.create(&wanted)?;
            let n = if entry.has_content { io::copy(&mut open_regular(&root, wanted.path())?, &mut to)? } else { 0 };
            anyhow::ensure!(
                n >= wanted.size() || !entry.has_content,
                "it changed while it was read: it had {} bytes and then {n}",
                wanted.size()
            );
            apply.finish_file(&wanted, &to)?;
            Ok(n)
        };
        copied += copy().with_context(|| format!("copy {:?}", wanted.path()))?;
        progress(copied, 0);
    }
    apply.finish()
}
