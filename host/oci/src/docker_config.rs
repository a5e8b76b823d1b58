//! Logins from docker's configuration: `config.json` and the credential helpers that it names.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use async_trait::async_trait;
use docker_credential::{CredentialRetrievalError, DockerCredential};

use crate::{Credentials, Login};

/// The key under which docker keeps the login for Docker Hub.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// The host that Docker Hub's registry is at.
const HUB_HOST: &str = "registry-1.docker.io";
/// The largest configuration that is read.
const CONFIG_BYTES_MAX: u64 = 16 << 20;

/// Docker's configuration in one directory. It is read anew each time, so that a `docker login` counts at once.
#[derive(Clone, Debug)]
pub struct DockerConfig {
    file: PathBuf,
}

impl DockerConfig {
    /// The configuration in the directory `dir`.
    pub fn in_dir(dir: &Path) -> DockerConfig {
        DockerConfig { file: dir.join("config.json") }
    }

    /// Where docker looks, given the values of `DOCKER_CONFIG` and `HOME`; `None` when neither is set.
    pub fn from_env(docker_config: Option<PathBuf>, home: Option<PathBuf>) -> Option<DockerConfig> {
        let dir = docker_config.filter(|dir| !dir.as_os_str().is_empty()).or_else(|| Some(home?.join(".docker")))?;
        Some(DockerConfig::in_dir(&dir))
    }

    /// The login for a registry's host; `None` when there is none. Blocks: a helper is a process.
    pub fn login_blocking(&self, host: &str) -> anyhow::Result<Option<Login>> {
        let bytes = match std::fs::metadata(&self.file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Ok(meta) if meta.len() > CONFIG_BYTES_MAX => {
                anyhow::bail!("{} is larger than {CONFIG_BYTES_MAX} bytes", self.file.display())
            }
            _ => std::fs::read(&self.file).with_context(|| format!("cannot read {}", self.file.display()))?,
        };
        let key = if host == HUB_HOST { HUB_KEY } else { host };
        match docker_credential::get_credential_from_reader(&bytes[..], key) {
            Ok(DockerCredential::IdentityToken(token)) if !token.is_empty() => Ok(Some(Login::IdentityToken(token))),
            Ok(DockerCredential::UsernamePassword(username, password)) if !username.is_empty() => {
                Ok(Some(Login::Password { username, password }))
            }
            Ok(_) | Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(None),
            Err(error) if has_none(&error) => Ok(None),
            Err(error) => Err(self.explain(host, &error)),
        }
    }

    /// An error that says which file or helper is at fault. What the helper printed on stdout stays out: it may be a secret.
    fn explain(&self, host: &str, error: &CredentialRetrievalError) -> anyhow::Error {
        let file = self.file.display();
        match error {
            CredentialRetrievalError::HelperFailure { helper, stderr, .. } => {
                anyhow::anyhow!("credential helper {helper} (named in {file}) failed for {host}: {}", stderr.trim())
            }
            CredentialRetrievalError::HelperCommunicationError => {
                anyhow::anyhow!("a credential helper named in {file} cannot be run for {host}: is it installed?")
            }
            other => anyhow::anyhow!("{file}: {other} (for {host})"),
        }
    }
}

/// Helpers say on stdout that they know no login; that is no failure.
fn has_none(error: &CredentialRetrievalError) -> bool {
    matches!(error, CredentialRetrievalError::HelperFailure { stdout, .. } if stdout.trim().starts_with("credentials not found"))
}

#[async_trait]
impl Credentials for DockerConfig {
    async fn login(&self, host: &str) -> anyhow::Result<Option<Login>> {
        let (config, host) = (self.clone(), host.to_string());
        tokio::task::spawn_blocking(move || config.login_blocking(&host)).await?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(config: &str, host: &str) -> Result<Option<Login>, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), config).unwrap();
        DockerConfig::in_dir(dir.path()).login_blocking(host).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn logins_from_the_file() {
        // "dTpwOnE=" is "u:p:q".
        let password = || Some(Login::Password { username: "u".into(), password: "p:q".into() });
        let token = || Some(Login::IdentityToken("t".into()));
        let table = [
            (r#"{"auths":{"quay.io":{"auth":"dTpwOnE="}}}"#, "quay.io", password()),
            (r#"{"auths":{"https://quay.io":{"auth":"dTpwOnE="}}}"#, "quay.io", password()),
            (r#"{"auths":{"quay.io":{"username":"u","password":"p:q"}}}"#, "quay.io", password()),
            (r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpwOnE="}}}"#, "registry-1.docker.io", password()),
            (r#"{"auths":{"localhost:5000":{"auth":"dTpwOnE="}}}"#, "localhost:5000", password()),
            (r#"{"auths":{"localhost:5000":{"auth":"dTpwOnE="}}}"#, "localhost:5001", None),
            (r#"{"auths":{"a.io":{"identitytoken":"t","auth":"dTo="}}}"#, "a.io", token()),
            (r#"{"auths":{"a.io":{}}}"#, "a.io", None),
            (r#"{}"#, "a.io", None),
        ];
        for (config, host, want) in table {
            let found = login(config, host).unwrap();
            assert!(found == want, "{host} in {config}: {found:?}");
        }
    }

    #[test]
    fn what_is_broken_is_named() {
        let table = [
            ("{", "config.json"),
            (r#"{"auths":{"a.io":{"auth":"!!"}}}"#, "config.json"),
            (r#"{"credHelpers":{"a.io":"pintle-test-is-not-installed"}}"#, "is it installed"),
        ];
        for (config, want) in table {
            let error = login(config, "a.io").unwrap_err();
            assert!(error.contains(want) && error.contains("a.io"), "{config}: {error}");
        }
        let absent = DockerConfig::in_dir(Path::new("/nonexistent"));
        assert_eq!(absent.login_blocking("a.io").unwrap(), None);
    }

    /// Set in the process that finds the helpers of this test on its path.
    const WITH_HELPERS: &str = "PINTLE_TEST_WITH_HELPERS";

    /// Helpers are found on the path, which a process cannot safely change for itself: the test runs itself again.
    #[test]
    fn helpers() {
        if std::env::var_os(WITH_HELPERS).is_some() {
            return ask_helpers();
        }
        let dir = tempfile::tempdir().unwrap();
        let scripts = [
            ("good", r#"echo "{\"Username\":\"u\",\"Secret\":\"for $host\"}""#),
            ("token", r#"echo '{"Username":"<token>","Secret":"t"}'"#),
            ("none", "echo credentials not found in native keychain; exit 1"),
            ("fails", "echo a secret; echo it is locked >&2; exit 1"),
            ("garbage", "echo garbage"),
        ];
        for (name, script) in scripts {
            let file = dir.path().join(format!("docker-credential-{name}"));
            std::fs::write(&file, format!("#!/bin/sh\nread host\n{script}\n")).unwrap();
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args(["docker_config::tests::helpers", "--exact"]).env("PATH", path).env(WITH_HELPERS, "1");
        let output = again.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }

    fn ask_helpers() {
        let helper = |name: &str| format!(r#"{{"credHelpers":{{"a.io":"{name}"}}}}"#);
        let good = |password: &str| Some(Login::Password { username: "u".into(), password: password.into() });
        assert!(login(&helper("good"), "a.io") == Ok(good("for a.io")));
        assert!(
            login(r#"{"credsStore":"good"}"#, "registry-1.docker.io") == Ok(good("for https://index.docker.io/v1/"))
        );
        assert!(login(&helper("token"), "a.io") == Ok(Some(Login::IdentityToken("t".into()))));
        assert!(login(&helper("none"), "a.io") == Ok(None));
        assert!(login(&helper("good"), "b.io") == Ok(None));
        let error = login(&helper("fails"), "a.io").unwrap_err();
        assert!(error.contains("docker-credential-fails") && error.contains("it is locked"), "{error}");
        assert!(!error.contains("a secret"), "{error}");
        assert!(login(&helper("garbage"), "a.io").is_err());
    }

    #[test]
    fn where_docker_looks() {
        let found = |config: Option<&str>, home: Option<&str>| {
            DockerConfig::from_env(config.map(Into::into), home.map(Into::into)).map(|found| found.file)
        };
        assert_eq!(found(Some("/c"), Some("/h")), Some("/c/config.json".into()));
        assert_eq!(found(Some(""), Some("/h")), Some("/h/.docker/config.json".into()));
        assert_eq!(found(None, Some("/h")), Some("/h/.docker/config.json".into()));
        assert_eq!(found(None, None), None);
    }
}
