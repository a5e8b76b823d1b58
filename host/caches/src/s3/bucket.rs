//! The requests to a bucket.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use exporters::content::Reader;
use futures::{StreamExt as _, TryStreamExt as _};
use http::{Method, StatusCode, header};
use jiff::{Timestamp, fmt::rfc2822};
use reqwest::Response;
use url::Url;

use super::{
    credentials::{Credentials, Env},
    options::Options,
    sign::{self, Signed},
};
use crate::{
    format::CONFIG_BYTES_MAX,
    objects::{Objects, PART_BYTES, PARTS_AT_ONCE, Report, parts},
    web::{self, Web, accepted},
};

/// The largest object that a server copies in one request, in bytes.
const COPY_BYTES_MAX: u64 = 5 << 30;
/// How much of an answer about an upload is read.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// A bucket, and who asks it.
pub(super) struct Bucket {
    web: Web,
    /// Without a path.
    server: Url,
    /// What paths begin with.
    base: String,
    bucket: String,
    region: String,
    credentials: Credentials,
    tries: u32,
    touch_refresh: Duration,
    place: String,
    /// What the names of layers begin with.
    blobs: String,
}

/// One request.
struct Ask<'a> {
    method: Method,
    key: &'a str,
    query: &'a [(&'a str, &'a str)],
    headers: &'a [(&'a str, &'a str)],
    body: Bytes,
}

impl<'a> Ask<'a> {
    fn new(method: Method, key: &'a str) -> Ask<'a> {
        Ask { method, key, query: &[], headers: &[], body: Bytes::new() }
    }
}

/// What is known of an object.
struct Known {
    size: u64,
    age: Duration,
}

impl Bucket {
    pub(super) fn open(web: Web, options: &Options, env: Env<'_>) -> Result<Bucket> {
        let credentials = match &options.credentials {
            Some(credentials) => credentials.clone(),
            None => Credentials::of_environment(env).with_context(|| format!("bucket {}", options.bucket))?,
        };
        let (server, base) = address(options)?;
        Ok(Bucket {
            web,
            server,
            base,
            bucket: options.bucket.clone(),
            region: options.region.clone(),
            credentials,
            tries: options.tries,
            touch_refresh: options.touch_refresh,
            place: options.shown(),
            blobs: options.blob_key(""),
        })
    }

    fn blob_key(&self, digest: &str) -> String {
        format!("{}{digest}", self.blobs)
    }

    async fn send(&self, ask: Ask<'_>) -> Result<Response> {
        let path = format!("{}/{}", self.base, web::encode(ask.key, true));
        let query = sign::query(ask.query);
        let mut url = self.server.clone();
        url.set_path(&path);
        url.set_query(Some(query.as_str()).filter(|query| !query.is_empty()));
        let payload = sign::sha256(&ask.body);
        let make = |client: &reqwest::Client| {
            let headers = self.headers(&ask, &payload)?;
            let signed = Signed { method: ask.method.as_str(), path: &path, query: &query, headers: &headers };
            let authorization = signed.authorization(&self.credentials, &self.region);
            let request = client.request(ask.method.clone(), url.clone()).header(header::AUTHORIZATION, authorization);
            let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
            // An object without bytes has a length too.
            Ok(request.header(header::CONTENT_LENGTH, ask.body.len()).body(ask.body.clone()))
        };
        self.web.send(self.tries, make).await
    }

    /// All headers that are signed.
    fn headers(&self, ask: &Ask<'_>, payload: &str) -> Result<BTreeMap<String, String>> {
        let host = self.server.host_str().context("the server has no name")?;
        let host = self.server.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let own = [("host", host.as_str()), ("x-amz-date", &time), ("x-amz-content-sha256", payload)];
        let token = self.credentials.token.as_deref().map(|token| ("x-amz-security-token", token));
        let all = own.into_iter().chain(token).chain(ask.headers.iter().copied());
        Ok(all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// Writes a whole object.
    pub(super) async fn put(&self, key: &str, body: Bytes) -> Result<()> {
        accepted(self.send(Ask { body, ..Ask::new(Method::PUT, key) }).await?).await.map(drop)
    }

    async fn get(&self, key: &str, offset: u64) -> Result<Option<Response>> {
        let range = format!("bytes={offset}-");
        let headers = [("range", range.as_str())];
        let headers = if offset == 0 { &[][..] } else { &headers };
        let response = self.send(Ask { headers, ..Ask::new(Method::GET, key) }).await?;
        match response.status() {
            StatusCode::NOT_FOUND => {
                // That a bucket is not there is no empty cache.
                let refused = accepted(response).await.err().map(|error| error.to_string()).unwrap_or_default();
                ensure!(!refused.contains("NoSuchBucket"), "{refused}");
                Ok(None)
            }
            StatusCode::OK if offset > 0 => anyhow::bail!("the server does not give a part of an object"),
            _ => accepted(response).await.map(Some),
        }
    }

    /// The config of that name, where there is one.
    pub(super) async fn config(&self, key: &str) -> Result<Option<Bytes>> {
        match self.get(key, 0).await? {
            Some(response) => web::whole(response, CONFIG_BYTES_MAX).await.map(Some),
            None => Ok(None),
        }
    }

    async fn known(&self, key: &str) -> Result<Option<Known>> {
        let response = self.send(Ask::new(Method::HEAD, key)).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !response.status().is_success() {
            // The answer to this question has no text that says why; that to the other has.
            self.get(key, 0).await?;
        }
        let response = accepted(response).await?;
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let size = header(header::CONTENT_LENGTH).and_then(|size| size.parse().ok()).unwrap_or(0);
        let modified = header(header::LAST_MODIFIED).and_then(|date| rfc2822::parse(date).ok());
        let age = modified.and_then(|time| Timestamp::now().duration_since(time.timestamp()).try_into().ok());
        Ok(Some(Known { size, age: age.unwrap_or_default() }))
    }

    /// Has the server copy an object to itself: it is as if it were written now.
    async fn touch(&self, key: &str) -> Result<()> {
        let source = web::encode(&format!("{}/{key}", self.bucket), true);
        let now = Timestamp::now().to_string();
        let headers = [
            ("x-amz-copy-source", source.as_str()),
            ("x-amz-meta-updated-at", &now),
            ("x-amz-metadata-directive", "REPLACE"),
        ];
        let response = self.send(Ask { headers: &headers, ..Ask::new(Method::PUT, key) }).await?;
        done(response).await.context("copy it to itself").map(drop)
    }

    /// Writes an object in parts. What came of one that fails is thrown away.
    async fn put_parts(&self, key: &str, size: u64, from: Reader, report: Report<'_>) -> Result<()> {
        let start = Ask { query: &[("uploads", "")], ..Ask::new(Method::POST, key) };
        let answer = done(self.send(start).await?).await?;
        let id = web::element(&answer, "UploadId").context("the server gives no id for an upload")?;
        let written = async {
            let sent = parts(from, size, PART_BYTES)
                .map_ok(|(number, part)| self.put_part(key, id, number, part))
                .try_buffered(PARTS_AT_ONCE);
            let mut sent = std::pin::pin!(sent);
            let mut list = String::new();
            while let Some(tag) = sent.next().await {
                let (number, tag) = tag?;
                list.push_str(&format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"));
                report(size.min(number * PART_BYTES));
            }
            let body = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>").into();
            let end = Ask { query: &[("uploadId", id)], body, ..Ask::new(Method::POST, key) };
            done(self.send(end).await?).await.map(drop)
        };
        let written = written.await;
        if written.is_err() {
            let stop = Ask { query: &[("uploadId", id)], ..Ask::new(Method::DELETE, key) };
            if let Err(error) = self.send(stop).await {
                tracing::warn!("{}: an upload that failed cannot be thrown away: {error:#}", self.place);
            }
        }
        written
    }

    /// Sends a part; answers its number and tag.
    async fn put_part(&self, key: &str, id: &str, number: u64, body: Bytes) -> Result<(u64, String)> {
        let digits = number.to_string();
        let query = [("partNumber", digits.as_str()), ("uploadId", id)];
        let response = self.send(Ask { query: &query, body, ..Ask::new(Method::PUT, key) }).await?;
        let response = accepted(response).await.with_context(|| format!("part {number}"))?;
        let tag = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
        Ok((number, tag.with_context(|| format!("part {number} has no tag"))?.to_owned()))
    }
}

/// Server, and what paths begin with.
fn address(options: &Options) -> Result<(Url, String)> {
    let Options { bucket, region, .. } = options;
    // A certificate for all buckets is none for names with a dot.
    let (server, in_path) = match &options.endpoint {
        Some(endpoint) => (endpoint.clone(), options.path_style),
        None => {
            let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
            (format!("https://s3.{region}.{domain}").parse()?, bucket.contains('.'))
        }
    };
    let base = server.path().trim_end_matches('/').to_owned();
    if in_path {
        return Ok((server, format!("{base}/{}", web::encode(bucket, false))));
    }
    let host = format!("{bucket}.{}", server.host_str().unwrap_or_default());
    let mut own = server;
    own.set_host(Some(&host)).with_context(|| format!("bucket {bucket:?} cannot be a part of a host's name"))?;
    Ok((own, base))
}

/// The text of an answer that may be an error although its status is success.
async fn done(response: Response) -> Result<String> {
    let bytes = web::whole(accepted(response).await?, ANSWER_BYTES_MAX).await?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if let Some(error) = web::element(&text, "Error") {
        let of = |name| web::element(error, name).unwrap_or_default();
        anyhow::bail!("the server answers {}: {}", of("Code"), of("Message"));
    }
    Ok(text)
}

#[async_trait]
impl Objects for Bucket {
    fn place(&self) -> String {
        self.place.clone()
    }

    async fn has(&self, digest: &str) -> Result<bool> {
        Ok(self.known(&self.blob_key(digest)).await?.is_some())
    }

    /// What is too large to be copied is written anew when its time has come.
    async fn keep(&self, digest: &str) -> Result<bool> {
        let key = self.blob_key(digest);
        match self.known(&key).await? {
            None => Ok(false),
            Some(known) if known.age <= self.touch_refresh => Ok(true),
            Some(known) if known.size >= COPY_BYTES_MAX => Ok(false),
            Some(_) => self.touch(&key).await.map(|()| true),
        }
    }

    async fn read(&self, digest: &str, offset: u64) -> Result<Reader> {
        let key = self.blob_key(digest);
        let response = self.get(&key, offset).await.with_context(|| format!("read {key}"))?;
        Ok(web::reader(response.with_context(|| format!("{key} is not in {}", self.place))?))
    }

    async fn write(&self, digest: &str, size: u64, from: Reader, report: Report<'_>) -> Result<()> {
        let key = self.blob_key(digest);
        if size > PART_BYTES {
            return self.put_parts(&key, size, from, report).await;
        }
        let parts: Vec<_> = parts(from, size, PART_BYTES).try_collect().await?;
        self.put(&key, parts.into_iter().next().map(|(_, bytes)| bytes).unwrap_or_default()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> (String, String) {
        let pairs = [("bucket", "b"), ("region", "eu-west-1")].iter().chain(pairs);
        let attrs = pairs.map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let (server, base) = address(&Options::read(&attrs, &|_| None).unwrap()).unwrap();
        (server.to_string(), base)
    }

    #[test]
    fn where_buckets_are() {
        let is = |server: &str, base: &str| (server.to_owned(), base.to_owned());
        let minio = ("endpoint_url", "http://minio:9000/s3/");
        assert_eq!(of(&[]), is("https://b.s3.eu-west-1.amazonaws.com/", ""));
        assert_eq!(of(&[("bucket", "b.c")]), is("https://s3.eu-west-1.amazonaws.com/", "/b.c"));
        assert_eq!(of(&[("region", "cn-north-1")]), is("https://b.s3.cn-north-1.amazonaws.com.cn/", ""));
        assert_eq!(of(&[minio]), is("http://b.minio:9000/s3/", "/s3"));
        assert_eq!(of(&[minio, ("use_path_style", "true")]), is("http://minio:9000/s3/", "/s3/b"));
    }
}
