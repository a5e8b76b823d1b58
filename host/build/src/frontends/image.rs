//! Frontends that are images: a process in a container, which speaks BuildKit's gateway protocol over its standard streams.

mod process;
mod streams;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use frontend::{Bridge, Definition, Error, Frontend, Output, Request, SourceQuery};
use llb::{Graph, op::SourceOp};
use oci::Reference;
use serde::Deserialize;
use tokio::io::DuplexStream;

use crate::{
    Worker,
    bridge::{BUILD_PLATFORM, BuildBridge, DOCKERFILE_IMAGE, State, failed},
    lazy::internal,
};

/// The label by which an image says what it can, separated by commas.
const CAPS_LABEL: &str = "moby.buildkit.frontend.caps";
/// The label by which an image says that it needs no network.
const NO_NETWORK_LABEL: &str = "moby.buildkit.frontend.network.none";
/// The option by which a client says what the frontend must be able to do.
const CAPS_OPTION: &str = "frontend.caps";
/// What a frontend must be able to do that is given inputs.
const INPUTS_CAP: &str = "moby.buildkit.frontend.inputs";

/// How frontends that are images run.
#[derive(Clone, Debug)]
pub struct ImageSettings {
    /// Repositories, complete (`docker.io/acme/lang`), whose frontends have a network; all others have none.
    pub network: BTreeSet<String>,
    /// The most bytes of memory that a container may have.
    pub memory: Option<u64>,
    /// How long a frontend may ask nothing while nothing is done for it, before it is taken to hang.
    pub idle: Duration,
}

impl ImageSettings {
    /// How long a frontend may ask nothing, unless said otherwise.
    pub const IDLE: Duration = Duration::from_secs(5 * 60);
}

impl Default for ImageSettings {
    fn default() -> Self {
        ImageSettings { network: BTreeSet::new(), memory: None, idle: Self::IDLE }
    }
}

/// Speaks the gateway's protocol.
#[async_trait]
pub trait Gateway: Send + Sync + 'static {
    /// Answers a frontend until it has returned its result. It goes on to answer while the stream lives.
    async fn serve(&self, call: GatewayCall) -> Result<Output, Error>;
}

/// One call of a frontend that is a process.
#[allow(missing_docs)]
pub struct GatewayCall {
    /// As the user knows it.
    pub name: String,
    pub bridge: Arc<dyn Bridge>,
    pub request: Request,
    pub worker: Worker,
    /// To the process's standard input, and from its standard output.
    pub stream: DuplexStream,
    /// As [`ImageSettings::idle`].
    pub idle: Duration,
}

/// A frontend that is an image, for one build.
pub(super) struct ImageFrontend {
    pub name: ImageName,
    pub bridge: Arc<BuildBridge>,
    pub gateway: Arc<dyn Gateway>,
    pub settings: ImageSettings,
}

/// Which image a frontend is.
pub(super) struct ImageName {
    /// As the user knows it: by the digest when it has no tag.
    pub shown: String,
    /// With the digest, where it is of a registry.
    pub full: String,
    /// Complete, as grants of a network have it.
    pub repository: String,
    pub digest: String,
    /// By digest.
    pub op: SourceOp,
}

impl ImageName {
    /// Of an image of a registry, by its digest.
    pub fn of(reference: &Reference) -> ImageName {
        let name = reference.familiar();
        let shown = match (reference.tag(), name.split_once('@')) {
            (Some(_), Some((tagged, _))) => tagged.into(),
            _ => name,
        };
        ImageName {
            shown,
            full: reference.to_string(),
            repository: reference.name(),
            digest: reference.digest().unwrap_or_default().into(),
            op: SourceOp { identifier: format!("docker-image://{reference}"), ..SourceOp::default() },
        }
    }
}

/// What of an image's config matters.
#[derive(Deserialize, Default)]
struct Image {
    #[serde(default)]
    config: Option<Config>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    working_dir: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

#[async_trait]
impl Frontend for ImageFrontend {
    async fn build(&self, bridge: Arc<dyn Bridge>, request: Request) -> Result<Output, Error> {
        let state = &self.bridge.state;
        let SourceOp { identifier, attrs } = self.name.op.clone();
        let meta = state.resolve_source(SourceQuery { identifier, attrs, ..SourceQuery::default() }).await?;
        let config = self.config(&meta.config.unwrap_or_default())?;
        check_caps(&config, &request, self.shown())?;
        let definition = definition(state, SourceOp { identifier: meta.identifier, attrs: meta.attrs })?;
        let root = state.result(&definition).await?;
        let request = self.named(request);
        let prepared = process::prepare(self, &config, &request, definition, root).await?;
        streams::converse(self, prepared, bridge, request).await
    }

    fn component(&self) -> Option<String> {
        Some(self.name.digest.clone())
    }
}

impl ImageFrontend {
    /// Its name as the user knows it.
    fn shown(&self) -> &str {
        &self.name.shown
    }

    fn config(&self, bytes: &[u8]) -> Result<Config, Error> {
        let image: Image = serde_json::from_slice(bytes).map_err(|error| {
            Error::invalid(format!("frontend {}: its config cannot be read: {error}", self.shown()))
        })?;
        Ok(image.config.unwrap_or_default())
    }

    /// The request as every frontend that is an image gets it: with its own name, and without what components alone are told.
    fn named(&self, mut request: Request) -> Request {
        request.opts.retain(|name, _| name != BUILD_PLATFORM && name != DOCKERFILE_IMAGE);
        request.opts.entry("source".into()).or_insert_with(|| self.name.full.clone());
        request
    }

    /// Whether the container has a network: if it is granted, and wanted.
    fn has_network(&self, config: &Config) -> bool {
        self.is_granted() && !config.refuses_network()
    }

    fn is_granted(&self) -> bool {
        self.settings.network.contains(&self.name.repository)
    }
}

impl Config {
    fn label(&self, name: &str) -> &str {
        self.labels.as_ref().and_then(|labels| labels.get(name)).map_or("", String::as_str)
    }

    fn refuses_network(&self) -> bool {
        matches!(self.label(NO_NETWORK_LABEL), "1" | "t" | "T" | "true" | "TRUE" | "True")
    }
}

/// Whether the image can do what the client counts on. What follows a `+` is a remark.
fn check_caps(config: &Config, request: &Request, name: &str) -> Result<(), Error> {
    let can: BTreeSet<&str> = caps(config.label(CAPS_LABEL)).collect();
    let wanted = request.opts.get(CAPS_OPTION).map(String::as_str).unwrap_or_default();
    let inputs = (!request.inputs.is_empty()).then_some(INPUTS_CAP);
    match caps(wanted).chain(inputs).find(|cap| !can.contains(cap)) {
        None => Ok(()),
        Some(cap) => Err(Error {
            detail: vec![("frontend-cap".into(), cap.into())],
            ..failed("unsupported", format!("frontend {name}: unsupported frontend capability {cap}"))
        }),
    }
}

fn caps(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').filter_map(|cap| cap.split('+').next()).filter(|cap| !cap.is_empty())
}

/// The image's files, as a graph.
fn definition(state: &State, source: SourceOp) -> Result<Definition, Error> {
    let op = llb::Op::Source(source);
    let platform = Some(state.environment.platform.clone());
    let mut graph = Graph::new();
    let vertex = graph.add(op, Vec::new(), platform, Vec::new(), llb::VertexMeta::default());
    let vertex = vertex.map_err(|error| internal(error.into()))?;
    Ok(Definition { graph: Arc::new(graph), edge: Some(llb::Edge { vertex, output: 0 }) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(labels: &[(&str, &str)]) -> Config {
        let labels = labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Config { labels: Some(labels), ..Config::default() }
    }

    #[test]
    fn what_a_client_counts_on() {
        let image = config(&[(CAPS_LABEL, "one,two+remark,,moby.buildkit.frontend.inputs")]);
        let asks = |caps: &str| Request {
            opts: [(CAPS_OPTION.to_string(), caps.to_string())].into(),
            inputs: [("in".to_string(), Definition::default())].into(),
        };
        for (caps, missing) in [("", None), ("one", None), ("two+forward,one", None), ("one,three+x", Some("three"))] {
            let checked = check_caps(&image, &asks(caps), "a/b:1").err();
            assert_eq!(checked.as_ref().and_then(|error| error.detail("frontend-cap")), missing, "{caps}");
        }
        let without = check_caps(&Config::default(), &asks(""), "a/b:1").unwrap_err();
        assert_eq!((without.code.as_str(), without.detail("frontend-cap")), ("unsupported", Some(INPUTS_CAP)));
    }

    #[test]
    fn the_label_for_no_network_is_a_boolean() {
        for (value, refused) in [("true", true), ("1", true), ("false", false), ("", false), ("maybe", false)] {
            assert_eq!(config(&[(NO_NETWORK_LABEL, value)]).refuses_network(), refused, "{value:?}");
        }
    }

    #[test]
    fn configs_as_go_writes_them() {
        let image: Image = serde_json::from_str(r#"{"os":"linux","config":{"Env":null,"Entrypoint":["/a"]}}"#).unwrap();
        let config = image.config.unwrap();
        assert_eq!((config.entrypoint, config.env), (Some(vec!["/a".into()]), None));
        assert!(serde_json::from_str::<Image>(r#"{"config":null}"#).unwrap().config.is_none());
    }
}
