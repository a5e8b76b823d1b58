//! Requests to stores of objects: tried again where a server fails, and told in words where it refuses.

use std::{
    fmt::Write as _,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use exporters::content::Reader;
use futures::{StreamExt as _, TryStreamExt as _};
use http::StatusCode;
use reqwest::{Client, RequestBuilder, Response};
use tokio_util::io::StreamReader;

/// How long a connection may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a server may be silent; what is sent meanwhile counts too.
const READ_TIMEOUT: Duration = Duration::from_secs(300);
/// How often a request is made where nobody says how often.
pub(crate) const TRIES: u32 = 3;
/// The wait after a first failure; it doubles.
const RETRY_DELAY: Duration = Duration::from_millis(200);
/// The longest wait, also where the server asks for more.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(20);
/// How much of a refusal is read.
const REFUSAL_BYTES_MAX: u64 = 32 << 10;

/// A client, made when it is first needed: that reads every certificate of the system.
#[derive(Clone)]
pub(crate) struct Web {
    client: Arc<OnceLock<Client>>,
    offline: bool,
}

impl Web {
    /// One that asks nobody where it is `offline`.
    pub(crate) fn new(offline: bool) -> Web {
        Web { client: Arc::default(), offline }
    }

    fn client(&self) -> Result<&Client> {
        ensure!(!self.offline, "nothing may be fetched (offline)");
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let builder = Client::builder()
            .user_agent(concat!("pintle/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .referer(false)
            // What is signed is signed for one host.
            .redirect(reqwest::redirect::Policy::none());
        let made = builder.build()?;
        Ok(self.client.get_or_init(|| made))
    }

    /// Sends what `make` makes, anew for each try. The answer may be a refusal, but no failure that another try may mend.
    pub(crate) async fn send(
        &self,
        tries: u32,
        make: impl Fn(&Client) -> Result<RequestBuilder> + Send,
    ) -> Result<Response> {
        let client = self.client()?;
        for failed in 0.. {
            let is_last = failed + 1 >= tries;
            let mut wait = RETRY_DELAY.saturating_mul(1 << failed.min(10));
            match make(client)?.send().await {
                Ok(response) if is_last || !is_worth_another_try(response.status()) => return Ok(response),
                Ok(response) => wait = retry_after(&response).unwrap_or(wait),
                // The URL may hold what nobody else is to know.
                Err(error) if is_last => return Err(error.without_url()).context("the server cannot be reached"),
                Err(_) => {}
            }
            tokio::time::sleep(wait.min(RETRY_DELAY_MAX)).await;
        }
        unreachable!("the last try returns")
    }
}

fn is_worth_another_try(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(http::header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The answer, unless it is a refusal: then an error with what the server says.
pub(crate) async fn accepted(response: Response) -> Result<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text = whole(response, REFUSAL_BYTES_MAX).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    match said(&text) {
        said if said.is_empty() => anyhow::bail!("the server answers {status}"),
        said => anyhow::bail!("the server answers {status}: {said}"),
    }
}

/// What a refusal says: code and message of an answer in XML or JSON, else its first line.
fn said(text: &str) -> String {
    if let Some(code) = element(text, "Code") {
        return format!("{code}: {}", element(text, "Message").unwrap_or_default().lines().next().unwrap_or_default());
    }
    let json: Option<serde_json::Value> = serde_json::from_str(text).ok();
    let message = json.as_ref().and_then(|json| json.get("message").or_else(|| json.get("msg"))?.as_str());
    message.unwrap_or(text.trim()).lines().next().unwrap_or_default().to_owned()
}

/// The text of the first element of this name, in an answer that is simple enough to be read so.
pub(crate) fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}

/// A whole answer of no more than `limit` bytes.
pub(crate) async fn whole(response: Response, limit: u64) -> Result<Bytes> {
    let mut bytes = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(next) = stream.next().await {
        bytes.extend_from_slice(&next.map_err(reqwest::Error::without_url)?);
        ensure!(bytes.len() as u64 <= limit, "the answer has more than {limit} bytes");
    }
    Ok(bytes.into())
}

/// An answer as it comes.
pub(crate) fn reader(response: Response) -> Reader {
    let stream = response.bytes_stream().map_err(|error| std::io::Error::other(error.without_url()));
    Box::new(StreamReader::new(Box::pin(stream)))
}

/// Percent-encodes all that is no letter, digit, or one of `-_.~`; and `/` unless it is kept.
pub(crate) fn encode(text: &str, keep_slash: bool) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(byte.into()),
            b'/' if keep_slash => encoded.push('/'),
            _ => {
                // Writing to a string does not fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_refusals_say() {
        for (text, want) in [
            ("<Error><Code>NoSuchBucket</Code><Message>there is none</Message></Error>", "NoSuchBucket: there is none"),
            (r#"{"code":"x","message":"not you"}"#, "not you"),
            ("<html>\nlong</html>", "<html>"),
            ("", ""),
        ] {
            assert_eq!(said(text), want);
        }
    }

    #[test]
    fn names_are_encoded_whole() {
        assert_eq!(encode("a/b c+ä:~", true), "a/b%20c%2B%C3%A4%3A~");
        assert_eq!(encode("a/b", false), "a%2Fb");
    }
}
