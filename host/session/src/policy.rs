//! Policies at the client: it is asked of each source whether the build may have it, and may first ask what the source is.

use std::collections::BTreeMap;

use proto::{
    gateway::{
        ResolveSourceGitResponse, ResolveSourceHttpResponse, ResolveSourceImageResponse, ResolveSourceMetaRequest,
        ResolveSourceMetaResponse,
    },
    pb,
    policysession::{CheckPolicyRequest, DecisionResponse, check_policy_response, policy_verifier_client},
    sourcepolicy::PolicyAction,
};

use crate::{Error, remote::GrpcSession};

const METHOD: &str = "/moby.buildkit.v1.sourcepolicy.policysession.PolicyVerifier/CheckPolicy";

/// A source that a build wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyQuestion {
    /// Its URL.
    pub identifier: String,
    /// Its options.
    pub attrs: BTreeMap<String, String>,
    /// os, architecture, variant.
    pub platform: (String, String, String),
    /// What it turned out to be, once the client has asked.
    pub known: Option<KnownSource>,
}

/// What a source turned out to be.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum KnownSource {
    Image { digest: String, config: Vec<u8> },
    Git { checksum: String, reference: String, commit_checksum: String, commit: Vec<u8>, tag: Vec<u8> },
    Http { checksum: String },
}

/// What the client says.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum PolicyAnswer {
    Allow,
    /// With the client's reasons.
    Deny(Vec<String>),
    /// Another takes its place.
    Convert {
        identifier: String,
        attrs: BTreeMap<String, String>,
    },
    /// It wants to know first what the source is.
    Look(Look),
}

/// What the client wants to know of a source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// The URL that it asks about: the one that it was asked about.
    pub identifier: String,
    /// The config of an image is not wanted.
    pub no_config: bool,
    /// The objects of a git repository are wanted, and not their names alone.
    pub return_object: bool,
    /// Where a tag is looked up: `default`, `pull`, `local`; may be empty.
    pub resolve_mode: String,
}

pub(crate) async fn check(session: &GrpcSession, question: &PolicyQuestion) -> anyhow::Result<PolicyAnswer> {
    if !session.supports(METHOD) {
        return Err(
            Error::Unsupported { what: "decide on sources", hint: "its source policy needs a newer client" }.into()
        );
    }
    let mut client = policy_verifier_client::PolicyVerifierClient::new(session.channel.clone())
        .max_decoding_message_size(proto::MAX_MESSAGE_BYTES)
        .max_encoding_message_size(proto::MAX_MESSAGE_BYTES);
    let what = || format!("decide on source {:?}", question.identifier);
    let answer = client.check_policy(request(question)).await;
    let answer = answer.map_err(|status| Error::of_call(what(), &status))?.into_inner();
    match answer.result {
        Some(check_policy_response::Result::Decision(decision)) => decide(decision),
        Some(check_policy_response::Result::Request(request)) => Ok(PolicyAnswer::Look(look(request))),
        None => anyhow::bail!("the client did not {}", what()),
    }
}

fn request(question: &PolicyQuestion) -> CheckPolicyRequest {
    let (os, architecture, variant) = question.platform.clone();
    let source = pb::SourceOp { identifier: question.identifier.clone(), attrs: question.attrs.clone() };
    let mut meta = ResolveSourceMetaResponse { source: Some(source), ..Default::default() };
    match question.known.clone() {
        Some(KnownSource::Image { digest, config }) => {
            meta.image = Some(ResolveSourceImageResponse { digest, config: config.into(), ..Default::default() });
        }
        Some(KnownSource::Git { checksum, reference, commit_checksum, commit, tag }) => {
            meta.git = Some(ResolveSourceGitResponse {
                checksum,
                r#ref: reference,
                commit_checksum,
                commit_object: commit.into(),
                tag_object: tag.into(),
            });
        }
        Some(KnownSource::Http { checksum }) => {
            meta.http = Some(ResolveSourceHttpResponse { checksum, ..Default::default() });
        }
        None => {}
    }
    let platform = pb::Platform { os, architecture, variant, ..Default::default() };
    CheckPolicyRequest { platform: Some(platform), source: Some(meta), ..Default::default() }
}

fn decide(decision: DecisionResponse) -> anyhow::Result<PolicyAnswer> {
    match PolicyAction::try_from(decision.action) {
        Ok(PolicyAction::Allow) => Ok(PolicyAnswer::Allow),
        Ok(PolicyAction::Deny) => {
            Ok(PolicyAnswer::Deny(decision.deny_messages.into_iter().map(|one| one.message).collect()))
        }
        Ok(PolicyAction::Convert) => match decision.update {
            Some(update) => Ok(PolicyAnswer::Convert { identifier: update.identifier, attrs: update.attrs }),
            None => anyhow::bail!("the client's policy converts a source, and does not say to what"),
        },
        Err(_) => anyhow::bail!("the client's policy decides {}, which is no decision", decision.action),
    }
}

fn look(request: ResolveSourceMetaRequest) -> Look {
    Look {
        identifier: request.source.map(|source| source.identifier).unwrap_or_default(),
        no_config: request.image.is_some_and(|image| image.no_config),
        return_object: request.git.is_some_and(|git| git.return_object),
        resolve_mode: request.resolve_mode,
    }
}
