//! The cache service of GitHub Actions: entries by name, whose bytes are blobs of Azure's storage behind signed URLs.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use exporters::content::Reader;
use http::StatusCode;
use reqwest::Response;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use url::Url;

use super::options::Options;
use crate::{
    azure::{Access, Azure},
    objects::Report,
    web::{TRIES, Web, accepted, whole},
};

/// The service's name in paths.
const SERVICE: &str = "twirp/github.actions.results.api.v1.CacheService";
/// What stands for the paths and the tool of an entry: SHA-256 of `|go-actionscache-1.0`, as in BuildKit's entries.
const VERSION: &str = "693bb7016429d80366022f036f84856888c9f13e00145f5f6f4dce303a38d6f2";
/// The wait before a question is asked again where the service goes on asking for patience; for how long that is done is the user's to
/// say.
const PAUSE: Duration = Duration::from_secs(5);
/// How many entries that were begun, and of which nothing came, are left behind.
const SKIPPED_MAX: u64 = 30;
/// How much of an answer is read.
const ANSWER_BYTES_MAX: u64 = 32 << 10;
/// How long an entry that somebody else has begun to write is waited for, and how often it is looked for.
const BLOCKED: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// What stands between the name of an entry and its number.
const NUMBER: char = '#';

/// The service, and who asks it.
pub(super) struct Service {
    azure: Azure,
    url: Url,
    token: String,
    timeout: Duration,
}

/// What became of an entry that was to be saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Saved {
    Done,
    /// Somebody has written it, or is about to.
    IsThere,
}

#[derive(Serialize)]
struct Find<'a> {
    key: &'a str,
    restore_keys: [&'a str; 1],
    version: &'static str,
}

/// An entry that was found.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    ok: bool,
    signed_download_url: String,
    matched_key: String,
}

#[derive(Serialize)]
struct Create<'a> {
    key: &'a str,
    version: &'static str,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Created {
    ok: bool,
    signed_upload_url: String,
}

#[derive(Serialize)]
struct Finish<'a> {
    key: &'a str,
    size_bytes: u64,
    version: &'static str,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Finished {
    ok: bool,
}

impl Service {
    pub(super) fn new(web: Web, options: &Options) -> Service {
        let azure = Azure { web, access: Access::Url, tries: TRIES };
        Service { azure, url: options.url.clone(), token: options.token.text.clone(), timeout: options.timeout }
    }

    /// Asks the service; `None` where it says that there is something already.
    async fn ask<A: DeserializeOwned>(&self, method: &str, question: &(impl Serialize + Sync)) -> Result<Option<A>> {
        let mut url = self.url.clone();
        url.set_path(&format!("{}/{SERVICE}/{method}", url.path().trim_end_matches('/')));
        let make = |client: &reqwest::Client| Ok(client.post(url.clone()).bearer_auth(&self.token).json(question));
        let asked = async {
            let mut response = self.azure.web.send(TRIES, make).await?;
            while response.status() == StatusCode::TOO_MANY_REQUESTS {
                tokio::time::sleep(PAUSE).await;
                response = self.azure.web.send(TRIES, make).await?;
            }
            if response.status() == StatusCode::CONFLICT {
                return Ok(None);
            }
            let answer = whole(accepted(response).await?, ANSWER_BYTES_MAX).await?;
            serde_json::from_slice(&answer).context("the answer cannot be read").map(Some)
        };
        let asked = tokio::time::timeout(self.timeout, asked).await;
        asked.unwrap_or_else(|_| bail!("no answer within {:?}", self.timeout)).with_context(|| method.to_owned())
    }

    /// The newest entry whose name begins with `key`.
    async fn find(&self, key: &str) -> Result<Option<Entry>> {
        let question = Find { key, restore_keys: [key], version: VERSION };
        let entry: Option<Entry> = self.ask("GetCacheEntryDownloadURL", &question).await?;
        Ok(entry.filter(|entry| entry.ok && entry.matched_key.starts_with(key)))
    }

    /// The entry of this name.
    pub(super) async fn entry(&self, key: &str) -> Result<Option<Entry>> {
        Ok(self.find(key).await?.filter(|entry| entry.matched_key == key))
    }

    /// The newest of the numbered entries of this name.
    pub(super) async fn newest(&self, key: &str) -> Result<Option<Entry>> {
        self.find(&format!("{key}{NUMBER}")).await
    }

    /// The bytes of an entry from `offset` on.
    pub(super) async fn read(&self, entry: &Entry, offset: u64) -> Result<Response> {
        let url = entry.signed_download_url.parse().context("the service gives no URL")?;
        self.azure.get(&url, offset).await?.context("its bytes are gone")
    }

    /// Writes an entry.
    pub(super) async fn save(&self, key: &str, size: u64, from: Reader, report: Report<'_>) -> Result<Saved> {
        let created: Option<Created> = self.ask("CreateCacheEntry", &Create { key, version: VERSION }).await?;
        let Some(created) = created else { return Ok(Saved::IsThere) };
        ensure!(created.ok, "the service takes no entry {key}");
        let url = created.signed_upload_url.parse().context("the service gives no URL")?;
        self.azure.put_parts(&url, size, from, report).await?;
        let finish = Finish { key, size_bytes: size, version: VERSION };
        let finished: Option<Finished> = self.ask("FinalizeCacheEntryUpload", &finish).await?;
        ensure!(finished.is_some_and(|finished| finished.ok), "the service does not keep entry {key}");
        Ok(Saved::Done)
    }

    /// Writes the next of the numbered entries of this name, for entries cannot be changed. One that somebody else has begun is waited
    /// for, and left behind when nothing comes of it.
    pub(super) async fn save_next(&self, key: &str, bytes: Bytes) -> Result<()> {
        let (size, mut waited, mut skipped) = (bytes.len() as u64, Duration::ZERO, 0);
        loop {
            let newest = self.newest(key).await?;
            let number = newest.map_or(Ok(0), |entry| number(&entry.matched_key))? + 1 + skipped;
            let from = Box::new(std::io::Cursor::new(bytes.clone()));
            if self.save(&format!("{key}{NUMBER}{number}"), size, from, &|_| {}).await? == Saved::Done {
                return Ok(());
            }
            if waited < BLOCKED {
                waited += LOOK_AGAIN;
                tokio::time::sleep(LOOK_AGAIN).await;
            } else {
                skipped += 1;
                ensure!(skipped < SKIPPED_MAX, "many entries were begun and none was finished");
            }
        }
    }
}

fn number(key: &str) -> Result<u64> {
    let number = key.rsplit_once(NUMBER).and_then(|(_, number)| number.parse().ok());
    number.with_context(|| format!("the cache has an entry {key:?}, which has no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_buildkits() {
        use aws_lc_rs::digest::{SHA256, digest};
        assert_eq!(hex::encode(digest(&SHA256, b"|go-actionscache-1.0")), VERSION);
        assert_eq!(number("index-a#12").unwrap(), 12);
        assert!(number("index-a").is_err());
    }
}
