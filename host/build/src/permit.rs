//! Whether a build may have a source: by the policies and the lock that came with it, and by a client that decides.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use frontend::{Definition, SourceQuery};
use llb::{Edge, Graph, Op, Platform, op::SourceOp};
use session::{
    Session,
    policy::{KnownSource, PolicyAnswer, PolicyQuestion},
};

use crate::{
    Failure, Pins, Trust,
    bridge::{State, lock},
    policy::{self, Policy},
};

/// So often a client may ask back, or convert, before it has to decide.
pub const QUESTIONS_MAX: usize = 10;

/// Who decides.
#[derive(Clone, Default)]
pub struct Policies {
    /// Rules.
    pub rules: Vec<Policy>,
    /// A client that is asked of each source.
    pub verifier: Option<Arc<dyn Session>>,
    /// What names mean.
    pub pins: Pins,
    /// Which frontends may run, beside what the engine says of it.
    pub frontends: Option<Trust>,
}

impl Policies {
    /// Whether nothing is decided of sources: every one is allowed.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.verifier.is_none() && !self.pins.governs_images()
    }
}

/// A source and its platform, as it was asked for; and what became of it.
pub(crate) type Permitted = HashMap<(String, BTreeMap<String, String>, Platform), SourceOp>;

impl State {
    /// The definition of `edge` as the policies make it: the same, where they have nothing to say.
    pub async fn governed(&self, graph: &Arc<Graph>, edge: Edge) -> Result<Definition, Failure> {
        let same = || Definition { graph: graph.clone(), edge: Some(edge) };
        if self.policies.is_empty() {
            return Ok(same());
        }
        let key = (Arc::as_ptr(graph) as usize, edge);
        if let Some((_, known)) = lock(&self.governed).get(&key) {
            return Ok(known.clone());
        }
        let mut changed = HashMap::new();
        for id in graph.reachable(edge) {
            let vertex = graph.vertex(id);
            if let Op::Source(source) = &vertex.op {
                let permitted = self.permit(source, vertex.platform.as_ref()).await?;
                if permitted != *source {
                    changed.insert(id, permitted);
                }
            }
        }
        let definition = match changed.is_empty() {
            true => same(),
            false => {
                let (graph, edge) = policy::replace(graph, edge, changed)?;
                Definition { graph: Arc::new(graph), edge: Some(edge) }
            }
        };
        lock(&self.governed).insert(key, (graph.clone(), definition.clone()));
        Ok(definition)
    }

    /// What takes the place of a source: itself, where it is allowed.
    pub async fn permit(&self, source: &SourceOp, platform: Option<&Platform>) -> Result<SourceOp, Failure> {
        if self.policies.is_empty() {
            return Ok(source.clone());
        }
        let platform = platform.unwrap_or(&self.environment.platform).clone();
        let key = (source.identifier.clone(), source.attrs.clone(), platform.clone());
        if let Some(known) = lock(&self.permitted).get(&key) {
            return Ok(known.clone());
        }
        let mut permitted = source.clone();
        policy::apply(&self.policies.rules, &mut permitted)?;
        self.policies.pins.image(&mut permitted)?;
        if let Some(verifier) = &self.policies.verifier {
            self.verify(verifier, &mut permitted, platform).await?;
        }
        lock(&self.permitted).insert(key, permitted.clone());
        Ok(permitted)
    }

    /// Asks a client, and answers what it asks back, until it decides.
    async fn verify(
        &self,
        verifier: &Arc<dyn Session>,
        source: &mut SourceOp,
        platform: Platform,
    ) -> Result<(), Failure> {
        let failed = |error: anyhow::Error| Failure::new("failed-precondition", format!("source policy: {error:#}"));
        let mut known = None;
        for _ in 0..QUESTIONS_MAX {
            let question = PolicyQuestion {
                identifier: source.identifier.clone(),
                attrs: source.attrs.clone(),
                platform: (platform.os.clone(), platform.architecture.clone(), platform.variant.clone()),
                known: known.take(),
            };
            match verifier.check_policy(&question).await.map_err(failed)? {
                PolicyAnswer::Allow => return Ok(()),
                PolicyAnswer::Deny(reasons) => return Err(denied(&source.identifier, &reasons)),
                PolicyAnswer::Convert { identifier, attrs } => {
                    *source = SourceOp { identifier, attrs };
                    policy::apply(&self.policies.rules, source)?;
                    self.policies.pins.image(source)?;
                }
                PolicyAnswer::Look(look) if look.identifier != source.identifier => {
                    let (asked, own) = (look.identifier, &source.identifier);
                    return Err(failed(anyhow::anyhow!(
                        "the client asks about {asked:?}, and was asked about {own:?}"
                    )));
                }
                PolicyAnswer::Look(look) => {
                    let query = SourceQuery {
                        identifier: source.identifier.clone(),
                        attrs: source.attrs.clone(),
                        platform: Some(platform.clone()),
                        no_config: look.no_config,
                        git_objects: look.return_object,
                        resolve_mode: look.resolve_mode,
                        ..SourceQuery::default()
                    };
                    known = self.known(query).await?;
                }
            }
        }
        Err(failed(anyhow::anyhow!("the client did not decide on {:?} in {QUESTIONS_MAX} answers", source.identifier)))
    }

    /// What a source turns out to be, for a client that decides by it.
    async fn known(&self, query: SourceQuery) -> Result<Option<KnownSource>, Failure> {
        let scheme = query.identifier.split_once("://").map_or("", |(scheme, _)| scheme).to_owned();
        let meta = self.resolve(query).await.map_err(Failure::from)?;
        Ok(match scheme.as_str() {
            "docker-image" | "oci-layout" => {
                Some(KnownSource::Image { digest: meta.digest, config: meta.config.unwrap_or_default() })
            }
            "git" => {
                let git = meta.git.unwrap_or_default();
                Some(KnownSource::Git {
                    checksum: meta.digest,
                    reference: git.reference,
                    commit_checksum: git.commit.unwrap_or_default(),
                    commit: git.commit_object,
                    tag: git.tag_object,
                })
            }
            "http" | "https" => Some(KnownSource::Http { checksum: meta.digest }),
            _ => None,
        })
    }
}

/// The failure of a build that has a source which a client does not allow.
fn denied(source: &str, reasons: &[String]) -> Failure {
    let reasons = if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join("; ")) };
    Failure::new("denied", format!("source {source:?} not allowed by policy: action DENY{reasons}"))
}
