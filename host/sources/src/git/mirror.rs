//! The commits of a remote that were fetched so far: a bare repository in a volume, so that the next commit costs what changed.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};
use store::{Store, Volume};
use tempfile::TempDir;

use super::{
    RECORD_KIND,
    access::Access,
    command::{Git, REMOTE},
    error::GitError,
    remote::Pinned,
    want::{Want, is_commit},
};

/// Where in the volume the repository is.
const REPOSITORY: &str = "repository";
/// What the name of a directory for work in progress begins with.
const WORK_PREFIX: &str = "work-";
/// Where refs of the mirror are, one by the hash of what the remote calls it: names of the remote cannot collide with ours.
pub(super) const REFS: &str = "refs/pintle";

/// The mirror of one remote. Who has it works alone.
pub(super) struct Mirror<'a> {
    volume: Volume,
    pub(super) access: &'a Access,
    pub(super) sha256: bool,
}

impl<'a> Mirror<'a> {
    pub(super) async fn open(
        store: &Store,
        want: &Want,
        access: &'a Access,
        sha256: bool,
    ) -> anyhow::Result<Mirror<'a>> {
        let format = if sha256 { "sha256" } else { "sha1" };
        let name = hex::encode(Sha256::digest(want.remote.as_bytes()));
        let volume = store.volume(&format!("git-{name}-{format}"), RECORD_KIND)?;
        let mirror = Mirror { volume, access, sha256 };
        mirror.clear().context("cannot clear what an earlier run left of a git repository")?;
        if !mirror.dir().exists() {
            let new = mirror.work()?;
            mirror.init(&Git::new(access, new.path()), &["--bare"]).await?;
            std::fs::rename(new.keep(), mirror.dir()).context("cannot name a new git repository")?;
        }
        Ok(mirror)
    }

    /// Where the repository is.
    pub(super) fn dir(&self) -> PathBuf {
        self.volume.path().join(REPOSITORY)
    }

    /// A directory beside it, deleted when it is dropped.
    pub(super) fn work(&self) -> anyhow::Result<TempDir> {
        let made = tempfile::Builder::new().prefix(WORK_PREFIX).tempdir_in(self.volume.path());
        made.context("cannot make a directory for a git repository")
    }

    /// Makes a repository of the mirror's kind.
    pub(super) async fn init(&self, git: &Git<'_>, more: &[&str]) -> Result<(), GitError> {
        let format = if self.sha256 { "--object-format=sha256" } else { "--object-format=sha1" };
        let args: Vec<&str> =
            ["init", "--quiet", "--initial-branch=master", format].iter().chain(more).copied().collect();
        git.run("make a repository", &args).await.map(drop)
    }

    pub(super) fn git(&self) -> Git<'a> {
        Git::new(self.access, &self.dir())
    }

    /// Fetches the commit, where it is not there.
    pub(super) async fn fetch(&self, want: &Want, pinned: &Pinned) -> Result<(), GitError> {
        if self.has(&pinned.object).await {
            return Ok(());
        }
        self.access.check_online()?;
        let kept = format!("{REFS}/{}", hex::encode(Sha256::digest(pinned.reference.as_bytes())));
        let is_named = !is_commit(&pinned.reference) && !want.fetch_by_commit;
        let source = if is_named { &pinned.reference } else { &pinned.object };
        let refspec = format!("+{source}:{kept}");
        let first = self.git().run_shallow("fetch", &["fetch", "--quiet", "--no-tags", REMOTE, &refspec]).await;
        if first.is_ok() && self.has(&pinned.object).await {
            return Ok(());
        }
        if is_named && first.is_ok() {
            // It was moved since it was resolved; what was resolved is what is wanted.
            let refspec = format!("+{}:{kept}", pinned.object);
            let _ = self.git().run_shallow("fetch", &["fetch", "--quiet", "--no-tags", REMOTE, &refspec]).await;
        }
        if !self.has(&pinned.object).await {
            if let Err(error @ GitError::Denied { .. }) = first {
                return Err(error);
            }
            self.fetch_all().await?;
        }
        match self.has(&pinned.object).await {
            true => Ok(()),
            false => Err(GitError::NoRef { remote: want.shown(), reference: pinned.object.clone() }),
        }
    }

    /// Fetches what lies before the commits that are here, where that was left out.
    pub(super) async fn complete(&self) -> Result<(), GitError> {
        if !self.dir().join("shallow").exists() {
            return Ok(());
        }
        self.access.check_online()?;
        self.fetch_all().await
    }

    /// Lets another repository have all objects of this one.
    pub(super) fn lend_objects(&self, git: &Git<'_>) -> anyhow::Result<()> {
        let objects = format!("{}\n", self.dir().join("objects").display());
        std::fs::create_dir_all(git.path("objects/info")).context("cannot make a directory of a git repository")?;
        std::fs::write(git.path("objects/info/alternates"), objects).context("cannot write a file of a git repository")
    }

    /// For servers that give no commit by its id: everything.
    async fn fetch_all(&self) -> Result<(), GitError> {
        let mut args = vec!["fetch", "--quiet", "--no-tags"];
        if self.dir().join("shallow").exists() {
            args.push("--unshallow");
        }
        let refspec = format!("+refs/*:{REFS}/all/*");
        args.extend([REMOTE, &refspec]);
        self.git().run("fetch", &args).await.map(drop)
    }

    /// Whether the commit is there, and the tag that names it.
    pub(super) async fn has(&self, object: &str) -> bool {
        self.git().run("look for", &["cat-file", "-e", &format!("{object}^{{commit}}")]).await.is_ok()
    }

    /// Removes what a run that was stopped left: its work, and locks of files that nobody else uses.
    fn clear(&self) -> std::io::Result<()> {
        for entry in std::fs::read_dir(self.volume.path())? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(WORK_PREFIX) {
                std::fs::remove_dir_all(entry.path())?;
            }
        }
        clear_locks(&self.dir())?;
        clear_locks(&self.dir().join(REFS))
    }
}

fn clear_locks(dir: &Path) -> std::io::Result<()> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "lock") {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}
