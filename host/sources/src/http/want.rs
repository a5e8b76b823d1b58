//! What is asked of a web server, and how the file is written.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use session::Session;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::Record;
use crate::{
    Request,
    attrs::Attrs,
    file_attrs::{FileAttrs, is_name},
};

/// The name of a file whose URL has none.
const NAME_DEFAULT: &str = "download";
/// What an attribute for a header begins with.
const HEADER_PREFIX: &str = "http.header.";

/// What is wanted.
pub(super) struct Want {
    pub(super) url: Url,
    pub(super) checksum: Option<String>,
    pub(super) file: FileAttrs,
    pub(super) signed: Option<Signed>,
    auth_secret: Option<String>,
    headers: HeaderMap,
}

/// An armored OpenPGP signature, and the armored keys that may have made it.
#[derive(Clone)]
pub(super) struct Signed {
    pub(super) signature: String,
    pub(super) keys: String,
}

impl Want {
    /// Whether the file is something that the client sends.
    pub(super) fn is_upload(&self) -> bool {
        self.url.host_str() == Some(session::upload::UPLOAD_HOST)
    }

    pub(super) fn read(request: &Request) -> anyhow::Result<Want> {
        let attrs = Attrs(&request.attrs);
        let url =
            Url::parse(&request.identifier).with_context(|| format!("source {:?} is no URL", request.identifier))?;
        let checksum = attrs.text("http.checksum").map(String::from);
        if let Some(bad) = checksum.as_deref().filter(|sum| !sum.starts_with("sha256:") || !oci::is_digest(sum)) {
            bail!("source attribute http.checksum is {bad:?}: want sha256: and 64 lower-case hexadecimal digits");
        }
        Ok(Want {
            checksum,
            file: FileAttrs::read(&attrs)?,
            signed: signed(&attrs)?,
            auth_secret: attrs.text("http.authheadersecret").map(String::from),
            headers: headers(request)?,
            url,
        })
    }

    /// The URL without what may be secret.
    pub(super) fn shown(&self) -> String {
        let mut url = self.url.clone();
        // Only URLs that cannot have them refuse this.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.to_string()
    }

    /// Under what the answer is noted. What was fetched with one secret's name is not given to who names another.
    pub(super) fn record_key(&self) -> Vec<u8> {
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes())))
            .collect();
        let text = serde_json::json!([
            self.url.as_str(),
            self.file.name,
            self.file.mode,
            self.file.uid,
            self.file.gid,
            self.auth_secret,
            headers,
        ]);
        format!("http/{}", hex::encode(Sha256::digest(text.to_string().as_bytes()))).into_bytes()
    }

    /// The cache key of the file with this digest and name.
    pub(super) fn key(&self, digest: &str, filename: &str) -> String {
        let text = serde_json::json!([
            digest,
            filename,
            self.file.mode,
            self.file.uid.unwrap_or(0),
            self.file.gid.unwrap_or(0)
        ]);
        format!("http:{}", hex::encode(Sha256::digest(text.to_string().as_bytes())))
    }

    /// The name of the file: what was asked for, or what the server says, or the end of the URL.
    pub(super) fn filename(&self, disposition: Option<&str>) -> anyhow::Result<String> {
        if let Some(name) = &self.file.name {
            return Ok(name.clone());
        }
        let said = disposition.and_then(disposition_name);
        let last = |mut segments: std::str::Split<'_, char>| segments.rfind(|segment| !segment.is_empty()).map(decode);
        let from_url = self.url.path_segments().and_then(last);
        let named = said.or(from_url.filter(|name| is_name(name)));
        Ok(named.unwrap_or_else(|| NAME_DEFAULT.to_string()))
    }

    /// What a client gives for all downloads from the host.
    async fn host_secret(&self, sessions: &[Arc<dyn Session>]) -> anyhow::Result<Option<HeaderValue>> {
        let Some(host) = self.url.host_str() else { return Ok(None) };
        for (prefix, is_token) in HOST_SECRETS {
            let found = secret(sessions, &format!("{prefix}{host}"), if is_token { "Bearer " } else { "" }).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The headers of the request: those asked for, a secret, and what was got before.
    pub(super) async fn headers(
        &self,
        sessions: &[Arc<dyn Session>],
        known: Option<&Record>,
    ) -> anyhow::Result<HeaderMap> {
        let mut headers = self.headers.clone();
        let authorization = match &self.auth_secret {
            Some(id) => Some(needed_secret(sessions, id).await?),
            None => self.host_secret(sessions).await?,
        };
        if let Some(authorization) = authorization {
            headers.insert(header::AUTHORIZATION, authorization);
        }
        let before = [
            (header::IF_NONE_MATCH, known.and_then(|record| record.etag.as_deref())),
            (header::IF_MODIFIED_SINCE, known.and_then(|record| record.last_modified.as_deref())),
        ];
        for (name, value) in before {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name, value);
            }
        }
        Ok(headers)
    }
}

/// What the names of secrets begin with that are for all downloads from a host, and whether they are tokens. A token comes first.
const HOST_SECRETS: [(&str, bool); 2] = [("HTTP_AUTH_TOKEN_", true), ("HTTP_AUTH_HEADER_", false)];

fn signed(attrs: &Attrs<'_>) -> anyhow::Result<Option<Signed>> {
    let (keys, signature) = (attrs.text("http.sig.pubkey"), attrs.text("http.sig.signature"));
    match (keys, signature) {
        (None, None) => Ok(None),
        (Some(keys), Some(signature)) => Ok(Some(Signed { signature: signature.into(), keys: keys.into() })),
        _ => bail!(
            "source attributes http.sig.pubkey and http.sig.signature: a file is checked with both, and one is given"
        ),
    }
}

fn headers(request: &Request) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (attr, value) in &request.attrs {
        let Some(name) = attr.strip_prefix(HEADER_PREFIX) else { continue };
        let name: HeaderName = name.parse().with_context(|| format!("source attribute {attr}: no header's name"))?;
        let value: HeaderValue =
            value.parse().with_context(|| format!("source attribute {attr}: no header's value"))?;
        headers.insert(name, value);
    }
    Ok(headers)
}

/// A secret as the value of a header, from the first client that has it.
async fn secret(sessions: &[Arc<dyn Session>], id: &str, before: &str) -> anyhow::Result<Option<HeaderValue>> {
    for session in sessions {
        if let Some(bytes) = session.secret(id).await? {
            let text = [before.as_bytes(), bytes.trim_ascii()].concat();
            let mut value = HeaderValue::from_bytes(&text)
                .map_err(|_| anyhow::anyhow!("secret {id:?} has characters that no header may have"))?;
            value.set_sensitive(true);
            return Ok(Some(value));
        }
    }
    Ok(None)
}

async fn needed_secret(sessions: &[Arc<dyn Session>], id: &str) -> anyhow::Result<HeaderValue> {
    let found = secret(sessions, id, "").await?;
    found.with_context(|| {
        format!("secret {id:?}, wanted for the Authorization header, is not there: give it with --secret id={id}")
    })
}

/// The file name in a `Content-Disposition`; its last part, when it has directories.
fn disposition_name(value: &str) -> Option<String> {
    let param = |wanted: &str| {
        let mut params = split_params(value).into_iter();
        params.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
    };
    let extended = param("filename*").and_then(|value| {
        let (charset, rest) = value.split_once('\'')?;
        let (_language, encoded) = rest.split_once('\'')?;
        charset.eq_ignore_ascii_case("utf-8").then(|| decode(encoded))
    });
    let name = extended.or_else(|| param("filename"))?;
    let last = name.rsplit(['/', '\\']).next()?.to_string();
    is_name(&last).then_some(last)
}

/// `; name=value; name="va;lue"`, after the first word.
fn split_params(value: &str) -> Vec<(String, String)> {
    let mut params = Vec::new();
    let mut rest = value.split_once(';').map_or("", |(_, rest)| rest);
    while let Some((name, after)) = rest.split_once('=') {
        let after = after.trim_start();
        let (text, end) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim().to_string(), &after[end..])
            }
        };
        params.push((name.trim().to_string(), text));
        rest = end.trim_start().trim_start_matches(';');
    }
    params
}

/// What stands before the closing quote, and what follows it.
fn unquote(text: &str) -> (String, &str) {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (out, &text[at + 1..]),
            '\\' => out.extend(chars.next().map(|(_, c)| c)),
            c => out.push(c),
        }
    }
    (out, "")
}

/// Percent signs resolved; bytes that are no UTF-8 are replaced.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = (*first == b'%').then(|| tail.get(..2)).flatten();
        let byte = hex.and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files() {
        // URL; Content-Disposition; the name.
        let table = [
            ("http://a.b/c/d.tar.gz", None, "d.tar.gz"),
            ("http://a.b/c/d?x=/y", None, "d"),
            ("http://a.b/", None, "download"),
            ("http://a.b", None, "download"),
            ("http://a.b/c/", None, "c"),
            ("http://a.b/x%20y", None, "x y"),
            ("http://a.b/x%2fy", None, "download"),
            ("http://a.b/%2e%2e", None, "download"),
            ("http://a.b/c", Some("attachment; filename=e.txt"), "e.txt"),
            ("http://a.b/c", Some(r#"attachment; filename="e f;g.txt"; size=1"#), "e f;g.txt"),
            ("http://a.b/c", Some(r#"attachment; filename="a\"b""#), "a\"b"),
            ("http://a.b/c", Some(r#"attachment; filename="../../etc/passwd""#), "passwd"),
            ("http://a.b/c", Some(r#"attachment; filename="..""#), "c"),
            ("http://a.b/c", Some(r#"attachment; filename="x/""#), "c"),
            ("http://a.b/c", Some("attachment; filename*=UTF-8''%e2%82%ac.txt; filename=e.txt"), "€.txt"),
            ("http://a.b/c", Some("attachment; filename*=UTF-8''%2e%2e%2fx"), "x"),
            ("http://a.b/c", Some("inline"), "c"),
            ("http://a.b/c", Some("="), "c"),
        ];
        for (url, disposition, name) in table {
            assert_eq!(want(url, &[]).unwrap().filename(disposition).unwrap(), name, "{url} {disposition:?}");
        }
    }

    #[test]
    fn attributes() {
        let named = want("http://a.b/c", &[("http.filename", "d"), ("http.perm", "0755"), ("http.uid", "7")]).unwrap();
        assert_eq!(named.filename(Some("attachment; filename=e")).unwrap(), "d");
        assert_eq!((named.file.mode, named.file.uid, named.file.gid), (0o755, Some(7), None));
        assert_eq!(want("http://a.b", &[]).unwrap().file.mode, 0o600);
        assert_eq!(want("http://u:p@a.b/c", &[]).unwrap().shown(), "http://a.b/c");
        let refused = [
            ("http.filename", "../x"),
            ("http.filename", ".."),
            ("http.perm", "0999"),
            ("http.perm", "99999"),
            ("http.uid", "-1"),
            ("http.checksum", "sha256:1"),
            ("http.checksum", "md5:0"),
            ("http.header.a b", "c"),
            ("http.header.x", "a\nb"),
            ("http.sig.pubkey", "x"),
        ];
        for (attr, value) in refused {
            let error = want("http://a.b/c", &[(attr, value)]).err().unwrap_or_else(|| panic!("{attr}={value}"));
            assert!(error.to_string().contains(attr), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_server_cannot_name_a_file_elsewhere(value in "[a-z]{0,3};? ?filename\\*?=.{0,24}", url in "[a-z/.%2ef\\\\]{0,12}") {
            let name = want(&format!("http://a.b/{url}"), &[]).unwrap().filename(Some(&value)).unwrap();
            proptest::prop_assert!(is_name(&name), "{}", name);
        }
    }

    fn want(url: &str, attrs: &[(&str, &str)]) -> anyhow::Result<Want> {
        let attrs = attrs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Want::read(&Request {
            identifier: url.to_string(),
            attrs,
            platform: Default::default(),
            sessions: Vec::new(),
            progress: Arc::new(|_, _, _, _| {}),
            steps: Arc::new(|_, _| {}),
        })
    }
}
