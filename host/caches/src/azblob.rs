//! `azblob`: a cache in a container of Azure's storage of blobs.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context as _, Result, bail, ensure};
use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use exporters::content::Reader;
use http::{Method, StatusCode};
use url::Url;

use crate::{
    Attrs, Backend, Export, Found, Party,
    azure::{Access, Azure, with_query},
    format::CONFIG_BYTES_MAX,
    objects::{self, Objects, Report},
    options,
    web::{self, TRIES, Web, accepted, encode},
    write::Written,
};

const EXPORT: &[&str] = &[
    "account_url",
    "account_name",
    "secret_access_key",
    "container",
    "prefix",
    "manifests_prefix",
    "blobs_prefix",
    "name",
];
/// The container where none is named.
const CONTAINER: &str = "buildkit-cache";
/// How many layers are sent at once.
const AT_ONCE: usize = 4;

pub(crate) struct AzBlob {
    web: Web,
}

impl AzBlob {
    pub(crate) fn new(web: Web) -> Self {
        AzBlob { web }
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn read(attrs: &Attrs) -> Result<Options> {
    Options::read(attrs, &environment)
}

#[async_trait]
impl Backend for AzBlob {
    fn name(&self) -> &'static str {
        "azblob"
    }

    fn check_export(&self, attrs: &Attrs) -> Result<Export> {
        read(attrs)?;
        options::export(attrs, &[EXPORT])
    }

    fn check_import(&self, attrs: &Attrs) -> Result<String> {
        options::refuse_unknown_import(attrs, EXPORT)?;
        Ok(read(attrs)?.shown())
    }

    async fn export(&self, cache: &Written, attrs: &Attrs, party: &Party) -> Result<BTreeMap<String, String>> {
        let options = read(attrs)?;
        let container = Container::of(&self.web, &options);
        container.make().await.with_context(|| options.shown())?;
        let config = objects::export(&container, cache, AT_ONCE, party).await?;
        for name in &options.names {
            let url = container.url(&options.config_key(name));
            container.azure.put(&url, config.clone()).await.with_context(|| format!("write {}", url.path()))?;
        }
        Ok(BTreeMap::new())
    }

    /// The caches of all names that are there.
    async fn import(&self, attrs: &Attrs, _: &Party) -> Result<Vec<Found>> {
        let options = read(attrs)?;
        let container = Arc::new(Container::of(&self.web, &options));
        let mut found = Vec::new();
        for name in &options.names {
            let url = container.url(&options.config_key(name));
            let read = async {
                let Some(response) = container.azure.get(&url, 0).await? else { return Ok(None) };
                let config = web::whole(response, CONFIG_BYTES_MAX).await?;
                objects::found(&config, container.clone()).map(Some)
            };
            found.extend(read.await.with_context(|| format!("read {}", url.path()))?);
        }
        Ok(found)
    }
}

/// Attributes as they were read.
struct Options {
    account: Url,
    container: String,
    /// What names of layers and of configs begin with.
    blobs: String,
    configs: String,
    /// At least one.
    names: Vec<String>,
    access: Access,
}

impl Options {
    /// Reads attributes; most may stand in the environment, by BuildKit's names.
    fn read(attrs: &Attrs, env: &dyn Fn(&str) -> Option<String>) -> Result<Options> {
        let text = |name: &str| attrs.get(name).cloned().filter(|value| !value.is_empty());
        let either = |name: &str, end: &str| text(name).or_else(|| env(&format!("BUILDKIT_AZURE_STORAGE_{end}")));
        let Some(account) = either("account_url", "ACCOUNT_URL") else {
            bail!("a cache of type azblob needs account_url=... (or BUILDKIT_AZURE_STORAGE_ACCOUNT_URL)");
        };
        let account: Url = account.parse().with_context(|| format!("attribute account_url={account:?}"))?;
        let of_host = || account.host_str().and_then(|host| host.split('.').next()).map(String::from);
        let name = either("account_name", "ACCOUNT_NAME").or_else(of_host);
        let name = name.filter(|_| matches!(account.scheme(), "http" | "https"));
        let name = name.with_context(|| format!("attribute account_url={account}: want https://ACCOUNT.HOST"))?;
        let prefix = either("prefix", "PREFIX").unwrap_or_default();
        let prefixed = |name: &str, default: &str| {
            let own = attrs.get(name).map_or(default, String::as_str);
            let parts = [prefix.as_str(), own].map(|part| part.trim_matches('/'));
            parts.iter().filter(|part| !part.is_empty()).map(|part| format!("{part}/")).collect::<String>()
        };
        Ok(Options {
            container: either("container", "CONTAINER").unwrap_or_else(|| CONTAINER.into()),
            blobs: prefixed("blobs_prefix", "blobs"),
            configs: prefixed("manifests_prefix", "manifests"),
            names: options::names(attrs),
            access: key(text("secret_access_key"), name)?,
            account,
        })
    }

    fn config_key(&self, name: &str) -> String {
        format!("{}{name}", self.configs)
    }

    /// For messages and locators.
    fn shown(&self) -> String {
        let host = self.account.host_str().unwrap_or_default();
        let path = self.account.path().trim_end_matches('/');
        format!("azblob:{host}{path}/{}/{}", self.container, self.blobs)
    }
}

fn key(secret: Option<String>, account: String) -> Result<Access> {
    let Some(secret) = secret else {
        bail!("account {account}: give its key as secret_access_key=...; other ways to log in are not supported");
    };
    let key = BASE64_STANDARD.decode(secret).ok().filter(|key| !key.is_empty());
    Ok(Access::Key { account, key: key.context("attribute secret_access_key: want the account's key, in base64")? })
}

/// A container, and who asks it.
struct Container {
    azure: Azure,
    /// Ends with the container's name.
    base: Url,
    place: String,
    /// What names of layers begin with.
    blobs: String,
}

impl Container {
    fn of(web: &Web, options: &Options) -> Container {
        let mut base = options.account.clone();
        base.set_path(&format!("{}/{}", base.path().trim_end_matches('/'), encode(&options.container, false)));
        base.set_query(None);
        let azure = Azure { web: web.clone(), access: options.access.clone(), tries: TRIES };
        Container { azure, base, place: options.shown(), blobs: options.blobs.clone() }
    }

    fn url(&self, key: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{}", self.base.path(), encode(key, true)));
        url
    }

    fn blob(&self, digest: &str) -> Url {
        self.url(&format!("{}{digest}", self.blobs))
    }

    /// Makes the container, unless it is there.
    async fn make(&self) -> Result<()> {
        let url = with_query(&self.base, &[("restype", "container")]);
        let there = self.azure.send(Method::GET, &url, &[], Bytes::new()).await?;
        if there.status() != StatusCode::NOT_FOUND {
            return accepted(there).await.map(drop);
        }
        let made = self.azure.send(Method::PUT, &url, &[], Bytes::new()).await?;
        match made.status() {
            // Somebody else was quicker.
            StatusCode::CONFLICT => Ok(()),
            _ => accepted(made).await.map(drop),
        }
    }
}

#[async_trait]
impl Objects for Container {
    fn place(&self) -> String {
        self.place.clone()
    }

    async fn has(&self, digest: &str) -> Result<bool> {
        self.azure.has(&self.blob(digest)).await
    }

    async fn read(&self, digest: &str, offset: u64) -> Result<Reader> {
        let url = self.blob(digest);
        let response = self.azure.get(&url, offset).await.with_context(|| format!("read {}", url.path()))?;
        Ok(web::reader(response.with_context(|| format!("{} is not there", url.path()))?))
    }

    async fn write(&self, digest: &str, size: u64, from: Reader, report: Report<'_>) -> Result<()> {
        ensure!(size > 0, "a layer without bytes");
        self.azure.put_parts(&self.blob(digest), size, from, report).await
    }
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
    fn names_in_the_container() {
        let key = ("secret_access_key", "a2V5");
        let plain = read(&[("account_url", "https://acc.blob.core.windows.net"), key], &[]).unwrap();
        assert_eq!(plain.shown(), "azblob:acc.blob.core.windows.net/buildkit-cache/blobs/");
        assert_eq!(plain.config_key("n"), "manifests/n");
        assert!(matches!(plain.access, Access::Key { account, key } if account == "acc" && key == b"key"));
        let env = [
            ("BUILDKIT_AZURE_STORAGE_ACCOUNT_URL", "http://127.0.0.1:1/acc/"),
            ("BUILDKIT_AZURE_STORAGE_ACCOUNT_NAME", "acc"),
            ("BUILDKIT_AZURE_STORAGE_CONTAINER", "c d"),
            ("BUILDKIT_AZURE_STORAGE_PREFIX", "p/q/"),
        ];
        let own = read(&[key, ("blobs_prefix", ""), ("name", "a;b")], &env).unwrap();
        assert_eq!(
            (own.names.as_slice(), own.config_key("n").as_str()),
            (&["a".into(), "b".into()][..], "p/q/manifests/n")
        );
        let container = Container::of(&Web::new(true), &own);
        assert_eq!(container.blob("sha256:x").as_str(), "http://127.0.0.1:1/acc/c%20d/p/q/sha256%3Ax");
    }

    #[test]
    fn values_that_mean_nothing_are_refused() {
        let account = ("account_url", "https://acc.blob.core.windows.net");
        for (pairs, want) in [
            (&[][..], "needs account_url"),
            (&[("account_url", "acc")], "account_url=\"acc\""),
            (&[("account_url", "file:///acc"), ("secret_access_key", "a2V5")], "want https://"),
            (&[account], "secret_access_key="),
            (&[account, ("secret_access_key", "no base64")], "in base64"),
        ] {
            let error = format!("{:#}", read(pairs, &[]).err().unwrap());
            assert!(error.contains(want), "{error}");
        }
    }
}
