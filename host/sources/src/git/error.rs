use std::io;

/// Why a repository could not be had. No variant holds a password: URLs are those of [`super::want::redacted`].
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// What was asked for makes no sense, or is not done here.
    #[error("source attribute {attr} is {value:?}: {why}")]
    Attr {
        /// The attribute's name.
        attr: &'static str,
        /// What it is.
        value: String,
        /// What is wrong, or wanted.
        why: &'static str,
    },
    /// The URL cannot be one of a repository.
    #[error("git repository {url:?}: {why}")]
    Url {
        /// As asked.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The repository has no such branch, tag or commit.
    #[error("git repository {remote}: has no ref {reference:?}")]
    NoRef {
        /// The repository.
        remote: String,
        /// Branch, tag or commit.
        reference: String,
    },
    /// It is another commit than the one that must be.
    #[error("git repository {remote}: {} is commit {got}, want checksum {want}", shown(reference))]
    Checksum {
        /// The repository.
        remote: String,
        /// Branch, tag or commit.
        reference: String,
        /// What the remote says; a tag and its commit are separated by ` or `.
        got: String,
        /// What was asked for.
        want: String,
    },
    /// The directory is not one of the commit's.
    #[error("git repository {remote}: {subdir:?} is no directory of commit {commit}: {why}")]
    Subdir {
        /// The repository.
        remote: String,
        /// As asked.
        subdir: String,
        /// The commit.
        commit: String,
        /// What is there instead.
        why: String,
    },
    /// The server wants a login, or denies this one.
    #[error(
        "git repository {remote}: access denied; give a token with --secret id=GIT_AUTH_TOKEN, or an SSH agent with --ssh default: {stderr}"
    )]
    Denied {
        /// The repository.
        remote: String,
        /// The end of what git said.
        stderr: String,
    },
    /// Nothing may be fetched, and it is not here.
    #[error("git repository {remote}: nothing may be fetched (offline)")]
    Offline {
        /// The repository.
        remote: String,
    },
    /// Git failed.
    #[error("git repository {remote}: cannot {task}: {stderr}")]
    Failed {
        /// The repository.
        remote: String,
        /// What was done: `fetch`, `check out`.
        task: &'static str,
        /// The end of what git said.
        stderr: String,
    },
    /// The program is not there, or something of this machine failed.
    #[error("cannot run git (is it installed?): {0}")]
    Run(#[source] io::Error),
}

impl GitError {
    /// The word for it in errors of frontends.
    pub fn code(&self) -> &'static str {
        match self {
            GitError::Attr { .. } | GitError::Url { .. } => "invalid-argument",
            GitError::Denied { .. } => "denied",
            GitError::NoRef { .. } | GitError::Subdir { .. } | GitError::Failed { .. } | GitError::Offline { .. } => {
                "not-found"
            }
            GitError::Checksum { .. } => "denied",
            GitError::Run(_) => "internal",
        }
    }
}

/// A repository that is asked for without a ref gives its default branch.
fn shown(reference: &str) -> String {
    if reference.is_empty() { "the default branch".to_owned() } else { format!("ref {reference:?}") }
}
