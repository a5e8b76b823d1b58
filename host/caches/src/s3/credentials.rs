//! Who asks a bucket: from attributes, the environment, or the file of AWS's tools.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context as _, Result, bail};

/// A key to sign with.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub id: String,
    pub secret: String,
    /// Of keys that hold for a while.
    pub token: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.id)
    }
}

/// A variable of the environment, unless it is empty.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Credentials {
    /// Those of the environment; else those of the profile `$AWS_PROFILE` in the file of AWS's tools.
    pub(super) fn of_environment(env: Env<'_>) -> Result<Credentials> {
        if let (Some(id), Some(secret)) = (env("AWS_ACCESS_KEY_ID"), env("AWS_SECRET_ACCESS_KEY")) {
            return Ok(Credentials { id, secret, token: env("AWS_SESSION_TOKEN") });
        }
        let profile = env("AWS_PROFILE").unwrap_or_else(|| "default".into());
        let in_home = || Some(PathBuf::from(env("HOME")?).join(".aws/credentials"));
        let Some(path) = env("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from).or_else(in_home) else {
            bail!("{NONE}");
        };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!("{NONE}, or {}", path.display()),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let found = Self::of_profile(&text, &profile);
        found.with_context(|| format!("{}: profile {profile:?} has no key", path.display()))
    }

    /// Those of a profile in the text of such a file.
    fn of_profile(text: &str, profile: &str) -> Option<Credentials> {
        let (mut section, mut fields) = ("", BTreeMap::new());
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = name.trim();
            } else if let Some((name, value)) = line.split_once('=').filter(|_| section == profile) {
                fields.insert(name.trim(), value.trim().to_owned());
            }
        }
        let (id, secret) = (fields.remove("aws_access_key_id")?, fields.remove("aws_secret_access_key")?);
        Some(Credentials { id, secret, token: fields.remove("aws_session_token") })
    }
}

const NONE: &str = "no key to ask it with: give access_key_id=... and secret_access_key=..., or give the daemon \
                    AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Credentials> {
        let find = |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
        Credentials::of_environment(&find)
    }

    #[test]
    fn the_environment_comes_before_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys");
        let text = "# mine\n[default]\naws_access_key_id = one\naws_secret_access_key=s=1\n\n\
                    [other]\naws_access_key_id=two\naws_secret_access_key=s2\naws_session_token=t2\n[empty]\n";
        std::fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap();
        let found = |pairs: &[(&str, &str)]| {
            let found = of(pairs).unwrap();
            (found.id, found.secret, found.token.unwrap_or_default())
        };
        let is = |id: &str, secret: &str, token: &str| (id.into(), secret.into(), token.into());
        let place = ("AWS_SHARED_CREDENTIALS_FILE", file);
        let own = [("AWS_ACCESS_KEY_ID", "own"), ("AWS_SECRET_ACCESS_KEY", "s0"), place];
        assert_eq!(found(&own), is("own", "s0", ""));
        assert_eq!(found(&[place]), is("one", "s=1", ""));
        assert_eq!(found(&[place, ("AWS_PROFILE", "other")]), is("two", "s2", "t2"));
        for (pairs, want) in [
            (&[place, ("AWS_PROFILE", "empty")][..], "profile \"empty\" has no key"),
            (&[("HOME", "/nowhere")], "/nowhere/.aws/credentials"),
            (&[], "access_key_id"),
        ] {
            let error = format!("{:#}", of(pairs).unwrap_err());
            assert!(error.contains(want), "{error}");
        }
    }
}
