//! How a repository is reached: its URL, and what the client lends for it.

use std::{ffi::OsString, io::Write as _, sync::Arc};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use session::{Session, SshSocket};
use tempfile::NamedTempFile;

use super::{
    command::REMOTE,
    error::GitError,
    want::{Want, redacted},
};

/// Remotes of these hosts share a token, since repositories there have submodules beside them.
const SHARED_SCOPES: [&str; 2] = ["https://github.com/", "https://www.github.com/"];

/// What git needs to know to reach one remote. Sockets and files in it live as long.
pub(super) struct Access {
    remote: String,
    shown: String,
    /// The value of the Authorization header.
    authorization: Option<String>,
    socket: Option<SshSocket>,
    known_hosts: Option<NamedTempFile>,
    /// The remote is not asked.
    offline: bool,
}

impl Access {
    /// Asks the clients for what `want` names.
    pub(super) async fn ask(want: &Want, sessions: &[Arc<dyn Session>], offline: bool) -> anyhow::Result<Access> {
        if offline {
            // Whoever asks nobody needs no login.
            return Ok(Access { offline, ..Access::plain(&want.remote) });
        }
        Ok(Access {
            authorization: authorization(want, sessions).await?,
            socket: match &want.ssh {
                Some(id) => Some(session::ssh::with_agent(sessions, id).await?.forward_ssh(id).await?),
                None => None,
            },
            known_hosts: want.known_hosts.as_deref().map(known_hosts).transpose()?,
            ..Access::plain(&want.remote)
        })
    }

    /// For what asks no remote.
    pub(super) fn of_nobody(want: &Want) -> Access {
        Access { offline: true, ..Access::plain(&want.remote) }
    }

    fn plain(remote: &str) -> Access {
        let (remote, shown) = (remote.to_string(), redacted(remote));
        Access { remote, shown, authorization: None, socket: None, known_hosts: None, offline: false }
    }

    /// Fails where the remote is not asked.
    pub(super) fn check_online(&self) -> Result<(), GitError> {
        match self.offline {
            true => Err(GitError::Offline { remote: self.shown.clone() }),
            false => Ok(()),
        }
    }

    pub(super) fn is_offline(&self) -> bool {
        self.offline
    }

    /// The remote for messages.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// `text` without what is secret.
    pub(super) fn hide(&self, text: &str) -> String {
        let hidden = text.replace(&self.remote, &self.shown);
        let secret = url::Url::parse(&self.remote).ok().and_then(|url| Some(url.password()?.to_string()));
        secret.filter(|secret| !secret.is_empty()).map_or(hidden.clone(), |secret| hidden.replace(&secret, "xxxxx"))
    }

    pub(super) fn config(&self) -> Vec<(String, String)> {
        let mut config = vec![(format!("remote.{REMOTE}.url"), self.remote.clone())];
        if self.remote != self.shown {
            // What a repository says of the host that the password is for, it says without the password.
            let base = |remote: &str| url::Url::parse(remote).and_then(|url| url.join("/")).map(String::from);
            if let (Ok(full), Ok(shown)) = (base(&self.remote), base(&self.shown)) {
                config.push((format!("url.{full}.insteadOf"), shown));
            }
        }
        if let Some(value) = &self.authorization {
            let scope = SHARED_SCOPES.iter().find(|scope| self.remote.starts_with(**scope));
            let scope = scope.map_or(self.remote.as_str(), |scope| *scope);
            config.push((format!("http.{scope}.extraheader"), format!("Authorization: {value}")));
        }
        config
    }

    pub(super) fn env(&self) -> Vec<(&'static str, OsString)> {
        // Neither the configuration nor the keys of the user that the engine runs as.
        let mut ssh = OsString::from("ssh -F /dev/null -o BatchMode=yes -o IdentityFile=none -o ConnectTimeout=30");
        match &self.known_hosts {
            Some(file) => {
                ssh.push(" -o StrictHostKeyChecking=yes -o GlobalKnownHostsFile=/dev/null -o UserKnownHostsFile='");
                ssh.push(file.path());
                ssh.push("'");
            }
            None => ssh.push(" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"),
        }
        let mut env = vec![("GIT_SSH_COMMAND", ssh)];
        if let Some(socket) = &self.socket {
            env.push(("SSH_AUTH_SOCK", socket.path.clone().into()));
        }
        env
    }
}

/// The header by the first secret that a client has: those for the remote's host come first, and a header before a token.
async fn authorization(want: &Want, sessions: &[Arc<dyn Session>]) -> anyhow::Result<Option<String>> {
    if !want.remote.starts_with("http") {
        return Ok(None);
    }
    let host = want.host().unwrap_or_default();
    let names = [(&want.header_secret, false), (&want.token_secret, true)];
    let of_host = names.iter().filter_map(|(name, token)| Some((format!("{}.{host}", (*name).as_ref()?), *token)));
    let of_all = names.iter().filter_map(|(name, token)| Some(((*name).clone()?, *token)));
    for (id, is_token) in of_host.chain(of_all) {
        let Some(bytes) = first_secret(&id, sessions).await? else { continue };
        let text = String::from_utf8(bytes).ok().filter(|text| !text.trim().contains(['\n', '\r', '\0']));
        let text = text.with_context(|| format!("secret {id:?} has characters that no header may have"))?;
        return Ok(Some(match is_token {
            true => format!("basic {}", STANDARD.encode(format!("x-access-token:{}", text.trim()))),
            false => text.trim().to_string(),
        }));
    }
    Ok(None)
}

async fn first_secret(id: &str, sessions: &[Arc<dyn Session>]) -> anyhow::Result<Option<Vec<u8>>> {
    for session in sessions {
        if let Some(bytes) = session.secret(id).await? {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

fn known_hosts(text: &str) -> anyhow::Result<NamedTempFile> {
    let write = || {
        let mut file = tempfile::Builder::new().prefix("pintle-known-hosts-").tempfile()?;
        file.write_all(text.as_bytes())?;
        std::io::Result::Ok(file)
    };
    write().context("cannot write a file of known SSH hosts")
}
