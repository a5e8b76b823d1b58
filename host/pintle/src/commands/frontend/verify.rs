//! `pintle frontend verify`: who signed a frontend, and whether it may run.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use build::{Consequence, Freshness, Grants, Trust, TrustRule, Verdict};
use frontend::Library;
use oci::{Reference, cosign::Signature};

use super::registry::repository;
use crate::{embedded::Place, trust};

#[derive(clap::Args)]
pub struct Verify {
    /// REGISTRY/NAME[:TAG][@DIGEST], or the path of a component that ends in .wasm.
    #[arg(value_name = "NAME|FILE")]
    what: String,

    /// A public key (PEM), as cosign and openssl write it, that must have signed; one of them, when there are several. Without one the
    /// rules of the configuration (frontends.trust) decide.
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,

    /// Let a policy on frontends decide, a file, instead of the configuration.
    #[arg(long, value_name = "FILE", conflicts_with = "keys")]
    policy: Option<PathBuf>,
}

/// What is judged.
struct Judged {
    name: String,
    digest: String,
    signatures: Vec<Signature>,
}

pub async fn run(verify: &Verify, library: &Library, place: &Place) -> anyhow::Result<()> {
    let settings = place.config.frontends()?;
    let trust = match &verify.policy {
        Some(file) => trust::PolicyFile::open(file)?.read()?,
        None if verify.keys.is_empty() => settings.trust,
        None => by_keys(&verify.keys)?,
    };
    ensure!(!trust.is_silent(), "{} has no rules: give a --key that must have signed {}", trust.origin, verify.what);
    let judged = match verify.what.ends_with(".wasm") {
        true => file(&verify.what)?,
        false => fetched(&verify.what.parse()?, &trust, settings.freshness, library, place).await?,
    };
    println!("name       {}", judged.name);
    println!("digest     {}", judged.digest);
    let verdict = trust.judge(&judged.name, &judged.digest, &judged.signatures);
    let Verdict { signer, grants, warning } = match verdict {
        Ok(verdict) => verdict,
        Err(why) => bail!("{}: may not run: {why}", verify.what),
    };
    println!("signed by  {}", signer.as_deref().unwrap_or("nobody who is known"));
    println!("may ask    {grants}");
    warning.iter().for_each(|warning| eprintln!("WARNING: {warning}"));
    Ok(())
}

/// A rule for everything: one of these keys must have signed.
fn by_keys(keys: &[PathBuf]) -> anyhow::Result<Trust> {
    let keys = keys.iter().map(|path| trust::read_key(path)).collect::<anyhow::Result<_>>()?;
    let (names, digests) = Default::default();
    let rule = TrustRule { names, digests, keys, unsigned: Consequence::Refuse, grants: Grants::all() };
    Ok(Trust { origin: "--key".into(), rules: vec![rule], unlisted: Consequence::Refuse })
}

/// A component of this machine. Nobody signs those; rules name them by their digests.
fn file(path: &str) -> anyhow::Result<Judged> {
    let component = std::fs::read(path).with_context(|| format!("read {path}"))?;
    frontend::check(&component, path)?;
    Ok(Judged { name: path.to_owned(), digest: oci::digest_of(&component), signatures: Vec::new() })
}

async fn fetched(
    reference: &Reference,
    trust: &Trust,
    freshness: Freshness,
    library: &Library,
    place: &Place,
) -> anyhow::Result<Judged> {
    let repository = repository(reference, place);
    let fetched = build::fetch_frontend(library, &repository, reference, freshness).await?;
    let (name, digest) = (reference.name(), fetched.digest().to_owned());
    let kept = library.signatures(&digest).and_then(|kept| serde_json::from_slice(&kept).ok());
    let mut judged = Judged { name, digest, signatures: kept.unwrap_or_default() };
    let suffices = |judged: &Judged| {
        let verdict = trust.judge(&judged.name, &judged.digest, &judged.signatures);
        verdict.is_ok_and(|verdict| verdict.signer.is_some())
    };
    // Somebody may have signed since they were kept.
    if trust.wants_signatures(&judged.name, &judged.digest) && !suffices(&judged) && freshness != Freshness::Offline {
        judged.signatures = oci::cosign::signatures(&repository, &judged.digest).await?;
        if !judged.signatures.is_empty() {
            library.keep_signatures(&judged.digest, &serde_json::to_vec(&judged.signatures)?)?;
        }
    }
    Ok(judged)
}
