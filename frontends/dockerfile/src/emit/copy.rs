//! Files brought in.

use pintle_sdk::{Result, State, VertexBuilder, VertexOptions, file};

use super::{COMMAND, Emitter};
use crate::{
    load::git_state,
    lower::ops::{CopyAction, CopyFrom, CopyOp},
};

/// Permission bits of a file whose contents stand in the Dockerfile.
const INLINE_MODE: u32 = 0o644;

impl Emitter<'_, '_> {
    pub(super) fn copy(&mut self, base: &State, op: &CopyOp) -> Result<State> {
        let mut copies = Vec::with_capacity(op.actions.len());
        for action in &op.actions {
            copies.push(self.action(action, op)?);
        }
        let Some(link) = &op.link else {
            let builder = copies.into_iter().fold(base.file(), file::FileBuilder::copy);
            return self.located(builder, &op.shown).add();
        };
        self.scripts += 1;
        let group = format!("{} #{}", op.shown.name, self.scripts);
        let builder = copies.into_iter().fold(self.cx.scratch().file(), file::FileBuilder::copy);
        let builder = self.located(builder, &op.shown).group(&group, &op.shown.name).attr("group-weak", "true");
        let layer = builder.add()?;
        let shown = crate::lower::ops::Shown { name: link.clone(), ..op.shown.clone() };
        let options = self.located(VertexOptions::new(), &shown).group(&group, &op.shown.name);
        self.cx.merge(&[base.clone(), layer], &options)
    }

    fn action(&mut self, action: &CopyAction, op: &CopyOp) -> Result<file::Copy> {
        let name = &op.shown.name;
        let (state, from_tree) = match &action.from {
            CopyFrom::Tree(tree) => (self.tree(*tree)?, true),
            CopyFrom::Git { git, keep_git_dir, checksum } => {
                (git_state(self.cx, git, *keep_git_dir, checksum, None, name)?, false)
            }
            CopyFrom::Http { url, filename, checksum } => (self.download(url, filename, checksum, name)?, false),
            CopyFrom::Inline { name, data } => (self.inline(name, data)?, false),
        };
        let mut copy = file::Copy::new(&state, &action.src, &action.dest).create_parents(true).unpack(action.unpack);
        if from_tree {
            copy = copy.follow_links(true).contents_only(true).wildcard(true).empty_wildcard(true);
        }
        if let Some(chown) = &action.chown {
            copy = copy.owner(chown);
        }
        if let Some(chmod) = &action.chmod {
            copy = copy.chmod(chmod);
        }
        Ok(copy.include(&action.include).exclude(&action.exclude).required(&action.required))
    }

    fn download(&self, url: &str, filename: &str, checksum: &str, name: &str) -> Result<State> {
        let source = self.cx.http(url).filename(filename);
        let source = if checksum.is_empty() { source } else { source.checksum(checksum) };
        source.name(name).description(COMMAND, "").add()
    }

    fn inline(&self, name: &str, data: &str) -> Result<State> {
        let path = format!("/{}", name.trim_start_matches('/'));
        let file = file::Mkfile::new(path, data.to_string()).mode(INLINE_MODE);
        self.cx.scratch().file().mkfile(file).name("[internal] preparing inline document").add()
    }
}
