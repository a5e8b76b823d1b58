//! What cosign writes into the annotations of a layer, as a sigstore bundle: so there is one way to check both.

use std::collections::HashMap;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

/// Where cosign writes what.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const CHAIN: &str = "dev.sigstore.cosign/chain";
const LOG_ENTRY: &str = "dev.sigstore.cosign/bundle";
const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";

/// The oldest bundles have the promise of a log; those of a log that only proves came later, and so did those without any log.
const PROMISED: &str = "application/vnd.dev.sigstore.bundle+json;version=0.1";
const UNPROMISED: &str = "application/vnd.dev.sigstore.bundle+json;version=0.2";

/// The annotations of a layer.
pub(crate) struct Annotations<'a>(pub &'a HashMap<String, String>);

/// What a log said of an entry.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LogEntry {
    signed_entry_timestamp: String,
    payload: LogPayload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogPayload {
    body: String,
    integrated_time: i64,
    log_index: i64,
    #[serde(rename = "logID")]
    log_id: String,
}

/// What kind of entry a log's entry is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    api_version: String,
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Timestamp {
    #[serde(rename = "SignedRFC3161Timestamp")]
    signed: String,
}

impl Annotations<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// The signature's bytes.
    pub fn signature(&self) -> Option<Vec<u8>> {
        BASE64_STANDARD.decode(self.get(SIGNATURE)?).ok()
    }

    /// The certificate and those that lead from it to a root, in base64.
    fn certificates(&self) -> Vec<String> {
        let texts = [self.get(CERTIFICATE), self.get(CHAIN)];
        texts.into_iter().flatten().flat_map(certificates).collect()
    }

    fn log_entry(&self) -> Option<Value> {
        let entry: LogEntry = serde_json::from_str(self.get(LOG_ENTRY)?).ok()?;
        let payload = entry.payload;
        let body: Body = serde_json::from_slice(&BASE64_STANDARD.decode(&payload.body).ok()?).ok()?;
        let log = BASE64_STANDARD.encode(hex::decode(&payload.log_id).ok()?);
        Some(json!({
            "logIndex": payload.log_index.to_string(),
            "logId": {"keyId": log},
            "kindVersion": {"kind": body.kind, "version": body.api_version},
            "integratedTime": payload.integrated_time.to_string(),
            "inclusionPromise": {"signedEntryTimestamp": entry.signed_entry_timestamp},
            "canonicalizedBody": payload.body,
        }))
    }

    fn timestamp(&self) -> Option<Value> {
        let timestamp: Timestamp = serde_json::from_str(self.get(TIMESTAMP)?).ok()?;
        Some(json!({"signedTimestamp": timestamp.signed}))
    }
}

/// The certificates of a PEM text, in base64.
fn certificates(pem: &str) -> Vec<String> {
    let parts = pem.split("-----BEGIN CERTIFICATE-----").skip(1);
    let bodies = parts.filter_map(|part| part.split_once("-----END CERTIFICATE-----"));
    bodies.map(|(body, _)| body.split_whitespace().collect()).collect()
}

/// A signature that has a certificate, as a bundle; none where it has none.
pub(crate) fn bundle(annotations: &Annotations, payload: &[u8], signature: &[u8]) -> Option<String> {
    annotations.get(CERTIFICATE)?;
    let chain: Vec<_> = annotations.certificates().into_iter().map(|raw| json!({"rawBytes": raw})).collect();
    let entry = annotations.log_entry();
    let bundle = json!({
        "mediaType": if entry.is_some() { PROMISED } else { UNPROMISED },
        "verificationMaterial": {
            "x509CertificateChain": {"certificates": chain},
            "tlogEntries": entry.into_iter().collect::<Vec<_>>(),
            "timestampVerificationData": {"rfc3161Timestamps": annotations.timestamp().into_iter().collect::<Vec<_>>()},
        },
        "messageSignature": {
            "messageDigest": {
                "algorithm": "SHA2_256",
                "digest": BASE64_STANDARD.encode(digest(&SHA256, payload)),
            },
            "signature": BASE64_STANDARD.encode(signature),
        },
    });
    Some(bundle.to_string())
}
