//! Signatures of requests to S3: AWS's Signature Version 4, in the `Authorization` header.

use std::collections::BTreeMap;

use aws_lc_rs::{
    digest::{SHA256, digest},
    hmac,
};

use super::credentials::Credentials;
use crate::web::encode;

/// How S3 calls itself in signatures.
const SERVICE: &str = "s3";
/// How the signature is made, and what the scope of a key ends with.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SCOPE_END: &str = "aws4_request";

/// What is signed of a request.
pub(super) struct Signed<'a> {
    pub method: &'a str,
    /// From `/` on, percent-encoded.
    pub path: &'a str,
    /// As [`query`] writes it.
    pub query: &'a str,
    /// All headers that are signed, by their name in small letters: `host` and all of `x-amz-*`, above all `x-amz-date` and
    /// `x-amz-content-sha256`.
    pub headers: &'a BTreeMap<String, String>,
}

impl Signed<'_> {
    /// The `Authorization` header.
    pub(super) fn authorization(&self, credentials: &Credentials, region: &str) -> String {
        let header = |name: &str| self.headers.get(name).map_or("", String::as_str);
        let (time, payload) = (header("x-amz-date"), header("x-amz-content-sha256"));
        let names = self.headers.keys().map(String::as_str).collect::<Vec<_>>().join(";");
        let headers: String = self.headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
        let request = [self.method, self.path, self.query, headers.as_str(), names.as_str(), payload].join("\n");
        let date = time.split('T').next().unwrap_or_default();
        let scope = [date, region, SERVICE, SCOPE_END].join("/");
        let text = [ALGORITHM, time, &scope, &sha256(request.as_bytes())].join("\n");
        let first = format!("AWS4{}", credentials.secret).into_bytes();
        let key = [date, region, SERVICE, SCOPE_END].iter().fold(first, |key, word| hmac(&key, word));
        let signature = hex::encode(hmac(&key, &text));
        format!("{ALGORITHM} Credential={}/{scope}, SignedHeaders={names}, Signature={signature}", credentials.id)
    }
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// SHA-256 in hex.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}

/// A query, in the order in which it is signed.
pub(super) fn query(pairs: &[(&str, &str)]) -> String {
    let mut pairs: Vec<_> =
        pairs.iter().map(|(name, value)| format!("{}={}", encode(name, false), encode(value, false))).collect();
    pairs.sort();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    /// The examples of Amazon's reference, "Authenticating Requests: Using the Authorization Header".
    #[test]
    fn the_examples_of_the_reference() {
        let text = sha256(b"Welcome to Amazon S3.");
        let put = [("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")];
        for (method, path, query, payload, headers, want) in [
            (
                "GET",
                "/test.txt",
                query(&[]),
                EMPTY,
                &[("range", "bytes=0-9")][..],
                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            ),
            (
                "PUT",
                "/test$file.text",
                query(&[]),
                &text,
                &put,
                "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
            ),
            (
                "GET",
                "/",
                query(&[("lifecycle", "")]),
                EMPTY,
                &[],
                "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            ),
            (
                "GET",
                "/",
                query(&[("prefix", "J"), ("max-keys", "2")]),
                EMPTY,
                &[],
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ] {
            let all = [
                ("host", "examplebucket.s3.amazonaws.com"),
                ("x-amz-content-sha256", payload),
                ("x-amz-date", "20130524T000000Z"),
            ];
            let headers =
                all.iter().chain(headers).map(|(name, value)| (name.to_string(), value.to_string())).collect();
            let credentials = Credentials {
                id: "AKIAIOSFODNN7EXAMPLE".into(),
                secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
                token: None,
            };
            let path = encode(path, true);
            let signed = Signed { method, path: &path, query: &query, headers: &headers };
            let authorization = signed.authorization(&credentials, "us-east-1");
            assert!(authorization.ends_with(want), "{method} {path}: {authorization}");
        }
    }
}
