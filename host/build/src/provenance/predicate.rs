//! Provenance as JSON: SLSA v1 with BuildKit's additions (`docs/attestations/slsa-definitions.md`), and what v0.2 calls the same.

use std::collections::BTreeMap;

use jiff::Timestamp;
use llb::text::Steps;
use serde::{Serialize, Serializer, ser::SerializeMap};
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
    pub steps: Option<Steps<'a>>,
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

/// What is said of a result, as JSON.
///
/// # Errors
/// A source text that says of itself that it was read from what is no definition.
pub fn predicate(mut about: About<'_>, capture: &Capture, options: &ProvenanceOptions) -> anyhow::Result<Vec<u8>> {
    let layers = std::mem::take(&mut about.layers);
    let source = about.steps.as_ref().map(source).transpose()?.flatten();
    let parts = parts(&about, capture, options);
    let metadata = metadata(source, layers, &parts);
    Ok(match options.is_v02 {
        true => write(&v02(&about, metadata, capture, options, parts), options),
        false => write(&v1(&about, metadata, capture, options, parts), options),
    }?)
}

fn write(predicate: &impl Serialize, options: &ProvenanceOptions) -> serde_json::Result<Vec<u8>> {
    match options.indented {
        true => serde_json::to_vec_pretty(predicate),
        false => serde_json::to_vec(predicate),
    }
}

/// A graph as `buildConfig` has it, without the credentials of its URLs. It is made as it is written.
struct Config<'a>(&'a Steps<'a>);

impl Serialize for Config<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("llbDefinition", &Each(|| self.0.iter().map(without_credentials)))?;
        map.serialize_entry("digestMapping", &Pairs(self.0.digests()))?;
        map.end()
    }
}

/// A list that is made as it is written.
struct Each<F>(F);

impl<F: Fn() -> I, I: Iterator<Item = Value>> Serialize for Each<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

/// A map of pairs that are in order.
struct Pairs<'a>(Vec<(&'a llb::Digest, String)>);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(digest, step)| (digest.as_str(), step)))
    }
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
    for (name, value) in told(&mut args) {
        // Here they stand where they were given.
        args.insert(format!("vcs:{name}"), value.as_str().unwrap_or_default().into());
    }
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

/// The texts that the result comes from, and the places in them.
fn source(steps: &Steps<'_>) -> anyhow::Result<Option<Value>> {
    let locations: Map<String, Value> = steps.locations().collect();
    let infos = steps.sources()?.into_iter().map(|(mut info, read_from)| {
        if let (Some(info), Some(read_from)) = (info.as_object_mut(), read_from)
            && let Value::Object(graph) = serde_json::to_value(Config(&read_from))?
        {
            info.extend(graph);
        }
        Ok(info)
    });
    let infos = infos.collect::<anyhow::Result<Vec<Value>>>()?;
    Ok((!infos.is_empty()).then(|| object([("locations", locations.into()), ("infos", infos.into())]).into()))
}

fn without_credentials(mut step: Value) -> Value {
    if let Some(source) = step.pointer_mut("/op/Op/source") {
        for place in URLS {
            if let Some(url) = source.pointer_mut(place) {
                *url = redacted(url.as_str().unwrap_or_default()).into();
            }
        }
    }
    step
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What is BuildKit's own to say.
fn metadata(source: Option<Value>, layers: Map<String, Value>, parts: &Parts) -> Value {
    let mut metadata = Map::new();
    if !parts.vcs.is_empty() {
        metadata.insert("vcs".into(), parts.vcs.clone().into());
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct V1<'a> {
    build_definition: DefinitionV1<'a>,
    run_details: Value,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DefinitionV1<'a> {
    build_type: &'static str,
    resolved_dependencies: Value,
    external_parameters: Value,
    internal_parameters: Internal<'a>,
}

#[derive(Serialize)]
struct Internal<'a> {
    #[serde(rename = "buildConfig", skip_serializing_if = "Option::is_none")]
    config: Option<Config<'a>>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

fn v1<'a>(
    about: &'a About<'_>,
    metadata: Value,
    capture: &Capture,
    options: &ProvenanceOptions,
    parts: Parts,
) -> V1<'a> {
    let mut internal = Map::new();
    internal.insert("builderPlatform".into(), about.platform.as_str().into());
    components(about, &mut internal);
    let mut run = json!({
        "invocationId": about.id,
        "startedOn": about.started.to_string(),
        "finishedOn": about.finished.to_string(),
    });
    run["buildkit_metadata"] = metadata;
    if parts.is_complete && !capture.has_network {
        run["buildkit_hermetic"] = true.into();
    }
    run["buildkit_completeness"] =
        json!({ "request": parts.request_is_complete, "resolvedDependencies": parts.is_complete });
    if options.reproducible {
        run["buildkit_reproducible"] = true.into();
    }
    let mut run_details = json!({ "builder": { "id": options.builder_id } });
    run_details["metadata"] = run;
    let build_definition = DefinitionV1 {
        build_type: BUILD_TYPE_V1,
        resolved_dependencies: json!(capture.materials()),
        external_parameters: json!({ "configSource": parts.config_source, "request": parts.request }),
        internal_parameters: Internal { config: about.steps.as_ref().map(Config), rest: internal },
    };
    V1 { build_definition, run_details }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct V02<'a> {
    builder: Value,
    build_type: &'static str,
    materials: Value,
    invocation: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    build_config: Option<Config<'a>>,
    metadata: Value,
}

fn v02<'a>(
    about: &'a About<'_>,
    metadata: Value,
    capture: &Capture,
    options: &ProvenanceOptions,
    mut parts: Parts,
) -> V02<'a> {
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
    run[METADATA_KEY] = metadata;
    if parts.is_complete && !capture.has_network {
        run[HERMETIC_KEY] = true.into();
    }
    V02 {
        builder: json!({ "id": options.builder_id }),
        build_type: BUILD_TYPE_V02,
        materials: json!(capture.materials()),
        invocation: json!({
            "configSource": parts.config_source, "parameters": parts.request, "environment": environment,
        }),
        build_config: about.steps.as_ref().map(Config),
        metadata: run,
    }
}
