//! `pintle frontend verify`: who signed a frontend, and whether it may run.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use build::{Consequence, Freshness, Grants, Layout, LayoutName, Trust, TrustRule, Verdict};
use frontend::Library;
use oci::Reference;
use signatures::{Identity, Signature};

use super::registry::repository;
use crate::{commands::build::LAYOUT, embedded::Place, trust};

#[derive(clap::Args)]
pub struct Verify {
    /// REGISTRY/NAME[:TAG][@DIGEST], oci-layout://PATH[:TAG][@DIGEST], or the path of a component that ends in .wasm.
    #[arg(value_name = "NAME|FILE")]
    what: String,

    /// A public key (PEM), as cosign and openssl write it, that must have signed; one of them, when there are several. Without one the
    /// rules of the configuration (frontends.trust) decide.
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,

    /// Somebody who must have signed, by the address or URL that a certificate has for them; each * in it stands for any text.
    #[arg(long, value_name = "SUBJECT", requires_all = ["issuer", "trust_root"])]
    identity: Option<String>,

    /// Who said that they are that: the URL of an issuer.
    #[arg(long, value_name = "URL", requires = "identity")]
    issuer: Option<String>,

    /// The trust root that vouches for them (trusted_root.json).
    #[arg(long, value_name = "FILE", requires = "identity")]
    trust_root: Option<PathBuf>,

    /// Let a policy on frontends decide, a file, instead of the configuration.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["keys", "identity"])]
    policy: Option<PathBuf>,
}

/// What is judged.
struct Judged {
    name: String,
    digest: String,
    signatures: Vec<Signature>,
}

pub async fn run(verify: &Verify, library: &Library, place: &Place) -> anyhow::Result<()> {
    let settings = place.config.frontends();
    let trust = match &verify.policy {
        Some(file) => trust::PolicyFile::open(file)?.read()?,
        None => verify.signers()?.unwrap_or(settings.trust),
    };
    ensure!(
        !trust.is_silent(),
        "{} has no rules: give a --key or an --identity that must have signed {}",
        trust.origin,
        verify.what
    );
    let judged = match verify.what.ends_with(".wasm") {
        true => file(&verify.what)?,
        false if verify.what.starts_with(LAYOUT) => in_layout(&verify.what).await?,
        false => fetched(&verify.what.parse()?, &trust, settings.freshness, library, place).await?,
    };
    println!("name       {}", judged.name);
    println!("digest     {}", judged.digest);
    let verdict = trust.judge(&judged.name, &judged.digest, &judged.signatures);
    let Verdict { signer, grants, limits, warning, .. } = match verdict {
        Ok(verdict) => verdict,
        Err(why) => bail!("{}: may not run: {why}", verify.what),
    };
    println!("signed by  {}", signer.as_deref().unwrap_or("nobody who is known"));
    println!("may ask    {grants}");
    if !limits.is_empty() {
        println!("limits     {limits}");
    }
    warning.iter().for_each(|warning| eprintln!("WARNING: {warning}"));
    Ok(())
}

impl Verify {
    /// A rule for everything, where signers are named: one of them must have signed.
    fn signers(&self) -> anyhow::Result<Option<Trust>> {
        let keys = self.keys.iter().map(|path| trust::read_key(path)).collect::<anyhow::Result<Vec<_>>>()?;
        let identities = match (&self.identity, &self.issuer, &self.trust_root) {
            (Some(subject), Some(issuer), Some(root)) => {
                vec![Identity::new(trust::read_root(root)?, subject, issuer).context("--identity")?]
            }
            _ => Vec::new(),
        };
        if keys.is_empty() && identities.is_empty() {
            return Ok(None);
        }
        let (names, digests) = Default::default();
        let unsigned = Consequence::Refuse;
        let (grants, limits) = (Grants::all(), Default::default());
        let rule = TrustRule { names, digests, keys, identities, unsigned, grants, limits };
        let origin = "the command line".into();
        Ok(Some(Trust { origin, rules: vec![rule], unlisted: Consequence::Refuse }))
    }
}

/// A component of this machine. Nobody signs those; rules name them by their digests.
fn file(path: &str) -> anyhow::Result<Judged> {
    let component = std::fs::read(path).with_context(|| format!("read {path}"))?;
    frontend::check(&component, path)?;
    Ok(Judged { name: build::file_name(path), digest: oci::digest_of(&component), signatures: Vec::new() })
}

/// A frontend in an OCI layout of this machine, and what lies beside it.
async fn in_layout(what: &str) -> anyhow::Result<Judged> {
    let name = LayoutName::parse(what)?;
    let layout = Layout::open(Path::new(name.place()))?;
    let digest = name.digest_in(&layout).await?;
    let signatures = build::frontend_signatures(&layout, &digest).await?;
    Ok(Judged { name: name.bare(), digest, signatures })
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
    // Somebody may have signed since they were kept.
    let is_sure = trust.is_sure(&judged.name, &judged.digest, &judged.signatures);
    if !is_sure && freshness != Freshness::Offline {
        judged.signatures = build::frontend_signatures(&repository, &judged.digest).await?;
        if !judged.signatures.is_empty() {
            library.keep_signatures(&judged.digest, &serde_json::to_vec(&judged.signatures)?)?;
        }
    }
    Ok(judged)
}
