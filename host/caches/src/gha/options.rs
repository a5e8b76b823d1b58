//! The attributes of a cache of GitHub Actions, and what its token says.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use url::Url;

use crate::Attrs;

/// What of them an exporter takes. `repository` and `ghtoken` would save questions, and change nothing.
pub(super) const EXPORT: &[&str] = &["scope", "timeout", "token", "url", "url_v2", "version", "repository", "ghtoken"];
/// What a cache is called where nobody says how.
const SCOPE: &str = "buildkit";
/// How long one question may take where nobody says how long.
const TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// Bits of what a token permits.
const READ: u32 = 1;
const WRITE: u32 = 2;

/// Attributes as they were read.
pub(super) struct Options {
    scope: String,
    pub url: Url,
    pub token: Token,
    pub timeout: Duration,
}

impl Options {
    pub(super) fn read(attrs: &Attrs) -> Result<Options> {
        let text = |name: &str| attrs.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let needed = |name: &str| {
            text(name)
                .with_context(|| format!("a cache of type gha needs {name}=..., which a job of GitHub Actions has"))
        };
        match text("version") {
            None | Some("2") => {}
            Some("1") => bail!("attribute version=1: the first version of the service is not supported"),
            Some(other) => bail!("attribute version={other:?}: want 2"),
        }
        let url = match text("url_v2") {
            Some(url) => url,
            None => needed("url").context("a cache of type gha needs url_v2=...")?,
        };
        let url: Url = url.parse().with_context(|| format!("attribute url_v2={url:?}"))?;
        ensure!(matches!(url.scheme(), "http" | "https"), "attribute url_v2={url}: want https://HOST");
        let timeout = text("timeout").map(|text| {
            let parsed = text.parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
            parsed.with_context(|| format!("attribute timeout={text:?}: want a duration such as 10m"))
        });
        Ok(Options {
            scope: text("scope").unwrap_or(SCOPE).to_owned(),
            url,
            token: Token::read(needed("token")?, Timestamp::now())?,
            timeout: timeout.transpose()?.unwrap_or(TIMEOUT),
        })
    }

    /// The name of the config of a branch, which BuildKit gives it.
    pub(super) fn index(&self, branch: &str) -> String {
        let hash = hex::encode(digest(&SHA256, branch.as_bytes()));
        format!("index-{}-1-{}", self.scope, &hash[..8])
    }

    /// For messages and locators.
    pub(super) fn shown(&self) -> String {
        format!("gha:{}/{}", self.url.host_str().unwrap_or_default(), self.scope)
    }
}

/// What lets a job in. Who made it is the service's to check; here it is read what it is for.
pub(super) struct Token {
    pub text: String,
    scopes: Vec<Scope>,
}

#[derive(Deserialize)]
struct Claims {
    /// JSON in a text.
    ac: String,
    /// Seconds since 1970.
    exp: f64,
    nbf: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Scope {
    scope: String,
    permission: u32,
}

impl Token {
    fn read(text: &str, now: Timestamp) -> Result<Token> {
        let wrong = "attribute token: no token of a job of GitHub Actions";
        let claims = text.split('.').nth(1).and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok()).context(wrong)?;
        let claims: Claims = serde_json::from_slice(&claims).context(wrong)?;
        let scopes = serde_json::from_str(&claims.ac).context(wrong)?;
        let now = now.as_second() as f64;
        ensure!(now <= claims.exp, "attribute token: it does not hold any more");
        ensure!(now >= claims.nbf, "attribute token: it does not hold yet");
        Ok(Token { text: text.to_owned(), scopes })
    }

    /// The branches whose entries may be read.
    pub(super) fn scopes(&self) -> impl Iterator<Item = &str> {
        self.scopes.iter().filter(|scope| scope.permission & READ != 0).map(|scope| scope.scope.as_str())
    }

    /// The branch whose entries may be written: the last, as BuildKit takes it.
    pub(super) fn writes(&self) -> Option<&str> {
        self.scopes.iter().rfind(|scope| scope.permission & WRITE != 0).map(|scope| scope.scope.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.sig", BASE64_URL_SAFE_NO_PAD.encode(claims))
    }

    fn read(pairs: &[(&str, &str)]) -> Result<Options> {
        Options::read(&pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
    }

    const AC: &str =
        r#"[{\"Scope\":\"refs/heads/mine\",\"Permission\":3},{\"Scope\":\"refs/heads/main\",\"Permission\":1}]"#;

    #[test]
    fn what_a_token_permits() {
        let token = token(&format!(r#"{{"ac":"{AC}","exp":99999999999,"nbf":5}}"#));
        let options = read(&[("token", &token), ("url_v2", "https://results/"), ("scope", "app")]).unwrap();
        assert_eq!(options.token.scopes().collect::<Vec<_>>(), ["refs/heads/mine", "refs/heads/main"]);
        assert_eq!(options.token.writes(), Some("refs/heads/mine"));
        // The name that BuildKit gives: the hash of the empty text begins so.
        assert_eq!(options.index(""), "index-app-1-e3b0c442");
        assert_eq!(options.shown(), "gha:results/app");
    }

    #[test]
    fn values_that_mean_nothing_are_refused() {
        let late = token(&format!(r#"{{"ac":"{AC}","exp":6,"nbf":5}}"#));
        let early = token(&format!(r#"{{"ac":"{AC}","exp":99999999999,"nbf":99999999998}}"#));
        let good = token(&format!(r#"{{"ac":"{AC}","exp":99999999999,"nbf":5}}"#));
        let url = ("url_v2", "https://results/");
        for (pairs, want) in [
            (&[("token", good.as_str())][..], "needs url_v2"),
            (&[url], "needs token"),
            (&[url, ("token", "secret")], "no token of a job"),
            (&[url, ("token", &late)], "does not hold any more"),
            (&[url, ("token", &early)], "does not hold yet"),
            (&[("url_v2", "results"), ("token", &good)], "url_v2=\"results\""),
            (&[url, ("token", &good), ("version", "1")], "first version"),
            (&[url, ("token", &good), ("version", "x")], "want 2"),
            (&[url, ("token", &good), ("timeout", "soon")], "want a duration"),
        ] {
            let error = format!("{:#}", read(pairs).err().unwrap());
            assert!(error.contains(want), "{error}");
        }
    }
}
