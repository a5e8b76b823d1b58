//! One request, and its answer written as the only file of a tree.

use std::{
    borrow::Cow,
    io::Write as _,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use http::{HeaderMap, StatusCode, header};
use sha2::{Digest as _, Sha256};
use store::{Snapshot, Store};
use tokio::io::AsyncWriteExt as _;

use super::want::Want;
use crate::Request;

/// How long a connection may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a server may be silent.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// How many redirects are followed.
const REDIRECTS_MAX: usize = 10;
/// How often a request is made when the server fails or breaks off.
const TRIES_MAX: u32 = 3;
/// The wait after a first failure; it doubles.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// What a server answered.
pub(super) enum Answer {
    /// What it sent before still holds.
    Unchanged,
    File(Fetched),
}

/// A file that came.
pub(super) struct Fetched {
    pub(super) digest: String,
    pub(super) filename: String,
    pub(super) snapshot: Snapshot,
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
}

/// Why a try failed, and whether another may do better.
enum Failure {
    Again(anyhow::Error),
    Final(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::Final(error)
    }
}

/// A client that goes to http and https alone, and from https to https alone.
pub(super) fn client() -> anyhow::Result<reqwest::Client> {
    let redirects = reqwest::redirect::Policy::custom(|attempt| {
        let downgrade =
            attempt.previous().last().is_some_and(|from| from.scheme() == "https") && attempt.url().scheme() != "https";
        if attempt.previous().len() > REDIRECTS_MAX {
            attempt.error(format!("more than {REDIRECTS_MAX} redirects"))
        } else if downgrade || !matches!(attempt.url().scheme(), "http" | "https") {
            attempt.error("redirect to something that is not as safe")
        } else {
            attempt.follow()
        }
    });
    let builder = reqwest::Client::builder()
        .user_agent(concat!("pintle/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .referer(false)
        .redirect(redirects);
    Ok(builder.build()?)
}

/// Asks for the file, a few times where the server fails.
pub(super) async fn fetch(
    client: &reqwest::Client,
    store: &Store,
    want: &Want,
    headers: HeaderMap,
    request: &Request,
) -> anyhow::Result<Answer> {
    let mut delay = RETRY_DELAY;
    for _ in 1..TRIES_MAX {
        match fetch_once(client, store, want, headers.clone(), request).await {
            Ok(answer) => return Ok(answer),
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Again(error)) => tracing::debug!("{error:#}; trying again"),
        }
        tokio::time::sleep(delay).await;
        delay *= 2;
    }
    match fetch_once(client, store, want, headers, request).await {
        Ok(answer) => Ok(answer),
        Err(Failure::Final(error) | Failure::Again(error)) => Err(error),
    }
}

async fn fetch_once(
    client: &reqwest::Client,
    store: &Store,
    want: &Want,
    headers: HeaderMap,
    request: &Request,
) -> Result<Answer, Failure> {
    let shown = want.shown();
    let unreachable = |error: reqwest::Error| {
        let again = error.is_connect() || error.is_timeout();
        let error = anyhow::Error::new(error.without_url()).context(format!("{shown}: cannot be fetched"));
        if again { Failure::Again(error) } else { Failure::Final(error) }
    };
    // A file is what is left when what was only done for the way is undone, as for BuildKit: its checksum is of that.
    let asked = client.get(want.url.clone()).headers(headers).header(header::ACCEPT_ENCODING, GZIP);
    let response = asked.send().await.map_err(unreachable)?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_MODIFIED => return Ok(Answer::Unchanged),
        status => {
            let error = anyhow::anyhow!("{shown}: the server answers {status}");
            let again = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            return Err(if again { Failure::Again(error) } else { Failure::Final(error) });
        }
    }
    write(store, want, Body::of(response), request).await.map(Answer::File)
}

/// What one of the clients uploads. It can be had once.
pub(super) async fn upload(store: &Store, want: &Want, request: &Request) -> anyhow::Result<Fetched> {
    let mut failed = anyhow::anyhow!("{}: the build has no client that could send it", want.shown());
    for session in &request.sessions {
        match session.pull_upload(want.url.path()).await {
            Ok(reader) => {
                let chunks = tokio_util::io::ReaderStream::new(reader).map_err(anyhow::Error::from).boxed();
                let body =
                    Body { etag: None, last_modified: None, disposition: None, total: 0, is_packed: false, chunks };
                return write(store, want, body, request).await.map_err(|failure| match failure {
                    Failure::Again(error) | Failure::Final(error) => error,
                });
            }
            Err(error) => failed = error.context(want.shown()),
        }
    }
    Err(failed)
}

/// What is written, and what is said of it.
struct Body {
    etag: Option<String>,
    last_modified: Option<String>,
    disposition: Option<String>,
    /// Bytes; 0 when that is not known.
    total: u64,
    /// With gzip, for the way.
    is_packed: bool,
    chunks: BoxStream<'static, anyhow::Result<Bytes>>,
}

impl Body {
    fn of(response: reqwest::Response) -> Self {
        let text = |name: header::HeaderName| {
            let value = response.headers().get(name).and_then(|value| value.to_str().ok());
            value.map(String::from)
        };
        let (etag, last_modified) = (text(header::ETAG), text(header::LAST_MODIFIED));
        let (disposition, total) = (text(header::CONTENT_DISPOSITION), response.content_length().unwrap_or(0));
        let is_packed = text(header::CONTENT_ENCODING).is_some_and(|encoding| encoding.eq_ignore_ascii_case(GZIP));
        let chunks = futures::stream::try_unfold(response, async |mut response| {
            let chunk = response.chunk().await.map_err(|error| anyhow::Error::new(error.without_url()))?;
            Ok(chunk.map(|chunk| (chunk, response)))
        });
        Body { etag, last_modified, disposition, total, is_packed, chunks: chunks.boxed() }
    }
}

/// What a server may do to a file for the way; also the name by which it says so.
const GZIP: &str = "gzip";
/// So many bytes are unpacked at once: they become at most a megabyte.
const PACKED_BYTES: usize = 1024;

/// Undoes what was done for the way, where anything was.
struct Unpacker(Option<MultiGzDecoder<Vec<u8>>>);

impl Unpacker {
    fn piece<'a>(&mut self, part: &'a [u8]) -> std::io::Result<Cow<'a, [u8]>> {
        let Some(decoder) = &mut self.0 else { return Ok(part.into()) };
        decoder.write_all(part)?;
        Ok(std::mem::take(decoder.get_mut()).into())
    }

    fn last(self) -> std::io::Result<Vec<u8>> {
        self.0.map_or(Ok(Vec::new()), MultiGzDecoder::finish)
    }
}

/// Streams the body into the only file of a new tree.
async fn write(store: &Store, want: &Want, body: Body, request: &Request) -> Result<Fetched, Failure> {
    let shown = want.shown();
    let Body { etag, last_modified, disposition, total, is_packed, mut chunks } = body;
    let filename = match &want.checksum {
        // The name is part of the key, which was given out before the server was asked.
        Some(_) => want.filename(None)?,
        None => want.filename(disposition.as_deref())?,
    };
    let draft = store.draft(&store.scratch()).await.map_err(anyhow::Error::from)?;
    let path = draft.path().join(&filename);
    let failed = || format!("{shown}: cannot write {}", path.display());
    let mut file = tokio::fs::File::create_new(&path).await.with_context(failed)?;
    let (mut hash, mut done) = (Sha256::new(), 0);
    let mut unpacker = Unpacker(is_packed.then(|| MultiGzDecoder::new(Vec::new())));
    let broken = || format!("{shown}: the server says that its answer is packed with gzip, and it is not");
    loop {
        let broke = |error: anyhow::Error| {
            Failure::Again(error.context(format!("{shown}: the server broke off after {done} bytes")))
        };
        let Some(chunk) = chunks.try_next().await.map_err(broke)? else { break };
        for part in chunk.chunks(if is_packed { PACKED_BYTES } else { chunk.len().max(1) }) {
            let piece = unpacker.piece(part).with_context(broken)?;
            hash.update(&piece);
            file.write_all(&piece).await.with_context(failed)?;
        }
        done += chunk.len() as u64;
        (request.progress)(&shown, "downloading", done, total);
    }
    let rest = unpacker.last().with_context(broken)?;
    hash.update(&rest);
    file.write_all(&rest).await.with_context(failed)?;
    file.flush().await.with_context(failed)?;
    drop(file);
    (request.progress)(&shown, "downloading", done, done);
    let digest = format!("sha256:{}", hex::encode(hash.finalize()));
    if let Some(checksum) = want.checksum.as_deref().filter(|checksum| *checksum != digest) {
        return Err(Failure::Final(anyhow::anyhow!("{shown}: has digest {digest}, want {checksum}")));
    }
    let time = last_modified.as_deref().and_then(http_date).unwrap_or(SystemTime::UNIX_EPOCH);
    want.file.finish(&path, time)?;
    let snapshot = draft.commit().await.map_err(anyhow::Error::from)?;
    Ok(Fetched { digest, filename, snapshot, etag, last_modified })
}

/// Seconds since 1970 of a date as HTTP writes it.
pub(super) fn seconds(text: &str) -> Option<i64> {
    i64::try_from(http_date(text)?.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs()).ok()
}

/// A date as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT`. The two old forms are not read.
fn http_date(text: &str) -> Option<SystemTime> {
    let (_, rest) = text.split_once(", ")?;
    let parts: Vec<&str> = rest.split([' ', ':']).collect();
    let [day, month, year, hour, minute, second, "GMT"] = parts[..] else { return None };
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|name| *name == month)? as i64 + 1;
    let number = |text: &str| text.parse::<i64>().ok().filter(|n| (0..10_000).contains(n));
    let (year, day) = (number(year)?, number(day)?);
    // Days since 1970 in the Gregorian calendar, with the year beginning in March so that the leap day is its last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let seconds = days * 86_400 + number(hour)? * 3_600 + number(minute)? * 60 + number(second)?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let table = [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Tue, 29 Feb 2000 12:00:00 GMT", Some(951_825_600)),
            ("Wed, 31 Dec 1969 23:59:59 GMT", None),
            ("Sunday, 06-Nov-94 08:49:37 GMT", None),
            ("", None),
        ];
        for (text, want) in table {
            let seconds = http_date(text).map(|time| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs());
            assert_eq!(seconds, want, "{text}");
        }
    }
}
