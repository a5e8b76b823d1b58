//! A commit's files in a directory.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::{
    bundle,
    command::Git,
    error::GitError,
    mirror::Mirror,
    remote::Pinned,
    want::{Want, is_commit},
};

/// Writes the files of the commit, which the mirror has, into the empty directory `dest`.
pub(super) async fn checkout(mirror: &Mirror<'_>, want: &Want, pinned: &Pinned, dest: &Path) -> anyhow::Result<()> {
    if want.checkout_bundle {
        bundle::write(mirror, pinned, dest).await?;
    } else if want.subdir.is_empty() {
        write_tree(mirror, want, pinned, dest).await?;
    } else {
        let whole =
            tempfile::Builder::new().prefix(".checkout-").tempdir_in(dest).context("cannot make a directory")?;
        write_tree(mirror, want, pinned, whole.path()).await?;
        let (whole, dest) = (whole.keep(), dest.to_path_buf());
        let (subdir, remote, commit) = (want.subdir.clone(), want.shown(), pinned.tree().to_string());
        tokio::task::spawn_blocking(move || {
            let found = find_dir(&whole, &subdir).map_err(|error| GitError::Subdir {
                remote,
                subdir,
                commit,
                why: error.to_string(),
            })?;
            move_up(&found, &dest, &whole).context("cannot move the files of a directory of a git repository")
        })
        .await??;
    }
    if want.commit_time {
        let seconds =
            mirror.git().line("read the commit's time", &["log", "-1", "--format=%ct", pinned.tree()]).await?;
        let seconds: i64 = seconds.parse().with_context(|| format!("the commit's time is {seconds:?}"))?;
        let dest = dest.to_path_buf();
        tokio::task::spawn_blocking(move || set_times(&dest, seconds)).await?.context("cannot set times of files")?;
    }
    Ok(())
}

async fn write_tree(mirror: &Mirror<'_>, want: &Want, pinned: &Pinned, dest: &Path) -> anyhow::Result<()> {
    // A directory of the commit has no repository of its own.
    if want.keep_git_dir && want.subdir.is_empty() {
        return write_repository(mirror, want, pinned, dest).await;
    }
    let work = mirror.work()?;
    let git = Git::new(mirror.access, &work.path().join("git")).work_tree(dest);
    mirror.init(&git, &[]).await?;
    mirror.lend_objects(&git)?;
    git.run("check out", &["checkout", "--quiet", "--force", "--detach", pinned.tree()]).await?;
    if want.submodules && update_submodules(&git, dest).await? {
        let dest = dest.to_path_buf();
        tokio::task::spawn_blocking(move || remove_links(&dest)).await?.context("cannot remove links of submodules")?;
    }
    Ok(())
}

/// The files, and a repository with this commit alone.
async fn write_repository(mirror: &Mirror<'_>, want: &Want, pinned: &Pinned, dest: &Path) -> anyhow::Result<()> {
    let git = Git::new(mirror.access, &dest.join(".git")).work_tree(dest);
    mirror.init(&git, &[]).await?;
    let refspec = match is_commit(&pinned.reference) {
        true => pinned.object.clone(),
        false => format!("{}:{}", pinned.object, pinned.reference),
    };
    let from = mirror.dir();
    let from = from.to_str().context("the store's path is no UTF-8")?;
    let args = ["fetch", "--quiet", "--update-head-ok", "--no-tags", "--depth=1", "--", from, &refspec];
    git.run_local("copy the commit", &args).await?;
    git.run("check out", &["checkout", "--quiet", "--force", "--detach", pinned.tree()]).await?;
    if want.submodules {
        update_submodules(&git, dest).await?;
    }
    // As a clone has it.
    set_origin(&git).await?;
    git.line("set the remote", &["config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"]).await?;
    match fs::remove_file(git.path("FETCH_HEAD")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).context("cannot remove FETCH_HEAD"),
        _ => Ok(()),
    }
}

/// Names the remote in the repository's own configuration: without a password, which [`Access`](super::access::Access) puts back
/// when git goes there.
async fn set_origin(git: &Git<'_>) -> Result<(), GitError> {
    git.run("set the remote", &["config", "remote.origin.url", git.shown()]).await.map(drop)
}

/// Fetches the commit's submodules, and theirs. Whether it has any.
async fn update_submodules(git: &Git<'_>, dest: &Path) -> Result<bool, GitError> {
    if fs::symlink_metadata(dest.join(".gitmodules")).is_err() {
        return Ok(false);
    }
    // URLs that begin with ./ or ../ are seen from here.
    set_origin(git).await?;
    let init = ["submodule", "--quiet", "update", "--init", "--recursive"];
    let shallow = [&init[..], &["--depth=1"]].concat();
    match git.run("fetch submodules", &shallow).await {
        Err(GitError::Failed { stderr, .. }) if stderr.contains("shallow") || stderr.contains("--depth") => {
            git.run("fetch submodules", &init).await?;
        }
        other => drop(other?),
    }
    Ok(true)
}

/// Removes the files by which submodules name their repositories: these are gone. No commit has files of this name.
fn remove_links(dir: &Path) -> io::Result<()> {
    walk(dir, &mut |path, metadata| match metadata.is_file() && path.file_name().is_some_and(|name| name == ".git") {
        true => fs::remove_file(path),
        false => Ok(()),
    })
}

/// Gives everything in `dir`, and `dir`, one time.
fn set_times(dir: &Path, seconds: i64) -> io::Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    let set = |path: &Path| utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from);
    walk(dir, &mut |path, _| set(path))?;
    set(dir)
}

/// Visits everything in a directory, what is in a directory before the directory itself; follows no link.
fn walk(dir: &Path, visit: &mut dyn FnMut(&Path, &fs::Metadata) -> io::Result<()>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            walk(&entry.path(), visit)?;
        }
        visit(&entry.path(), &metadata)?;
    }
    Ok(())
}

/// The directory `subdir` of `root`, no part of which is a link.
fn find_dir(root: &Path, subdir: &str) -> io::Result<PathBuf> {
    let mut path = root.to_path_buf();
    for name in subdir.split('/') {
        path.push(name);
        if !fs::symlink_metadata(&path)?.is_dir() {
            return Err(io::Error::other(format!("{name:?} is no directory")));
        }
    }
    Ok(path)
}

/// Moves what is in `found` to `dest`, and removes `whole`, which `found` is in.
fn move_up(found: &Path, dest: &Path, whole: &Path) -> io::Result<()> {
    for entry in fs::read_dir(found)? {
        let entry = entry?;
        fs::rename(entry.path(), dest.join(entry.file_name()))?;
    }
    fs::remove_dir_all(whole)
}
