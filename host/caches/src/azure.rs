//! Blobs of Azure's storage: the requests to them, and their signatures by the key of an account.

use anyhow::{Context as _, Result, bail};
use aws_lc_rs::hmac;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use exporters::content::Reader;
use futures::{StreamExt as _, TryStreamExt as _};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use reqwest::Response;
use url::Url;

use crate::{
    objects::{PART_BYTES, PARTS_AT_ONCE, Report, parts},
    web::{Web, accepted},
};

/// The version of the protocol.
const VERSION: &str = "2021-12-02";
/// Headers whose values are signed, in their order.
const SIGNED: [header::HeaderName; 11] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LENGTH,
    // Content-MD5 has no constant; it is never sent.
    header::HeaderName::from_static("content-md5"),
    header::CONTENT_TYPE,
    header::DATE,
    header::IF_MODIFIED_SINCE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_UNMODIFIED_SINCE,
    header::RANGE,
];
/// For a blob that must not be there yet.
const UNLESS_THERE: (&str, &str) = ("if-none-match", "*");

/// What lets somebody in.
#[derive(Clone)]
pub(crate) enum Access {
    /// The key of an account.
    Key { account: String, key: Vec<u8> },
    /// The URL itself, which is signed.
    Url,
}

/// Asks for blobs, by their URL.
#[derive(Clone)]
pub(crate) struct Azure {
    pub(crate) web: Web,
    pub(crate) access: Access,
    pub(crate) tries: u32,
}

impl Azure {
    /// Sends one request.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: &[(&'static str, &str)],
        body: Bytes,
    ) -> Result<Response> {
        let make = |client: &reqwest::Client| {
            let mut all = HeaderMap::new();
            let date = Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            for (name, value) in [("x-ms-date", date.as_str()), ("x-ms-version", VERSION)].iter().chain(headers) {
                all.insert(*name, HeaderValue::from_str(value)?);
            }
            all.insert(header::CONTENT_LENGTH, body.len().into());
            if let Access::Key { account, key } = &self.access {
                let signature = sign(key, &text(&method, url, &all, account));
                let authorization = format!("SharedKey {account}:{signature}");
                all.insert(header::AUTHORIZATION, HeaderValue::from_str(&authorization)?);
            }
            Ok(client.request(method.clone(), url.clone()).headers(all).body(body.clone()))
        };
        self.web.send(self.tries, make).await
    }

    /// Whether there is a blob.
    pub(crate) async fn has(&self, url: &Url) -> Result<bool> {
        let response = self.send(Method::HEAD, url, &[], Bytes::new()).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() => Ok(true),
            // The answer to this question has no text that says why; that to the other has.
            _ => Ok(self.get(url, 0).await?.is_some()),
        }
    }

    /// A blob from `offset` on, where there is one.
    pub(crate) async fn get(&self, url: &Url, offset: u64) -> Result<Option<Response>> {
        let range = format!("bytes={offset}-");
        let headers = [("x-ms-range", range.as_str())];
        let response = self.send(Method::GET, url, if offset == 0 { &[] } else { &headers }, Bytes::new()).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::OK if offset > 0 => bail!("the server does not give a part of a blob"),
            _ => accepted(response).await.map(Some),
        }
    }

    /// Writes a blob in one piece, over the one that is there.
    pub(crate) async fn put(&self, url: &Url, body: Bytes) -> Result<()> {
        let response = self.send(Method::PUT, url, &[("x-ms-blob-type", "BlockBlob")], body).await?;
        accepted(response).await.map(drop)
    }

    /// Writes a blob in parts, which appear together. That somebody else was quicker is as good.
    pub(crate) async fn put_parts(&self, url: &Url, size: u64, from: Reader, report: Report<'_>) -> Result<()> {
        let sent = parts(from, size, PART_BYTES)
            .map_ok(|(number, part)| self.put_part(url, number, part))
            .try_buffered(PARTS_AT_ONCE);
        let mut sent = std::pin::pin!(sent);
        let mut list = String::new();
        while let Some(part) = sent.next().await {
            let (number, id) = part?;
            list.push_str(&format!("<Latest>{id}</Latest>"));
            report(size.min(number * PART_BYTES));
        }
        let body = format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{list}</BlockList>").into();
        let url = with_query(url, &[("comp", "blocklist")]);
        let response = self.send(Method::PUT, &url, &[UNLESS_THERE], body).await?;
        match response.status() {
            StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => Ok(()),
            _ => accepted(response).await.map(drop),
        }
    }

    /// Sends a part; answers its number and id.
    async fn put_part(&self, url: &Url, number: u64, body: Bytes) -> Result<(u64, String)> {
        // The ids of a blob's parts are of one length.
        let id = BASE64_STANDARD.encode(format!("{number:09}"));
        let url = with_query(url, &[("comp", "block"), ("blockid", &id)]);
        let response = self.send(Method::PUT, &url, &[], body).await?;
        accepted(response).await.with_context(|| format!("part {number}"))?;
        Ok((number, id))
    }
}

/// The URL with more in its query.
pub(crate) fn with_query(url: &Url, more: &[(&str, &str)]) -> Url {
    let mut url = url.clone();
    url.query_pairs_mut().extend_pairs(more);
    url
}

fn sign(key: &[u8], text: &str) -> String {
    BASE64_STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()))
}

/// What is signed ("Authorize with Shared Key" in Azure's reference).
fn text(method: &Method, url: &Url, headers: &HeaderMap, account: &str) -> String {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut lines = vec![method.as_str().to_owned()];
    lines.extend(SIGNED.iter().map(|name| value(name.as_str()).to_owned()));
    // A length of zero is written as none.
    if lines[3] == "0" {
        lines[3].clear();
    }
    let mut own: Vec<_> = headers.keys().map(|name| name.as_str()).filter(|name| name.starts_with("x-ms-")).collect();
    own.sort_unstable();
    lines.extend(own.into_iter().map(|name| format!("{name}:{}", value(name).trim())));
    lines.push(format!("/{account}{}", url.path()));
    let mut query: Vec<_> =
        url.query_pairs().map(|(name, value)| format!("{}:{value}", name.to_ascii_lowercase())).collect();
    query.sort_unstable();
    lines.extend(query);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed() {
        let url: Url = "http://127.0.0.1:1/acc/c/blobs/sha256%3Aab?blockid=MDAx&comp=block".parse().unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-ms-version", "v"), ("x-ms-date", "d"), ("content-length", "3"), ("range", "r")] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let signed = text(&Method::PUT, &url, &headers, "acc");
        let want = "PUT\n\n\n3\n\n\n\n\n\n\n\nr\nx-ms-date:d\nx-ms-version:v\n/acc/acc/c/blobs/sha256%3Aab\nblockid:MDAx\ncomp:block";
        assert_eq!(signed, want);
        headers.insert("content-length", HeaderValue::from_static("0"));
        assert!(text(&Method::GET, &url, &headers, "acc").starts_with("GET\n\n\n\n\n"));
    }
}
