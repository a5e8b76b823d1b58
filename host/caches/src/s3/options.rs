//! The attributes of a cache in a bucket.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use exporters::attrs::{flag, number};
use jiff::SignedDuration;
use url::Url;

use super::credentials::{Credentials, Env};
use crate::{Attrs, options::names, web::TRIES};

/// What of them an exporter takes. BuildKit's importers take the same.
pub(super) const EXPORT: &[&str] = &[
    "bucket",
    "region",
    "prefix",
    "manifests_prefix",
    "blobs_prefix",
    "name",
    "touch_refresh",
    "endpoint_url",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "use_path_style",
    "upload_parallelism",
    "disable_accept_encoding",
    "retry_mode",
    "retry_max_attempts",
];
/// How long a layer lies before it is written anew, so that a rule of the bucket does not delete what is in use.
const TOUCH_REFRESH: Duration = Duration::from_secs(24 * 60 * 60);
/// How many layers are sent at once.
const AT_ONCE: usize = 4;
/// The most that may be asked for.
const AT_ONCE_MAX: usize = 64;
const TRIES_MAX: u32 = 100;

/// Attributes as they were read.
#[derive(Debug)]
pub(super) struct Options {
    pub bucket: String,
    pub region: String,
    /// What names in the bucket begin with, of layers and of configs.
    blobs: String,
    configs: String,
    /// At least one.
    pub names: Vec<String>,
    pub touch_refresh: Duration,
    /// Another server than Amazon's.
    pub endpoint: Option<Url>,
    /// The bucket is a part of the path and not of the host.
    pub path_style: bool,
    /// Unless the environment has them.
    pub credentials: Option<Credentials>,
    pub at_once: usize,
    pub tries: u32,
}

impl Options {
    /// Reads attributes; bucket and region may stand in the environment.
    pub(super) fn read(attrs: &Attrs, env: Env<'_>) -> Result<Options> {
        let text = |name: &str| attrs.get(name).cloned().filter(|value| !value.is_empty());
        let needed = |name: &str, variable: &str| {
            let value = text(name).or_else(|| env(variable));
            value.with_context(|| format!("a cache of type s3 needs {name}=... (or {variable})"))
        };
        let prefixed = |name: &str, default: &str| {
            let own = attrs.get(name).map_or(default, String::as_str);
            format!("{}{own}", text("prefix").unwrap_or_default())
        };
        // What is accepted by a server is not told to anybody else: no header says that.
        flag(attrs, "disable_accept_encoding")?;
        if let Some(other) = text("retry_mode").filter(|mode| mode != "standard" && mode != "adaptive") {
            bail!("attribute retry_mode={other:?}: want standard or adaptive");
        }
        let key = text("access_key_id").zip(text("secret_access_key"));
        let credentials = key.map(|(id, secret)| Credentials { id, secret, token: text("session_token") });
        let at_once = number(attrs, "upload_parallelism")?.unwrap_or(AT_ONCE);
        let tries = number(attrs, "retry_max_attempts")?.unwrap_or(TRIES);
        ensure!((1..=AT_ONCE_MAX).contains(&at_once), "attribute upload_parallelism: want 1 to {AT_ONCE_MAX}");
        ensure!((1..=TRIES_MAX).contains(&tries), "attribute retry_max_attempts: want 1 to {TRIES_MAX}");
        Ok(Options {
            bucket: needed("bucket", "AWS_BUCKET")?,
            region: needed("region", "AWS_REGION")?,
            blobs: prefixed("blobs_prefix", "blobs/"),
            configs: prefixed("manifests_prefix", "manifests/"),
            names: names(attrs),
            touch_refresh: touch_refresh(attrs)?,
            endpoint: text("endpoint_url").as_deref().map(endpoint).transpose()?,
            path_style: flag(attrs, "use_path_style")?.unwrap_or(false),
            credentials,
            at_once,
            tries,
        })
    }

    pub(super) fn blob_key(&self, digest: &str) -> String {
        format!("{}{digest}", self.blobs)
    }

    pub(super) fn config_key(&self, name: &str) -> String {
        format!("{}{name}", self.configs)
    }

    /// For messages and locators.
    pub(super) fn shown(&self) -> String {
        let server = self.endpoint.as_ref().map_or(self.region.as_str(), |url| url.host_str().unwrap_or_default());
        format!("s3:{server}/{}/{}", self.bucket, self.blobs)
    }
}

fn touch_refresh(attrs: &Attrs) -> Result<Duration> {
    let Some(text) = attrs.get("touch_refresh") else { return Ok(TOUCH_REFRESH) };
    let parsed = text.parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
    parsed.with_context(|| format!("attribute touch_refresh={text:?}: want a duration such as 24h"))
}

/// The URL of a server: without login, query and fragment, for it becomes a part of others.
fn endpoint(text: &str) -> Result<Url> {
    let wrong = || format!("attribute endpoint_url={text:?}: want http://HOST or https://HOST");
    let url: Url = text.parse().with_context(wrong)?;
    let is_plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    ensure!(matches!(url.scheme(), "http" | "https") && url.has_host() && is_plain, wrong());
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)], env: &[(&str, &str)]) -> Result<Options> {
        let find = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
        let attrs = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Options::read(&attrs, &find)
    }

    #[test]
    fn names_in_the_bucket() {
        let place = [("bucket", "b"), ("region", "r")];
        let plain = read(&place, &[]).unwrap();
        assert_eq!(plain.names, ["buildkit"]);
        assert_eq!((plain.blob_key("d"), plain.config_key("n")), ("blobs/d".into(), "manifests/n".into()));
        let more = [("prefix", "p/"), ("blobs_prefix", ""), ("manifests_prefix", "m-"), ("name", "one;two")];
        let own = read(&[&place[..], &more].concat(), &[]).unwrap();
        assert_eq!(own.names, ["one", "two"]);
        assert_eq!((own.blob_key("d"), own.config_key("n")), ("p/d".into(), "p/m-n".into()));
        let env = read(&[], &[("AWS_BUCKET", "eb"), ("AWS_REGION", "er")]).unwrap();
        assert_eq!((env.bucket, env.region), ("eb".into(), "er".into()));
        assert_eq!(env.touch_refresh, TOUCH_REFRESH);
    }

    #[test]
    fn values_that_mean_nothing_are_refused() {
        let place = [("bucket", "b"), ("region", "r")];
        for (name, value, want) in [
            ("bucket", "", "needs bucket"),
            ("touch_refresh", "soon", "want a duration"),
            ("touch_refresh", "-1h", "want a duration"),
            ("endpoint_url", "minio:9000", "want http://HOST"),
            ("endpoint_url", "http://user:pass@minio", "want http://HOST"),
            ("upload_parallelism", "0", "want 1 to 64"),
            ("retry_max_attempts", "0", "want 1 to 100"),
            ("retry_max_attempts", "many", "want a number"),
            ("retry_mode", "stubborn", "want standard or adaptive"),
            ("use_path_style", "maybe", "want true or false"),
        ] {
            let pairs: Vec<_> = place.iter().copied().filter(|pair| pair.0 != name).chain([(name, value)]).collect();
            let error = format!("{:#}", read(&pairs, &[]).unwrap_err());
            assert!(error.contains(want), "{name}={value}: {error}");
        }
    }
}
