//! An instance of sigstore made for a test: an authority, a certificate log and a log of signatures; and signers who get their
//! signatures wrong in one way each.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_STANDARD};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
    SerialNumber, SigningKey,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Extensions: who said who the subject is, and the receipts of certificate logs (RFC 6962, 3.3).
const ISSUER: [u64; 9] = [1, 3, 6, 1, 4, 1, 57264, 1, 8];
const RECEIPTS: [u64; 10] = [1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];

/// What is signed.
pub const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
/// How long before now the authority began, and the certificate was made.
const BEGAN: u64 = 7200;
const SIGNED: u64 = 3600;
/// How long a certificate holds.
const LIFETIME: u64 = 600;

pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_STANDARD.encode(bytes)
}

fn sha(bytes: impl AsRef<[u8]>) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// A moment so many seconds before now.
fn ago(seconds: u64) -> SystemTime {
    SystemTime::now() - Duration::from_secs(seconds)
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

/// What is wrong with a signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong {
    Nothing,
    /// The certificate.
    ForeignAuthority,
    OtherUsage,
    NoIssuer,
    NoReceipt,
    ReceiptOfOtherLog,
    ReceiptOfOtherCertificate,
    /// The log.
    NoEntry,
    NoPromise,
    PromiseForged,
    PromiseOfOtherLog,
    TooLate,
    TooEarly,
    EntryOfOtherSignature,
    EntryOfOtherCertificate,
    EntryOfOtherContent,
    ProofOfOtherEntry,
    CheckpointForged,
    CheckpointOfOtherTree,
    /// What is signed.
    OtherDigest,
    OtherKey,
    ChangedSince,
    OtherKind,
}

/// An instance.
pub struct Instance {
    authority: Issuer<'static, KeyPair>,
    root: Certificate,
    certificate_log: KeyPair,
    log: KeyPair,
}

impl Instance {
    pub fn new() -> Instance {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        (params.not_before, params.not_after) = (ago(BEGAN).into(), (ago(0) + Duration::from_secs(BEGAN)).into());
        let own = key();
        let root = params.self_signed(&own).unwrap();
        Instance { authority: Issuer::new(params, own), root, certificate_log: key(), log: key() }
    }

    /// The trust root of this instance, whose authority ended so many seconds ago, or is still there.
    pub fn trusted_root(&self, ended: Option<u64>) -> Value {
        let began = json!({"start": time(ago(BEGAN))});
        let mut held = began.clone();
        if let Some(ended) = ended {
            held["end"] = time(ago(ended)).into();
        }
        let log = |key: &KeyPair| {
            json!({
                "baseUrl": "https://log.example",
                "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": b64(key.subject_public_key_info()),
                    "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    "validFor": began,
                },
                "logId": {"keyId": b64(sha(key.subject_public_key_info()))},
            })
        };
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(&self.log)],
            "ctlogs": [log(&self.certificate_log)],
            "certificateAuthorities": [{
                "subject": {"organization": "example", "commonName": "an authority"},
                "uri": "https://authority.example",
                "certChain": {"certificates": [{"rawBytes": b64(self.root.der())}]},
                "validFor": held,
            }],
            "timestampAuthorities": [],
        })
    }

    /// A certificate of somebody.
    fn certificate(&self, subject: &str, issuer: &str, own: &KeyPair, wrong: Wrong) -> Certificate {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.serial_number = Some(SerialNumber::from_slice(&[1, 2, 3]));
        params.subject_alt_names = vec![match subject.contains("://") {
            true => SanType::URI(subject.try_into().unwrap()),
            false => SanType::Rfc822Name(subject.try_into().unwrap()),
        }];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match wrong {
            Wrong::OtherUsage => ExtendedKeyUsagePurpose::ServerAuth,
            _ => ExtendedKeyUsagePurpose::CodeSigning,
        }];
        let signed = ago(SIGNED);
        (params.not_before, params.not_after) = (signed.into(), (signed + Duration::from_secs(LIFETIME)).into());
        if wrong != Wrong::NoIssuer {
            let text = [&[0x0c, issuer.len() as u8], issuer.as_bytes()].concat();
            params.custom_extensions.push(CustomExtension::from_oid_content(&ISSUER, text));
        }
        let foreign = Instance::new();
        let authority = if wrong == Wrong::ForeignAuthority { &foreign.authority } else { &self.authority };
        if wrong != Wrong::NoReceipt {
            let mut named = params.clone();
            if wrong == Wrong::ReceiptOfOtherCertificate {
                named.serial_number = Some(SerialNumber::from_slice(&[9]));
            }
            let without = named.signed_by(own, authority).unwrap();
            let receipts = self.receipts(authority.key(), without.der(), wrong);
            params.custom_extensions.push(CustomExtension::from_oid_content(&RECEIPTS, receipts));
        }
        params.signed_by(own, authority).unwrap()
    }

    /// The receipt of the certificate log for a certificate that has none yet, as the content of an extension.
    fn receipts(&self, authority: &KeyPair, certificate: &[u8], wrong: Wrong) -> Vec<u8> {
        let other = key();
        let log = if wrong == Wrong::ReceiptOfOtherLog { &other } else { &self.certificate_log };
        let time = (unix(ago(SIGNED)) * 1000).to_be_bytes();
        let body = first(first(certificate).1).0;
        let length = &(body.len() as u32).to_be_bytes()[1..];
        let issuer = sha(authority.subject_public_key_info());
        let said = [&[0, 0], &time[..], &[0, 1], &issuer, length, body, &[0, 0]].concat();
        let signature = log.sign(&said).unwrap();
        let receipt = [
            &[0],
            &sha(log.subject_public_key_info())[..],
            &time,
            &[0, 0, 4, 3],
            &(signature.len() as u16).to_be_bytes(),
            &signature,
        ]
        .concat();
        let one = [&(receipt.len() as u16).to_be_bytes()[..], &receipt].concat();
        let list = [&(one.len() as u16).to_be_bytes()[..], &one].concat();
        let header: &[u8] = if list.len() < 0x80 { &[0x04] } else { &[0x04, 0x81] };
        [header, &[list.len() as u8], &list].concat()
    }

    /// A signature as cosign lays it under a tag: the payload, and the annotations of its layer.
    pub fn under_a_tag(&self, subject: &str, issuer: &str, wrong: Wrong) -> (Vec<u8>, Vec<(String, String)>) {
        let own = key();
        let certificate = self.certificate(subject, issuer, &own, wrong);
        let mut payload = json!({
            "critical": {
                "identity": {"docker-reference": "r.example/a"},
                "image": {"docker-manifest-digest": digest(wrong)},
                "type": if wrong == Wrong::OtherKind { "a receipt" } else { "cosign container image signature" },
            },
            "optional": null,
        })
        .to_string()
        .into_bytes();
        let signature = signer(&own, wrong).sign(&payload).unwrap();
        let entry = self.entry("hashedrekord", &payload, &signature, &certificate, wrong);
        if wrong == Wrong::ChangedSince {
            payload.push(b' ');
        }
        let mut annotations = vec![
            ("dev.cosignproject.cosign/signature", b64(&signature)),
            ("dev.sigstore.cosign/certificate", certificate.pem()),
            ("dev.sigstore.cosign/chain", self.root.pem()),
        ];
        if wrong != Wrong::NoEntry {
            let promise = json!({"SignedEntryTimestamp": entry.promise, "Payload": entry.promised});
            annotations.push(("dev.sigstore.cosign/bundle", promise.to_string()));
        }
        (payload, annotations.into_iter().map(|(name, text)| (name.to_owned(), text)).collect())
    }

    /// A signature as a bundle.
    pub fn bundle(&self, subject: &str, issuer: &str, wrong: Wrong) -> Value {
        let own = key();
        let certificate = self.certificate(subject, issuer, &own, wrong);
        let digest = digest(wrong);
        let hex = digest.strip_prefix("sha256:").unwrap();
        let kind = "application/vnd.in-toto+json";
        let about = match wrong {
            Wrong::OtherKind => "https://cosign.sigstore.dev/attestation/vuln/v1",
            _ => "https://sigstore.dev/cosign/sign/v1",
        };
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"digest": {"sha256": hex}}],
            "predicateType": about,
            "predicate": {},
        })
        .to_string();
        let message = format!("DSSEv1 {} {kind} {} {statement}", kind.len(), statement.len());
        let signature = signer(&own, wrong).sign(message.as_bytes()).unwrap();
        let entry = self.entry("dsse", statement.as_bytes(), &signature, &certificate, wrong);
        let statement = if wrong == Wrong::ChangedSince { format!("{statement} ") } else { statement };
        json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": {"rawBytes": b64(certificate.der())},
                "tlogEntries": if wrong == Wrong::NoEntry { json!([]) } else { json!([entry.proven]) },
            },
            "dsseEnvelope": {
                "payload": b64(statement),
                "payloadType": kind,
                "signatures": [{"sig": b64(signature)}],
            },
        })
    }

    /// What the log says of a signature.
    fn entry(&self, kind: &str, content: &[u8], signature: &[u8], certificate: &Certificate, wrong: Wrong) -> Entry {
        let other = key();
        let others = || self.certificate("x@y.example", "https://z.example", &other, Wrong::Nothing);
        let (content, signature, pem) = match wrong {
            Wrong::EntryOfOtherContent => (&b"something else"[..], signature, certificate.pem()),
            Wrong::EntryOfOtherSignature => (content, &b"another"[..], certificate.pem()),
            Wrong::EntryOfOtherCertificate => (content, signature, others().pem()),
            _ => (content, signature, certificate.pem()),
        };
        let hash = json!({"algorithm": "sha256", "value": hex::encode(sha(content))});
        let spec = match kind {
            "dsse" => json!({
                "envelopeHash": hash,
                "payloadHash": hash,
                "signatures": [{"signature": b64(signature), "verifier": b64(pem)}],
            }),
            _ => json!({
                "data": {"hash": hash},
                "signature": {"content": b64(signature), "publicKey": {"content": b64(pem)}},
            }),
        };
        let body = json!({"apiVersion": "0.0.1", "kind": kind, "spec": spec}).to_string();
        let log = if wrong == Wrong::PromiseOfOtherLog { &other } else { &self.log };
        let id = sha(log.subject_public_key_info());
        let moment = match wrong {
            Wrong::TooLate => unix(ago(SIGNED)) + LIFETIME + 60,
            Wrong::TooEarly => unix(ago(SIGNED)) - 60,
            _ => unix(ago(SIGNED)) + 5,
        };
        let promised = json!({"body": b64(&body), "integratedTime": moment, "logID": hex::encode(id), "logIndex": 7});
        // As RFC 8785 has it: the names are in order already, and there is no space.
        let text = format!(
            r#"{{"body":"{}","integratedTime":{moment},"logID":"{}","logIndex":7}}"#,
            b64(&body),
            hex::encode(id)
        );
        let said = if wrong == Wrong::PromiseForged { text.replace(":7}", ":8}") } else { text };
        let promise = b64(log.sign(said.as_bytes()).unwrap());
        let mut proven = json!({
            "logIndex": "7",
            "logId": {"keyId": b64(id)},
            "kindVersion": {"kind": kind, "version": "0.0.1"},
            "integratedTime": moment.to_string(),
            "inclusionPromise": {"signedEntryTimestamp": promise},
            "inclusionProof": self.proof(body.as_bytes(), wrong),
            "canonicalizedBody": b64(&body),
        });
        if wrong == Wrong::NoPromise {
            proven["inclusionPromise"].take();
        }
        Entry { promised, promise, proven }
    }

    /// That an entry is the first of two in the log.
    fn proof(&self, body: &[u8], wrong: Wrong) -> Value {
        let body = if wrong == Wrong::ProofOfOtherEntry { b"another" } else { body };
        let (own, sibling) = (sha([&[0], body].concat()), sha("another entry"));
        let root = sha([&[1], &own[..], &sibling].concat());
        let signed = if wrong == Wrong::CheckpointOfOtherTree { sha("another tree") } else { root };
        let note = format!("log.example - 1\n2\n{}\n", b64(signed));
        let other = key();
        let signer = if wrong == Wrong::CheckpointForged { &other } else { &self.log };
        let hint = &sha(self.log.subject_public_key_info())[..4];
        let signature = [hint, &signer.sign(note.as_bytes()).unwrap()].concat();
        json!({
            "logIndex": "0",
            "treeSize": "2",
            "rootHash": b64(root),
            "hashes": [b64(sibling)],
            "checkpoint": {"envelope": format!("{note}\n\u{2014} log.example {}\n", b64(signature))},
        })
    }
}

/// What a log says of an entry: the payload of its promise, the promise, and all of it as a bundle has it.
struct Entry {
    promised: Value,
    promise: String,
    proven: Value,
}

fn digest(wrong: Wrong) -> String {
    if wrong == Wrong::OtherDigest { DIGEST.replace("aa", "bb") } else { DIGEST.to_owned() }
}

/// Who signs: whoever the certificate is for.
fn signer(own: &KeyPair, wrong: Wrong) -> KeyPair {
    if wrong == Wrong::OtherKey { key() } else { KeyPair::from_pem(&own.serialize_pem()).unwrap() }
}

/// A time as trust roots have it.
fn time(time: SystemTime) -> String {
    let days = unix(time) / 86400;
    // Of a day that is past only the order matters; hours and seconds are as they are.
    let (year, month, day) = date(days as i64);
    let seconds = unix(time) % 86400;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// The date that is so many days after 1970 began, by the rules of the calendar for its cycles of 400 years, from March on.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (cycle, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (from_march, day) = (month, day - (153 * month + 2) / 5 + 1);
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year + cycle * 400 + i64::from(month <= 2), month, day)
}

/// The content of the first value of a DER text with its header, and the content without.
fn first(der: &[u8]) -> (&[u8], &[u8]) {
    let (header, length) = match der[1] {
        short @ 0..=0x7f => (2, short as usize),
        0x81 => (3, der[2] as usize),
        _ => (4, usize::from(der[2]) << 8 | usize::from(der[3])),
    };
    (&der[..header + length], &der[header..header + length])
}
