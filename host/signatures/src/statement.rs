//! Statements about manifests in bundles.

use anyhow::{Context, ensure};
use sigstore_verify::types::{DsseEnvelope, Sha256Hash, Statement};

/// What payloads are.
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// Statements that vouch for what they are about, by what their types begin with: cosign's, and provenance, by which who built something
/// says that they did. Others may say the opposite: that it has a hole.
const VOUCHING: [&str; 2] = ["https://sigstore.dev/cosign/sign/v1", "https://slsa.dev/provenance/"];

/// A digest (`sha256:...`) as bytes.
pub(crate) fn hash_of(digest: &str) -> anyhow::Result<Sha256Hash> {
    let hex = digest.strip_prefix("sha256:").with_context(|| format!("{digest}: its algorithm is not sha256"))?;
    Sha256Hash::from_hex(hex).with_context(|| format!("{digest} is no digest"))
}

/// Fails unless what is signed vouches for the manifest of this digest.
pub(crate) fn check(envelope: &DsseEnvelope, digest: &str) -> anyhow::Result<()> {
    ensure!(envelope.payload_type == PAYLOAD_TYPE, "it signs {:?}, which is no statement", envelope.payload_type);
    let statement: Statement = serde_json::from_slice(envelope.payload.as_bytes()).context("its statement")?;
    ensure!(
        VOUCHING.iter().any(|kind| statement.predicate_type.starts_with(kind)),
        "it is a statement of type {:?}, which vouches for nothing",
        statement.predicate_type
    );
    ensure!(statement.matches_sha256(&hash_of(digest)?), "it is about something else than {digest}");
    Ok(())
}
