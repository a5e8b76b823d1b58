//! One build from request to response.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use exporters::{Built, Target};
use frontend::{Definition, Origin, Output, SourceQuery};
use futures::future::try_join_all;
use ops::Tracing;
use session::Session;

use crate::{
    Attest, CacheOption, Failure, Journal, Lock,
    bridge::{BuildBridge, Mode, State, lock, shown_name},
    cache::{self, Top},
    engine::Engine,
    entitlements,
    frontends::Grants,
    nested,
    permit::Policies,
    provenance::{self, Asked, Provenance, Results},
    sbom::Generator,
};

/// What to build and what to do with it.
pub struct Request {
    /// The build's id.
    pub id: String,
    /// What to build.
    pub what: What,
    /// The clients; the first is the one that asked.
    pub sessions: Vec<Arc<dyn Session>>,
    /// Where the results go. None is allowed: the build only fills the cache.
    pub exports: Vec<Export>,
    /// Who names more of these once there are results.
    pub late_exports: Option<Arc<dyn LateExports>>,
    /// Run every step, also those that the cache knows.
    pub no_cache: bool,
    /// Say in the response why each vertex ran or did not.
    pub explain: bool,
    /// Answer the graphs, and build nothing.
    pub lower: bool,
    /// What steps may do beyond the sandbox, by name; the engine has to grant it.
    pub entitlements: Vec<String>,
    /// Say in the response how the results were made.
    pub record: bool,
    /// Which sources it may have.
    pub policies: Policies,
    /// What is to be said of the results.
    pub attest: Attest,
    /// Caches to look into.
    pub cache_imports: Vec<CacheOption>,
    /// Caches to fill.
    pub cache_exports: Vec<CacheOption>,
    /// Where processes send spans, and the trace that they are of.
    pub tracing: Option<Tracing>,
}

/// What to build.
pub enum What {
    /// A graph, as it is.
    Definition(Definition),
    /// What a frontend makes of its options.
    Frontend {
        /// `dockerfile.v0`, `gateway.v0`, or a name that [`crate::Frontends`] knows.
        name: String,
        /// Options and inputs.
        request: frontend::Request,
    },
    /// What a frontend that the caller brings makes of its options.
    Custom {
        /// The frontend.
        frontend: Arc<dyn frontend::Frontend>,
        /// Options and inputs.
        request: frontend::Request,
    },
}

/// One exporter with its options.
pub struct Export {
    /// `local`, `tar`, `oci`, `docker`, `image`, `registry`.
    pub kind: String,
    /// Its options.
    pub attrs: BTreeMap<String, String>,
    /// Its id in the session.
    pub id: String,
}

/// Names exporters when it is known what was built.
#[async_trait]
pub trait LateExports: Send + Sync + 'static {
    /// The exporters that `built` is to have beside the `known` ones.
    async fn find(&self, built: &Built, known: usize) -> Result<Vec<Export>, Failure>;
    /// All exporters are done, and this is what they answered. An error fails the build.
    async fn finish(&self, response: &BTreeMap<String, String>) -> Result<(), Failure>;
}

/// What a build answers.
#[derive(Default, Debug)]
pub struct Response {
    /// BuildKit's exporter response (`containerimage.digest` ...), and results of subrequests.
    pub exporter: BTreeMap<String, String>,
    /// The images that exporters made, as they are described in base64, by the exporter's number.
    pub images: BTreeMap<usize, String>,
    /// How the results were made, where the request wants that.
    pub provenance: Option<Provenance>,
}

/// The longest metadata value that a response carries. Larger ones (configs of big builds) stay with the exporter.
const MAX_RESPONSE_VALUE_BYTES: usize = 4 << 20;

impl Engine {
    /// Builds. What goes on is told to `journal`, which is closed at the end. Dropping the future cancels all of it.
    pub async fn build(&self, request: Request, journal: Journal) -> Result<Response, Failure> {
        let _close = Close(journal.clone());
        let about = provenance::Build { id: request.id.clone(), started: jiff::Timestamp::now() };
        self.check_exports(&request.exports)?;
        self.check_cache_exports(&request.cache_exports)?;
        let allowed = entitlements::grant(&request.entitlements, self.entitlements())?;
        let environment = self.environment(request.sessions.clone(), request.tracing);
        let state = State::new(
            self.clone(),
            environment,
            journal.clone(),
            Mode { no_cache: request.no_cache, lower: request.lower },
            allowed,
            request.cache_imports.clone(),
            request.policies.clone(),
        );
        let _stop = Stop(state.clone());
        let generator = match &request.attest.sbom {
            // Before anything is built: a build is long, and a generator that there is not fails it.
            Some(options) if !request.lower => Some(Generator::find(&state, options).await?),
            _ => None,
        };
        let output = match request.what {
            What::Definition(definition) => Output { refs: vec![(String::new(), definition)], ..Output::default() },
            What::Frontend { name, request } => state.frontend(&name, request, 0, &Grants::all()).await?,
            What::Custom { frontend, request } => {
                let bridge = Arc::new(BuildBridge::new(state.clone(), 0));
                *lock(&state.root) = Some(Asked { frontend: String::new(), args: request.opts.clone() });
                frontend.build(bridge, request).await?
            }
        };
        if request.lower {
            let pins = request.policies.pins.fresh.then_some(pins(&state, &output).await?);
            let mut response = lowered(output)?;
            response.exporter.extend(pins.map(|pins| ("pintle.pins".to_string(), pins)));
            response.exporter.insert("pintle.statistics".into(), statistics(&state));
            return Ok(response);
        }
        let extras = output.extras.clone();
        let (mut built, tops) = evaluate(&state, output).await?;
        let results = Arc::new(Results::new(state.clone(), about, tops));
        let tops = &results.tops;
        if let Some(generator) = &generator {
            built.attestations.extend(generator.attest(&state, tops, &extras).await?);
        }
        if let Some(options) = &request.attest.provenance {
            built.attestations.extend(provenance::attest(&results, options)?);
        }
        built.inline_cache = cache::inline(&state, &request.cache_exports, tops).await?;
        let mut exports = request.exports;
        if let Some(late) = &request.late_exports {
            let found = late.find(&built, exports.len()).await?;
            self.check_exports(&found)?;
            exports.extend(found);
        }
        let answers = self.export(&exports, &request.sessions, &built, &journal).await?;
        let images = answers.iter().map(|answer| answer.get(exporters::DESCRIPTOR).cloned()).enumerate();
        let images = images.filter_map(|(number, image)| Some((number, image?))).collect();
        let mut response = Response { exporter: answers.into_iter().flatten().collect(), images, provenance: None };
        response.exporter.extend(self.export_caches(&state, &request.cache_exports, tops).await?);
        for (key, value) in &built.metadata {
            let wanted = key.starts_with("result.") || key.starts_with("pintle.") || key == "version";
            if wanted && value.len() <= MAX_RESPONSE_VALUE_BYTES {
                response.exporter.insert(key.clone(), String::from_utf8_lossy(value).into_owned());
            }
        }
        if request.policies.pins.locked {
            response.exporter.insert("pintle.locked".into(), "true".into());
        }
        if request.policies.frontends.is_some() {
            response.exporter.insert("pintle.frontend-policy".into(), "true".into());
        }
        if request.explain {
            response.exporter.insert("pintle.explain".into(), explanations(&state, &journal));
        }
        if let Some(late) = &request.late_exports {
            late.finish(&response.exporter).await?;
        }
        response.provenance = request.record.then(|| Provenance::new(results, &request.attest));
        Ok(response)
    }

    /// Refuses exporters that there are not, and options that they do not have.
    fn check_exports(&self, exports: &[Export]) -> Result<(), Failure> {
        exports.iter().try_for_each(|export| {
            self.exporter(&export.kind)?
                .check(&export.attrs)
                .map_err(|error| Failure::new("invalid-argument", format!("exporter {}: {error:#}", export.kind)))
        })
    }

    /// What each exporter answers.
    async fn export(
        &self,
        exports: &[Export],
        sessions: &[Arc<dyn Session>],
        built: &Built,
        journal: &Journal,
    ) -> Result<Vec<BTreeMap<String, String>>, Failure> {
        let answers = exports.iter().map(|export| async move {
            let activity = journal.activity(&export_name(export));
            if let Ok(exporter) = self.exporter(&export.kind) {
                exporter.ignored(&export.attrs).iter().for_each(|line| activity.log(&format!("warning: {line}")));
            }
            let target = Target {
                id: export.id.clone(),
                attrs: export.attrs.clone(),
                session: sessions.first().cloned(),
                source_date_epoch: epoch(&export.attrs, built),
                progress: activity.progress(),
                steps: activity.steps(),
            };
            let result = match self.exporter(&export.kind) {
                Ok(exporter) => exporter.export(built, &target).await,
                Err(failure) => Err(failure.into()),
            };
            activity.end(&result);
            result.map_err(|error| Failure::new("export-failed", format!("export to {}: {error:#}", export.kind)))
        });
        try_join_all(answers).await
    }
}

fn export_name(export: &Export) -> String {
    match export.kind.as_str() {
        "image" | "registry" => "exporting to image".into(),
        "oci" => "exporting to oci image format".into(),
        "docker" => "exporting to docker image format".into(),
        "tar" => "exporting to client tarball".into(),
        "local" => "exporting to client directory".into(),
        kind => format!("exporting to {kind}"),
    }
}

/// Seconds since 1970 that the exporter's attribute or the frontend's metadata ask for.
fn epoch(attrs: &BTreeMap<String, String>, built: &Built) -> Option<i64> {
    let own = attrs.get("source-date-epoch").cloned();
    let frontend = || built.metadata.get("source.date.epoch").map(|value| String::from_utf8_lossy(value).into_owned());
    own.or_else(frontend).and_then(|text| text.trim().parse().ok())
}

/// Builds all results at once.
async fn evaluate(state: &Arc<State>, output: Output) -> Result<(Built, Vec<Top>), Failure> {
    let results = output.refs.iter().map(|(platform, definition)| async move {
        let definition = &nested::expand(state, definition.clone(), 0).await?;
        let Some(edge) = definition.edge else { return Ok((platform.clone(), None)) };
        let snapshot = state.result(definition).await?;
        let definition = state.governed(&definition.graph, edge).await?;
        let Some(edge) = definition.edge else { return Ok((platform.clone(), None)) };
        let vertex = state.vertex(&definition.graph, edge)?;
        let platform = platform.clone();
        Ok::<_, Failure>((platform.clone(), Some(Top { platform, vertex, definition, edge, snapshot })))
    });
    let (mut refs, mut tops) = (Vec::new(), Vec::new());
    for (platform, result) in try_join_all(results).await? {
        refs.push((platform, result.as_ref().map(|top| top.snapshot.clone())));
        tops.extend(result);
    }
    Ok((Built { refs, metadata: output.metadata, ..Built::default() }, tops))
}

/// The graphs as BuildKit's definitions in base64, by platform: `pintle.definition`, or `pintle.definition/PLATFORM`.
fn lowered(output: Output) -> Result<Response, Failure> {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    let mut response = Response::default();
    for (platform, definition) in output.refs {
        let bytes = definition.graph.encode_bytes(definition.edge);
        let bytes = bytes.map_err(|error| Failure::new("internal", error.to_string()))?;
        let key =
            if platform.is_empty() { "pintle.definition".into() } else { format!("pintle.definition/{platform}") };
        response.exporter.insert(key, BASE64_STANDARD.encode(bytes));
    }
    Ok(response)
}

/// What the names of frontends and images turned out to be, as a lock file.
async fn pins(state: &Arc<State>, output: &Output) -> Result<String, Failure> {
    for (_, definition) in &output.refs {
        for (_, vertex) in definition.graph.iter() {
            let llb::Op::Source(source) = &vertex.op else { continue };
            let Some(name) = source.identifier.strip_prefix("docker-image://") else { continue };
            if lock(&state.images).iter().any(|image| image.reference == name) || name.contains('@') {
                continue;
            }
            let query = SourceQuery {
                identifier: source.identifier.clone(),
                attrs: source.attrs.clone(),
                platform: vertex.platform.clone(),
                ..SourceQuery::default()
            };
            state.resolve_source(query).await?;
        }
    }
    let images = lock(&state.images);
    let images = images.iter().filter(|image| !image.is_local).filter_map(|image| {
        let reference: oci::Reference = image.reference.parse().ok()?;
        reference.digest().is_none().then(|| (reference.to_string(), image.digest.clone()))
    });
    let pins = Lock { frontends: lock(&state.pinned).clone(), images: Some(images.collect()) };
    Ok(pins.to_string())
}

/// What each frontend used, as JSON: a list of objects.
fn statistics(state: &State) -> String {
    let ran = lock(&state.ran);
    let list = ran.iter().map(|(name, used)| {
        serde_json::json!({
            "frontend": shown_name(name),
            "instructions": used.instructions,
            "memoryBytes": used.memory_bytes,
            "hostCalls": used.host_calls,
            "runningNanos": u64::try_from(used.running.as_nanos()).unwrap_or(u64::MAX),
        })
    });
    serde_json::Value::Array(list.collect()).to_string()
}

/// Why each frontend and each vertex ran or did not, as JSON: a list of objects with `name`, `hit` and `why`.
fn explanations(state: &State, journal: &Journal) -> String {
    use solver::progress::EventKind;
    let mut names = std::collections::HashMap::new();
    let mut lines: Vec<serde_json::Value> = lock(&state.origins).iter().map(explained).collect();
    for event in journal.events_so_far() {
        match &event.kind {
            EventKind::Defined { name, .. } => drop(names.insert(event.vertex.clone(), name.clone())),
            EventKind::Explained { hit, why } => {
                let name = names.get(&event.vertex).cloned().unwrap_or_default();
                lines.push(serde_json::json!({"vertex": &*event.vertex, "name": &*name, "hit": hit, "why": why}));
            }
            _ => {}
        }
    }
    serde_json::Value::Array(lines).to_string()
}

/// Why a frontend ran or did not.
fn explained((name, origin): &(String, Origin)) -> serde_json::Value {
    let (hit, why) = match origin {
        Origin::Memory(questions) => (true, format!("the answers to its {questions} questions are as they were")),
        Origin::Ran(why) => (false, why.clone()),
    };
    serde_json::json!({"vertex": "", "name": format!("[frontend] {name}"), "hit": hit, "why": why})
}

struct Close(Journal);

impl Drop for Close {
    fn drop(&mut self) {
        self.0.close();
    }
}

struct Stop(Arc<State>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.stop();
    }
}
