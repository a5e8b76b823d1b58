//! Trust roots: who vouches for identities, and the logs and clocks that say when somebody signed.

use std::{fmt, sync::Arc};

use anyhow::{Context, ensure};
use sigstore_verify::{
    VerificationPolicy, Verifier,
    trust_root::TrustedRoot,
    types::{Artifact, Bundle, SignatureContent},
};

use crate::{
    Signature,
    statement::{self, hash_of},
};

/// A trust root. Cheap to clone.
#[derive(Clone)]
pub struct Root(Arc<Inner>);

struct Inner {
    name: String,
    verifier: Verifier,
    policy: VerificationPolicy,
    /// Whether it names logs of signatures.
    has_logs: bool,
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Root({})", self.0.name)
    }
}

/// Who signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signer {
    /// An address or a URL.
    pub subject: String,
    /// Who said that they are that.
    pub issuer: String,
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.subject, self.issuer)
    }
}

impl Root {
    /// Reads a trust root as sigstore publishes it (`trusted_root.json`). `name` is for people.
    ///
    /// What it names is needed of each signature: the promise or proof of one of its logs, if it has logs, and the receipt of one of its
    /// certificate logs, if it has those. The time of a signature comes from a log's promise, or from a timestamp.
    pub fn from_json(name: &str, json: &str) -> anyhow::Result<Root> {
        let root = TrustedRoot::from_json(json).context("no trust root (trusted_root.json)")?;
        ensure!(!root.certificate_authorities.is_empty(), "the trust root has no certificate authority");
        ensure!(
            !root.tlogs.is_empty() || !root.timestamp_authorities.is_empty(),
            "the trust root has neither logs nor timestamp authorities: nobody could say when something was signed"
        );
        let mut policy = VerificationPolicy::any_identity();
        if root.ctlogs.is_empty() {
            policy = policy.skip_sct();
        }
        if root.tlogs.is_empty() {
            policy = policy.skip_tlog_unsafe();
        }
        let (verifier, has_logs) = (Verifier::new(&root).context("the trust root")?, !root.tlogs.is_empty());
        Ok(Root(Arc::new(Inner { name: name.to_owned(), verifier, policy, has_logs })))
    }

    /// Who signed that the manifest of this digest is right, if the root vouches for them.
    pub fn signer(&self, digest: &str, signature: &Signature) -> anyhow::Result<Signer> {
        let (bundle, artifact) = match signature {
            Signature::Payload(payload) => {
                ensure!(payload.is_of(digest), "it is about something else than {digest}");
                let bundle = payload.bundle.as_ref().context("it has no certificate")?;
                (Bundle::from_json(bundle)?, Artifact::from_blob(&payload.payload))
            }
            Signature::Bundle { bundle } => {
                let bundle = Bundle::from_json(bundle)?;
                if let SignatureContent::DsseEnvelope(envelope) = &bundle.content {
                    statement::check(envelope, digest)?;
                }
                (bundle, Artifact::from(hash_of(digest)?))
            }
        };
        ensure!(bundle.signing_certificate().is_some(), "it has no certificate");
        let is_logged = !bundle.verification_material.tlog_entries.is_empty();
        ensure!(is_logged || !self.0.has_logs, "it is in no log; {} has logs, so it must be in one", self.0.name);
        let result = self.0.verifier.verify(artifact, &bundle, &self.0.policy)?;
        Ok(Signer {
            subject: result.identity().context("its certificate names nobody")?.as_str().to_owned(),
            issuer: result.issuer().context("its certificate names no issuer")?.to_owned(),
        })
    }
}
