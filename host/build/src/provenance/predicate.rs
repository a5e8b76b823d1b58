//! Provenance as JSON: SLSA v1 with BuildKit's additions (`docs/attestations/slsa-definitions.md`), and what v0.2 calls the same.

use std::collections::BTreeMap;

use jiff::Timestamp;
use llb::text::{Numbered, Steps};
use serde_json::{Map, Value, json};

use super::{
    Asked,
    capture::{Capture, redacted},
    options::ProvenanceOptions,
};

const BUILD_TYPE_V1: &str = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";
const BUILD_TYPE_V02: &str = "https://mobyproject.org/buildkit@v1";
/// What kind of thing is said.
pub const PREDICATE_V1: &str = "https://slsa.dev/provenance/v1";
pub const PREDICATE_V02: &str = "https://slsa.dev/provenance/v0.2";
/// Under which v0.2 has what is BuildKit's own.
const METADATA_KEY: &str = "https://mobyproject.org/buildkit@v1#metadata";
const HERMETIC_KEY: &str = "https://mobyproject.org/buildkit@v1#hermetic";
/// Options that say where and for whom is built, and not what.
const LEFT_OUT: [&str; 4] = ["cgroup-parent", "image-resolve-mode", "platform", "cache-imports"];
/// BuildKit's number for how steps and images are made since its version 0.31, which is how they are made here.
const COMPATIBILITY: u32 = 30;
/// Where the component of a build language stands among what the build was made with.
const COMPONENTS_KEY: &str = "frontendComponents";

/// Our own part: who signed build languages, and what they were granted.
const TRUST_KEY: &str = "frontendTrust";

/// Where a source has URLs.
const URLS: [&str; 2] = ["/identifier", "/attrs/git.fullurl"];

/// A build, as provenance speaks of it.
pub struct About<'a> {
    pub id: &'a str,
    /// What was asked of a frontend: one without a name for a ready-made definition.
    pub asked: Asked,
    /// What was asked of a client that asked the frontend in turn.
    pub root: Option<Asked>,
    pub started: Timestamp,
    pub finished: Timestamp,
    /// The platform of the engine.
    pub platform: String,
    /// Build languages by name, with the digests of their components.
    pub components: &'a BTreeMap<String, String>,
    /// Who signed build languages and what they may ask, by name, where rules say so.
    pub trust: Value,
    /// What the result is made of, for mode=max.
    pub steps: Option<Steps>,
    /// The layers that its steps are, for mode=max.
    pub layers: Map<String, Value>,
}

/// The parts that both versions have, under the names of each.
struct Parts {
    config_source: Map<String, Value>,
    request: Map<String, Value>,
    vcs: Map<String, Value>,
    is_complete: bool,
    request_is_complete: bool,
}

/// What is said of a result.
pub fn predicate(mut about: About<'_>, capture: &Capture, options: &ProvenanceOptions) -> Value {
    let layers = std::mem::take(&mut about.layers);
    let definition = about.steps.take().map(|steps| definition(steps, layers)).unwrap_or_default();
    let parts = parts(&about, capture, options);
    match options.is_v02 {
        true => v02(&about, definition, capture, options, parts),
        false => v1(&about, definition, capture, options, parts),
    }
}

/// What the result is made of, where that is said.
#[derive(Default)]
struct Definition {
    /// The graph, for `buildConfig`.
    config: Option<Value>,
    /// The texts that it comes from, and the places in them.
    source: Option<Value>,
    /// The layers that steps are.
    layers: Map<String, Value>,
}

fn parts(about: &About<'_>, capture: &Capture, options: &ProvenanceOptions) -> Parts {
    let mut args = about.asked.args.clone();
    let vcs = told(&mut args);
    let config_source = config_source(&mut args, capture);
    let mut request_is_complete = !about.asked.frontend.is_empty();
    if !options.is_max {
        request_is_complete &= !scrub(&mut args);
    }
    let mut request = request(about, args, capture, options);
    let root = about.root.as_ref().map(|root| root_request(root, capture, options));
    request.extend(root.flatten().map(|root| ("root".to_owned(), root)));
    let is_complete = !capture.is_incomplete && capture.locals.is_empty();
    Parts { config_source, request, vcs, is_complete, request_is_complete }
}

/// Leaves the arguments that are told, without credentials; answers those that say which revision was built.
fn told(args: &mut BTreeMap<String, String>) -> Map<String, Value> {
    args.retain(|key, _| !LEFT_OUT.contains(&key.as_str()) && !key.starts_with("attest:"));
    for (key, value) in args.iter_mut() {
        if key.starts_with("context:") {
            *value = redacted(value);
        }
    }
    let mut vcs = Map::new();
    args.retain(|key, value| match key.strip_prefix("vcs:") {
        Some(name) => {
            vcs.insert(name.into(), redacted(value).into());
            false
        }
        None => true,
    });
    vcs
}

/// Takes the user's own values away; whether there were any.
fn scrub(args: &mut BTreeMap<String, String>) -> bool {
    let before = args.len();
    args.retain(|key, _| !key.starts_with("build-arg:") && !key.starts_with("label:"));
    args.len() < before
}

/// What was asked of a client, where that is anything.
fn root_request(root: &Asked, capture: &Capture, options: &ProvenanceOptions) -> Option<Value> {
    let mut args = root.args.clone();
    told(&mut args);
    let config_source = config_source(&mut args, capture);
    if root.frontend.is_empty() && args.is_empty() {
        return None;
    }
    if !options.is_max {
        scrub(&mut args);
    }
    let request = frontend_and_args(&root.frontend, &args);
    Some(object([("configSource", config_source.into()), ("request", request.into())]).into())
}

fn frontend_and_args(frontend: &str, args: &BTreeMap<String, String>) -> Map<String, Value> {
    let mut request = Map::new();
    if !frontend.is_empty() {
        request.insert("frontend".into(), frontend.into());
    }
    if !args.is_empty() {
        request.insert("args".into(), json!(args));
    }
    request
}

/// Where the definition of the build came from; what is said here is not said again among the arguments.
fn config_source(args: &mut BTreeMap<String, String>, capture: &Capture) -> Map<String, Value> {
    let mut source = Map::new();
    let given = |key: &str| args.get(key).filter(|value| !value.is_empty()).cloned();
    let key = given("contextkey").or_else(|| given("input:context").map(|_| "input:context".into()));
    let key = key.unwrap_or_else(|| "context".into());
    if let Some(context) = given(&key) {
        match capture.find(&context) {
            Some(Value::Object(found)) => source = found,
            _ => drop(source.insert("uri".into(), redacted(&context).into())),
        }
        args.remove(&key);
    }
    if let Some(filename) = args.remove("filename").filter(|name| !name.is_empty()) {
        source.insert("path".into(), filename.into());
    }
    source
}

fn request(
    about: &About<'_>,
    args: BTreeMap<String, String>,
    capture: &Capture,
    options: &ProvenanceOptions,
) -> Map<String, Value> {
    let mut request = frontend_and_args(&about.asked.frontend, &args);
    let list = |ids: &BTreeMap<String, bool>| {
        let one = |(id, optional): (&String, &bool)| match optional {
            true => json!({ "id": id, "optional": true }),
            false => json!({ "id": id }),
        };
        ids.iter().map(one).collect::<Vec<_>>()
    };
    for (name, ids) in [("secrets", &capture.secrets), ("ssh", &capture.ssh)] {
        if options.is_max && !ids.is_empty() {
            request.insert(name.into(), list(ids).into());
        }
    }
    request.insert("compatibilityVersion".into(), COMPATIBILITY.into());
    let mut locals = capture.locals.clone();
    locals.sort();
    if !locals.is_empty() {
        request.insert("locals".into(), locals.iter().map(|name| json!({ "name": name })).collect());
    }
    request
}

/// Values are moved, for of a large graph a copy is much.
fn definition(steps: Steps, layers: Map<String, Value>) -> Definition {
    let locations: Map<String, Value> = steps.locations.into_iter().collect();
    let infos = steps.sources.into_iter().map(|(mut info, read_from)| {
        if let (Some(info), Some(read_from)) = (info.as_object_mut(), read_from) {
            info.extend(graph(read_from));
        }
        info
    });
    let infos: Vec<Value> = infos.collect();
    let source = (!infos.is_empty()).then(|| object([("locations", locations.into()), ("infos", infos.into())]).into());
    Definition { config: Some(graph(steps.graph).into()), source, layers }
}

/// A graph without the credentials of its URLs.
fn graph(mut steps: Numbered) -> Map<String, Value> {
    for source in steps.steps.iter_mut().filter_map(|step| step.pointer_mut("/op/Op/source")) {
        for place in URLS {
            if let Some(url) = source.pointer_mut(place) {
                *url = redacted(url.as_str().unwrap_or_default()).into();
            }
        }
    }
    let by_digest: Map<String, Value> =
        steps.by_digest.into_iter().map(|(digest, step)| (digest.as_str().to_owned(), step.into())).collect();
    object([("llbDefinition", steps.steps.into()), ("digestMapping", by_digest.into())])
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What is BuildKit's own to say.
fn metadata(source: Option<Value>, layers: Map<String, Value>, vcs: Map<String, Value>) -> Value {
    let mut metadata = Map::new();
    if !vcs.is_empty() {
        metadata.insert("vcs".into(), vcs.into());
    }
    metadata.extend(source.map(|source| ("source".to_owned(), source)));
    if !layers.is_empty() {
        metadata.insert("layers".into(), layers.into());
    }
    metadata.into()
}

fn components(about: &About<'_>, to: &mut Map<String, Value>) {
    if !about.components.is_empty() {
        to.insert(COMPONENTS_KEY.into(), json!(about.components));
    }
    if about.trust.as_object().is_some_and(|trust| !trust.is_empty()) {
        to.insert(TRUST_KEY.into(), about.trust.clone());
    }
}

fn v1(
    about: &About<'_>,
    definition: Definition,
    capture: &Capture,
    options: &ProvenanceOptions,
    parts: Parts,
) -> Value {
    let mut internal = Map::new();
    internal.extend(definition.config.map(|config| ("buildConfig".to_owned(), config)));
    internal.insert("builderPlatform".into(), about.platform.as_str().into());
    components(about, &mut internal);
    let mut run = json!({
        "invocationId": about.id,
        "startedOn": about.started.to_string(),
        "finishedOn": about.finished.to_string(),
    });
    run["buildkit_metadata"] = metadata(definition.source, definition.layers, parts.vcs);
    if parts.is_complete && !capture.has_network {
        run["buildkit_hermetic"] = true.into();
    }
    run["buildkit_completeness"] =
        json!({ "request": parts.request_is_complete, "resolvedDependencies": parts.is_complete });
    if options.reproducible {
        run["buildkit_reproducible"] = true.into();
    }
    let mut definition = json!({
        "buildType": BUILD_TYPE_V1,
        "resolvedDependencies": capture.materials(),
        "externalParameters": { "configSource": parts.config_source, "request": parts.request },
    });
    definition["internalParameters"] = internal.into();
    let mut details = json!({ "builder": { "id": options.builder_id } });
    details["metadata"] = run;
    object([("buildDefinition", definition), ("runDetails", details)]).into()
}

fn v02(
    about: &About<'_>,
    definition: Definition,
    capture: &Capture,
    options: &ProvenanceOptions,
    mut parts: Parts,
) -> Value {
    if let Some(path) = parts.config_source.remove("path") {
        parts.config_source.insert("entryPoint".into(), path);
    }
    let mut environment = Map::from_iter([("platform".to_owned(), about.platform.as_str().into())]);
    components(about, &mut environment);
    let mut run = json!({
        "buildInvocationID": about.id,
        "buildStartedOn": about.started.to_string(),
        "buildFinishedOn": about.finished.to_string(),
        "completeness": {
            "parameters": parts.request_is_complete, "environment": true, "materials": parts.is_complete,
        },
        "reproducible": options.reproducible,
    });
    run[METADATA_KEY] = metadata(definition.source, definition.layers, parts.vcs);
    if parts.is_complete && !capture.has_network {
        run[HERMETIC_KEY] = true.into();
    }
    let mut predicate = json!({
        "builder": { "id": options.builder_id },
        "buildType": BUILD_TYPE_V02,
        "materials": capture.materials(),
        "invocation": {
            "configSource": parts.config_source, "parameters": parts.request, "environment": environment,
        },
    });
    if let Some(config) = definition.config {
        predicate["buildConfig"] = config;
    }
    predicate["metadata"] = run;
    predicate
}
