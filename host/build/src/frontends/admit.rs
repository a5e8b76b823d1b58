//! Whether a frontend may run in a build: by the rules of the engine, and by those of the build itself.

use std::sync::Arc;

use frontend::{Error, Library, LimitChanges, Limits};
use oci::Reference;
use signatures::Signature;
use sources::Layout;

use super::{Freshness, Frontends, Grants, LayoutName, Trust, Verdict, signatures::signatures};
use crate::{
    bridge::{State, failed, lock, shown_name},
    lazy::internal,
};

/// A frontend as rules know it.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'a> {
    /// What it was called by.
    pub source: &'a str,
    /// Its repository, complete, or the path of its component.
    pub name: &'a str,
    /// Of its manifest, or of a component that is a file.
    pub digest: &'a str,
}

/// What a frontend may do that may run.
pub(crate) struct Admission {
    pub grants: Grants,
    pub limits: Limits,
    /// Those of the limits that rules on it set.
    pub ruled: LimitChanges,
}

impl Admission {
    /// Of one that no rule is on.
    pub fn of_all(limits: Limits) -> Admission {
        Admission { grants: Grants::all(), limits, ruled: LimitChanges::default() }
    }
}

impl Frontends {
    /// The rules that hold in a build: the engine's, and its own.
    fn rules<'a>(&'a self, state: &'a State) -> impl Iterator<Item = &'a Trust> {
        std::iter::once(&self.settings.trust).chain(&state.policies.frontends).filter(|trust| !trust.is_silent())
    }

    /// What a frontend may ask and use, if it may run at all.
    pub(super) fn admit(
        &self,
        candidate: Candidate<'_>,
        signatures: &[Signature],
        state: &State,
    ) -> Result<Admission, Error> {
        let Candidate { source, name, digest } = candidate;
        if self.rules(state).next().is_none() {
            return Ok(Admission::of_all(self.runtime.limits()));
        }
        let activity = state.journal.activity(&format!("[frontend] trust {name}@{digest}"));
        let judged = self.judge(candidate, signatures, state);
        match &judged {
            Ok((verdict, _)) => {
                if let Some(warning) = &verdict.warning {
                    activity.warn(&format!("frontend {}: {warning}", shown_name(source)));
                }
                activity.log(&verdict.to_string());
            }
            Err(why) => activity.log(why),
        }
        activity.end(&judged);
        let (verdict, limits) =
            judged.map_err(|why| failed("denied", format!("frontend {}: may not run: {why}", shown_name(source))))?;
        let (grants, ruled) = (verdict.grants.clone(), verdict.limits.clone());
        lock(&state.verdicts).insert(source.to_owned(), verdict);
        Ok(Admission { grants, limits, ruled })
    }

    /// What the rules say of a frontend. The engine's may give it other limits than those of all, and a build's only stricter ones.
    fn judge(
        &self,
        candidate: Candidate<'_>,
        signatures: &[Signature],
        state: &State,
    ) -> Result<(Verdict, Limits), String> {
        let Candidate { name, digest, .. } = candidate;
        let mut found = self.settings.trust.judge(name, digest, signatures)?;
        let mut limits = found.limits.over(self.runtime.limits());
        if let Some(trust) = &state.policies.frontends {
            let verdict = trust.judge(name, digest, signatures)?;
            limits = verdict.limits.within(limits);
            found = found.and(verdict);
        }
        Ok((found, limits))
    }

    /// The signatures of a frontend of a registry, where they matter: those that were kept, unless they leave a doubt, else those that lie
    /// beside it now.
    pub(super) async fn signatures(
        &self,
        library: &Library,
        reference: &Reference,
        digest: &str,
        state: &Arc<State>,
    ) -> Result<Vec<Signature>, Error> {
        let name = reference.name();
        let suffice =
            |signatures: &[Signature]| self.rules(state).all(|trust| trust.is_sure(&name, digest, signatures));
        if suffice(&[]) {
            return Ok(Vec::new());
        }
        let kept: Option<Vec<_>> = library.signatures(digest).and_then(|kept| serde_json::from_slice(&kept).ok());
        let kept = kept.unwrap_or_default();
        // Somebody may have signed since they were kept.
        if suffice(&kept) || self.settings.freshness == Freshness::Offline {
            return Ok(kept);
        }
        let activity = state.journal.activity(&format!("[frontend] signatures of {name}@{digest}"));
        let repository = state.engine.registries().client(&state.environment.sessions).repository(reference);
        let found = signatures(&repository, digest).await;
        activity.end(&found);
        match found {
            Ok(found) if found.is_empty() => Ok(kept),
            Ok(found) => {
                let json = serde_json::to_vec(&found).map_err(|error| internal(error.into()))?;
                library.keep_signatures(digest, &json).map_err(internal)?;
                Ok(found)
            }
            Err(_) if !kept.is_empty() => Ok(kept),
            Err(error) => Err(failed("not-found", format!("signatures of frontend {reference}: {error:#}"))),
        }
    }

    /// The signatures of a frontend in a layout, where they matter.
    pub(super) async fn signatures_in(
        &self,
        layout: &Layout,
        name: &LayoutName,
        digest: &str,
        state: &State,
    ) -> Result<Vec<Signature>, Error> {
        if self.rules(state).all(|trust| trust.is_sure(&name.bare(), digest, &[])) {
            return Ok(Vec::new());
        }
        let found = signatures(layout, digest).await;
        found.map_err(|error| failed("not-found", format!("signatures of frontend {}: {error:#}", name.bare())))
    }

    /// Whether anything is said of frontends.
    pub(super) fn has_rules(&self, state: &State) -> bool {
        self.rules(state).next().is_some()
    }
}
