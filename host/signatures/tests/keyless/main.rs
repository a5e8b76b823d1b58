//! Who signed, by what certificates and logs say: whatever is wrong with one of them, nobody did.

mod instance;

use std::collections::HashMap;

use instance::{DIGEST, Instance, Wrong};
use signatures::{Identity, Root, Signature};
use sigstore_verify::trust_root::{SIGSTORE_PRODUCTION_TRUSTED_ROOT, SIGSTORE_STAGING_TRUSTED_ROOT};

const SUBJECT: &str = "https://forge.example/acme/lang/release.yml@refs/tags/v1";
const ISSUER: &str = "https://tokens.example";

/// What is wrong, and what is said of it under a tag and in a bundle.
const TABLE: &[(Wrong, &str, &str)] = &[
    (Wrong::ForeignAuthority, "certificate chain is invalid", "certificate chain is invalid"),
    (Wrong::OtherUsage, "certificate chain is invalid", "certificate chain is invalid"),
    (Wrong::NoIssuer, "names no issuer", "names no issuer"),
    (Wrong::NoReceipt, "SCT", "SCT"),
    (Wrong::ReceiptOfOtherLog, "SCT", "SCT"),
    (Wrong::ReceiptOfOtherCertificate, "SCT", "SCT"),
    (Wrong::NoEntry, "it is in no log", "it is in no log"),
    (Wrong::PromiseForged, "SET verification failed", "SET verification failed"),
    (Wrong::PromiseOfOtherLog, "No log key valid", "No log key valid"),
    (Wrong::TooLate, "CertExpired", "CertExpired"),
    (Wrong::TooEarly, "CertNotValidYet", "CertNotValidYet"),
    (Wrong::EntryOfOtherSignature, "does not match signature in Rekor", "does not match any signature in Rekor"),
    (Wrong::EntryOfOtherCertificate, "does not match certificate in Rekor", "does not match any signature in Rekor"),
    (Wrong::EntryOfOtherContent, "hash mismatch", "payload hash mismatch"),
    (Wrong::OtherDigest, "it is about something else", "it is about something else"),
    (Wrong::OtherKey, "invalid signature", "invalid signature"),
    (Wrong::OtherKind, "it is about something else", "vouches for nothing"),
    (Wrong::ChangedSince, "invalid signature", "invalid signature"),
];

/// What can be wrong with the proof of a log, which bundles have and tags have not, and where there is nothing but a proof.
const PROOFS: &[(Wrong, &str)] = &[
    (Wrong::ProofOfOtherEntry, "inclusion proof"),
    (Wrong::CheckpointForged, "No valid Rekor signature"),
    (Wrong::CheckpointOfOtherTree, "root hash"),
    // A proof says that there is an entry, and not when it was made.
    (Wrong::NoPromise, "timestamp"),
];

fn root(json: serde_json::Value) -> Root {
    Root::from_json("root.json", &json.to_string()).unwrap()
}

fn under_a_tag(instance: &Instance, wrong: Wrong) -> Signature {
    let (payload, annotations) = instance.under_a_tag(SUBJECT, ISSUER, wrong);
    let annotations: HashMap<_, _> = annotations.into_iter().collect();
    let kind = "application/vnd.dev.cosign.simplesigning.v1+json";
    let signature = Signature::of_layer(kind, &annotations, &payload).unwrap();
    // As it is kept.
    serde_json::from_str(&serde_json::to_string(&signature).unwrap()).unwrap()
}

fn bundle(instance: &Instance, wrong: Wrong) -> Signature {
    let kind = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let text = instance.bundle(SUBJECT, ISSUER, wrong).to_string();
    let signature = Signature::of_layer(kind, &HashMap::new(), text.as_bytes()).unwrap();
    serde_json::from_str(&serde_json::to_string(&signature).unwrap()).unwrap()
}

#[test]
fn who_has_signed_is_told() {
    let instance = Instance::new();
    let root = root(instance.trusted_root(None));
    for signature in [under_a_tag(&instance, Wrong::Nothing), bundle(&instance, Wrong::Nothing)] {
        let signer = root.signer(DIGEST, &signature).unwrap();
        assert_eq!((signer.subject.as_str(), signer.issuer.as_str()), (SUBJECT, ISSUER));
    }
}

#[test]
fn one_thing_that_is_wrong_is_enough() {
    let instance = Instance::new();
    let root = root(instance.trusted_root(None));
    let refused = |signature: Signature, wrong: Wrong, why: &str| match root.signer(DIGEST, &signature) {
        Ok(signer) => panic!("{wrong:?}: {signer} has signed"),
        Err(error) => assert!(format!("{error:#}").contains(why), "{wrong:?}: {error:#}"),
    };
    for (wrong, under_tag, in_bundle) in TABLE {
        refused(under_a_tag(&instance, *wrong), *wrong, under_tag);
        refused(bundle(&instance, *wrong), *wrong, in_bundle);
    }
    for (wrong, why) in PROOFS {
        refused(bundle(&instance, *wrong), *wrong, why);
    }
}

#[test]
fn another_instance_vouches_for_nobody() {
    let (mine, other) = (Instance::new(), Instance::new());
    let root = root(other.trusted_root(None));
    for signature in [under_a_tag(&mine, Wrong::Nothing), bundle(&mine, Wrong::Nothing)] {
        assert!(root.signer(DIGEST, &signature).is_err());
    }
}

#[test]
fn an_authority_vouches_for_its_own_time() {
    let instance = Instance::new();
    for (ended, good) in [(1800, true), (5400, false)] {
        let root = root(instance.trusted_root(Some(ended)));
        let answer = root.signer(DIGEST, &bundle(&instance, Wrong::Nothing));
        assert_eq!(answer.is_ok(), good, "{ended}: {answer:?}");
    }
}

#[test]
fn what_a_root_does_not_name_is_not_needed() {
    let instance = Instance::new();
    let mut json = instance.trusted_root(None);
    json["ctlogs"] = serde_json::json!([]);
    let root = root(json);
    root.signer(DIGEST, &bundle(&instance, Wrong::NoReceipt)).unwrap();
    assert!(root.signer(DIGEST, &bundle(&instance, Wrong::NoEntry)).is_err(), "its log is");
}

#[test]
fn identities() {
    let instance = Instance::new();
    let root = root(instance.trusted_root(None));
    let signature = bundle(&instance, Wrong::Nothing);
    for (subject, issuer, why) in [
        (SUBJECT, ISSUER, None),
        ("https://forge.example/acme/*@refs/tags/*", ISSUER, None),
        ("https://forge.example/acme/lang/release.yml", ISSUER, Some("it is signed by https://forge.example/acme")),
        ("https://forge.example/other/*", ISSUER, Some("it is signed by")),
        (SUBJECT, "https://tokens.example/", Some("(https://tokens.example)")),
        (SUBJECT, "*", Some("it is signed by")),
    ] {
        let identity = Identity::new(root.clone(), subject, issuer).unwrap();
        match (identity.has_signed(DIGEST, &signature), why) {
            (Ok(signer), None) => assert_eq!(signer.to_string(), format!("{SUBJECT} ({ISSUER})")),
            (Err(error), Some(why)) => assert!(error.to_string().contains(why), "{error}"),
            (answer, _) => panic!("{subject} {issuer}: {answer:?}"),
        }
    }
    for (subject, issuer) in [("", ISSUER), ("*", ISSUER), ("**", ISSUER), (SUBJECT, "")] {
        assert!(Identity::new(root.clone(), subject, issuer).is_err(), "{subject:?} {issuer:?}");
    }
}

#[test]
fn roots_that_are_none() {
    let instance = Instance::new();
    let good = instance.trusted_root(None);
    for (field, why) in [
        ("certificateAuthorities", "has no certificate authority"),
        ("tlogs", "neither logs nor timestamp authorities"),
    ] {
        let mut json = good.clone();
        json[field] = serde_json::json!([]);
        let error = Root::from_json("r", &json.to_string()).unwrap_err();
        assert!(format!("{error:#}").contains(why), "{error:#}");
    }
    for text in ["", "{}", "[]", "no JSON"] {
        assert!(Root::from_json("r", text).is_err(), "{text:?}");
    }
}

/// What sigstore's public instances vouch for: the root, the digest, who signed, and the bundle. The bundles are of its project's own
/// tests.
const PUBLIC: &[(&str, &str, &str, &str)] = &[
    (
        SIGSTORE_PRODUCTION_TRUSTED_ROOT,
        "sha256:a0cfc71271d6e278e57cd332ff957c3f7043fdda354c4cbb190a30d56efa01bf",
        "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/\
         extremely-dangerous-oidc-beacon.yml@refs/heads/main (https://token.actions.githubusercontent.com)",
        include_str!("public/provenance.json"),
    ),
    (
        SIGSTORE_STAGING_TRUSTED_ROOT,
        "sha256:5e6ae9de58c1177bea615b4fcbfb2fd688e8c4b51c2e56b6a38e817833ec24a2",
        "william@yossarian.net (https://github.com/login/oauth)",
        include_str!("public/artifact.json"),
    ),
];

#[test]
fn the_public_instances_are_checked_without_them() {
    for (root, digest, expected, text) in PUBLIC {
        let root = Root::from_json("public", root).unwrap();
        let signer = |digest: &str, bundle: &serde_json::Value| {
            let kind = "application/vnd.dev.sigstore.bundle.v0.3+json";
            let signature = Signature::of_layer(kind, &HashMap::new(), bundle.to_string().as_bytes()).unwrap();
            root.signer(digest, &signature)
        };
        let bundle: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(signer(digest, &bundle).unwrap().to_string(), *expected);
        assert!(signer(DIGEST, &bundle).is_err(), "something else was signed");
        // The log says when it was, what its entry is, and that it has it.
        for (field, changed) in [
            ("/integratedTime", serde_json::json!("1712085550")),
            ("/logIndex", serde_json::json!("7")),
            ("/inclusionPromise/signedEntryTimestamp", serde_json::json!("MEUCIQ==")),
            ("/inclusionProof/treeSize", serde_json::json!("7")),
            ("/inclusionProof/checkpoint/envelope", serde_json::json!("rekor.sigstore.dev - 1\n7\nAA==\n")),
        ] {
            let mut forged = bundle.clone();
            let entry = forged.pointer_mut("/verificationMaterial/tlogEntries/0").unwrap();
            let place = entry.pointer_mut(field).unwrap_or_else(|| panic!("{field} is there"));
            assert_ne!(*place, changed);
            *place = changed;
            assert!(signer(digest, &forged).is_err(), "{field} is another");
        }
    }
}
