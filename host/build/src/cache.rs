//! Caches of other engines: looked into before a build, and filled after it.

use std::{collections::BTreeMap, sync::Arc};

use caches::{Backend, Inline, Party, Step, Steps};
use futures::future::try_join_all;
use llb::Op;
use store::Snapshot;

use crate::{Failure, bridge::State, engine::Engine};

/// A cache and its options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheOption {
    /// The word that a [`Backend`] answers to.
    pub kind: String,
    /// Its options.
    pub attrs: BTreeMap<String, String>,
}

/// The word of the cache that goes along in images.
const INLINE: &str = "inline";

impl Engine {
    /// Refuses exports of caches that cannot work, before anything is built.
    pub(crate) fn check_cache_exports(&self, exports: &[CacheOption]) -> Result<(), Failure> {
        for export in exports {
            let failed =
                |error| Failure::new("invalid-argument", format!("cache export to {}: {error:#}", export.kind));
            self.cache(&export.kind)?.check_export(&export.attrs).map_err(failed)?;
        }
        Ok(())
    }

    fn cache(&self, kind: &str) -> Result<&Arc<dyn Backend>, Failure> {
        let found = self.caches().iter().find(|backend| backend.name() == kind);
        found.ok_or_else(|| {
            let known: Vec<_> = self.caches().iter().map(|backend| backend.name()).collect();
            Failure::new("invalid-argument", format!("unknown kind of cache {kind:?}: there are {}", known.join(", ")))
        })
    }

    /// Writes what the build made to all caches but those that go along in images.
    pub(crate) async fn export_caches(
        &self,
        state: &State,
        exports: &[CacheOption],
        results: &[Top],
    ) -> Result<BTreeMap<String, String>, Failure> {
        let exports: Vec<_> = exports.iter().filter(|export| export.kind != INLINE).collect();
        if exports.is_empty() {
            return Ok(BTreeMap::new());
        }
        let steps = state.steps(results).await.map_err(failed)?;
        let answers = exports.into_iter().map(|export| self.export_cache(state, export, &steps));
        Ok(try_join_all(answers).await?.into_iter().flatten().collect())
    }

    async fn export_cache(
        &self,
        state: &State,
        export: &CacheOption,
        steps: &Steps,
    ) -> Result<BTreeMap<String, String>, Failure> {
        let backend = self.cache(&export.kind)?;
        let activity = state.journal.activity(&format!("exporting cache to {}", place(&export.kind)));
        let said = activity.steps();
        let options = backend.check_export(&export.attrs).map_err(failed)?;
        let party = Party { sessions: state.environment.sessions.clone(), progress: activity.progress() };
        let write = async {
            said("preparing build cache for export", false);
            let written = caches::write::write(steps, &options).await?;
            said("preparing build cache for export", true);
            said("sending cache export", false);
            let answer = backend.export(&written, &export.attrs, &party).await;
            said("sending cache export", true);
            answer
        };
        let result = write.await;
        activity.end(&result);
        match result {
            Err(error) if options.ignore_error => {
                tracing::warn!("cache export to {} failed: {error:#}", export.kind);
                Ok(BTreeMap::new())
            }
            other => other
                .map_err(|error| Failure::new("export-failed", format!("cache export to {}: {error:#}", export.kind))),
        }
    }
}

/// What people know a kind of cache by.
fn place(kind: &str) -> &str {
    match kind {
        "local" => "client directory",
        "gha" => "GitHub Actions Cache",
        "s3" => "Amazon S3",
        "azblob" => "Azure Blob Storage",
        other => other,
    }
}

/// A result of the build: its platform, the vertex that it is an output of, and its files.
pub(crate) struct Top {
    pub platform: String,
    pub vertex: Arc<solver::Vertex<ops::Files>>,
    pub definition: frontend::Definition,
    pub edge: llb::Edge,
    pub snapshot: Snapshot,
}

/// What goes along in the configs of images, where that is asked for.
pub(crate) async fn inline(
    state: &State,
    exports: &[CacheOption],
    results: &[Top],
) -> Result<Option<Arc<dyn exporters::InlineCache>>, Failure> {
    if !exports.iter().any(|export| export.kind == INLINE) {
        return Ok(None);
    }
    let mut by_platform = BTreeMap::new();
    for result in results {
        let steps = state.steps(std::slice::from_ref(result)).await.map_err(failed)?;
        by_platform.insert(result.platform.clone(), steps);
    }
    Ok(Some(Arc::new(Inline(by_platform))))
}

fn failed(error: anyhow::Error) -> Failure {
    Failure::new("export-failed", format!("{error:#}"))
}

impl State {
    /// Looks into caches, each once in a build. One that is not there is told, and is no failure.
    pub async fn import(&self, caches: &[CacheOption]) {
        if caches.is_empty() {
            return;
        }
        // Held meanwhile: who comes second finds in the cache what the first was promised.
        let mut imported = self.imported.lock().await;
        for cache in caches {
            if !imported.contains(cache) {
                imported.push(cache.clone());
                self.import_one(cache).await;
            }
        }
    }

    async fn import_one(&self, cache: &CacheOption) {
        let checked = self.engine.cache(&cache.kind).map_err(|failure| anyhow::anyhow!("{}", failure.message));
        let checked = checked.and_then(|backend| Ok((backend, backend.check_import(&cache.attrs)?)));
        let name = checked.as_ref().map_or(cache.kind.as_str(), |(_, name)| name);
        let activity = self.journal.activity(&format!("importing cache manifest from {name}"));
        let party = Party { sessions: self.environment.sessions.clone(), progress: activity.progress() };
        let read = async {
            let (backend, _) = checked.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
            let mut found = Vec::new();
            for cache in backend.import(&cache.attrs, &party).await? {
                found.push(caches::read::read(cache, &self.environment.store)?);
            }
            anyhow::Ok(found)
        };
        let result = read.await;
        if let Ok(found) = &result {
            let (results, foreign) = found
                .iter()
                .fold((0, 0), |(results, foreign), cache| (results + cache.results, foreign + cache.foreign));
            activity.log(&match foreign {
                0 => format!("{results} results"),
                _ => format!("{results} results; {foreign} records are another engine's, and say nothing to this one"),
            });
        }
        activity.end(&result);
        for cache in result.into_iter().flatten() {
            self.build.import(cache.imported);
        }
    }

    /// All that `results` were made of.
    async fn steps(&self, results: &[Top]) -> anyhow::Result<Steps> {
        let tops: Vec<_> = results.iter().map(|result| result.vertex.clone()).collect();
        let mut steps = Vec::new();
        for link in self.build.chain(&tops).map_err(|error| anyhow::anyhow!("{error}"))? {
            let outputs = if self.is_portable(&link.vertex) { link.outputs().await? } else { None };
            steps.push(Step { entry: link.entry, outputs });
        }
        Ok(Steps { steps, tops: results.iter().map(|result| result.snapshot.clone()).collect() })
    }

    /// Whether the result of a vertex may go along. A client's directory is of no use elsewhere: what it is made into is found by its
    /// contents.
    fn is_portable(&self, vertex: &str) -> bool {
        let seen = crate::bridge::lock(&self.seen);
        let Some((graph, id)) = seen.get(vertex) else { return true };
        let vertex = graph.vertex(*id);
        let is_local = matches!(&vertex.op, Op::Source(source) if source.identifier.starts_with("local://"));
        !is_local && vertex.meta.export_cache != Some(false)
    }
}
