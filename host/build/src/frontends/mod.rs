//! Build languages by name.

mod absent;
mod admit;
mod bundle;
mod client;
mod fetch;
mod image;
mod layout;
mod policy;
mod signatures;
mod trust;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use frontend::{Calls, Error, Frontend, Library, Limits, Request, Runtime};
use oci::Reference;
use sources::Layout;

pub use absent::hint;
pub(crate) use admit::Admission;
use admit::Candidate;
pub use bundle::{BUNDLE_NAME, BUNDLE_SIGNATURES, BUNDLE_SIGNED, load_bundle, load_bundle_dir};
pub use fetch::{Blobs, Fetched, Freshness, PackedComponent, component, fetch};
pub use image::{Gateway, GatewayCall, ImageSettings};
use image::{ImageFrontend, ImageName};
pub use layout::LayoutName;
pub(crate) use layout::is_layout;
pub use policy::{FrontendPolicy, PolicyError, PolicyFileError};
pub use signatures::{Signed, signatures};
pub use trust::{Consequence, Grant, Grants, Trust, TrustRule, Verdict, file_name};

use crate::bridge::{BuildBridge, State, failed, lock};

/// The build languages that an engine knows, and the runtime that runs others. Cheap to clone.
#[derive(Clone)]
pub struct Frontends {
    runtime: Runtime,
    builtin: BTreeMap<String, Arc<dyn Frontend>>,
    library: Option<Library>,
    seen: Arc<client::Seen>,
    settings: Settings,
    gateway: Option<Arc<dyn Gateway>>,
    calls: Option<Calls>,
}

/// A frontend that may run.
pub(crate) struct Found {
    pub frontend: Arc<dyn Frontend>,
    pub admission: Admission,
}

impl Found {
    /// One of this program: no rule is on it, and its own limits are in it.
    fn shipped(frontend: Arc<dyn Frontend>) -> Found {
        Found { frontend, admission: Admission::of_all(Limits { vertices: usize::MAX, ..Limits::default() }) }
    }
}

/// How names of frontends are understood.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Names that stand for others.
    pub aliases: BTreeMap<String, String>,
    /// When a registry is asked again what a tag means.
    pub freshness: Freshness,
    /// Whether the images that docker/dockerfile is published as are fetched as they are, instead of answered by the built-in one.
    pub fetch_dockerfile: bool,
    /// How those run that are images.
    pub image: ImageSettings,
    /// Which may run, and what they may ask.
    pub trust: Trust,
}

impl Settings {
    /// How long what a tag means is taken to hold, unless said otherwise.
    pub const CHECK_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
}

impl Default for Settings {
    fn default() -> Self {
        let freshness = Freshness::After(Self::CHECK_INTERVAL);
        Settings {
            aliases: BTreeMap::new(),
            freshness,
            fetch_dockerfile: false,
            image: ImageSettings::default(),
            trust: Trust::default(),
        }
    }
}

/// The frontend that a request without a name means.
const DEFAULT: &str = "dockerfile.v0";
/// BuildKit's word for "the frontend that option `source` names".
const GATEWAY: &str = "gateway.v0";

impl Frontends {
    /// None yet, besides what `runtime` can load.
    pub fn new(runtime: Runtime) -> Self {
        let (builtin, settings) = (BTreeMap::new(), Settings::default());
        Frontends { runtime, builtin, library: None, seen: Arc::default(), settings, gateway: None, calls: None }
    }

    /// Adds one under a name.
    pub fn add(&mut self, name: &str, frontend: Arc<dyn Frontend>) {
        self.builtin.insert(name.into(), frontend);
    }

    /// Lets names mean components of registries, which are kept in `library`.
    pub fn with_library(self, library: Library, settings: Settings) -> Self {
        Frontends { library: Some(library), settings, ..self }
    }

    /// Lets names mean images, whose processes `gateway` answers.
    pub fn with_gateway(self, gateway: Arc<dyn Gateway>) -> Self {
        Frontends { gateway: Some(gateway), ..self }
    }

    /// Lets calls be answered as they were, where all that was asked for them is as it was.
    pub fn with_calls(self, calls: Calls) -> Self {
        Frontends { calls: Some(calls), ..self }
    }

    /// What is remembered of calls.
    pub(crate) fn calls(&self) -> Option<&Calls> {
        self.calls.as_ref()
    }

    /// Runs components.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Whether `docker/dockerfile` is fetched.
    pub(crate) fn fetch_dockerfile(&self) -> bool {
        self.settings.fetch_dockerfile
    }

    /// The frontend for `source`: a name, a file of the client's, or a reference to a registry.
    pub(crate) async fn find(
        &self,
        source: &str,
        request: &Request,
        bridge: &Arc<BuildBridge>,
    ) -> Result<Found, Error> {
        let source = self.meaning(source, request)?;
        if let Some(frontend) = self.builtin.get(&source) {
            return Ok(Found::shipped(frontend.clone()));
        }
        if is_dockerfile_image(&source) && !self.settings.fetch_dockerfile {
            return self.builtin.get(DEFAULT).cloned().map(Found::shipped).ok_or_else(|| self.unknown(&source));
        }
        if source.ends_with(".wasm") {
            return self.of_client(&source, bridge).await;
        }
        if is_layout(&source) {
            return self.in_layout(&source, bridge).await;
        }
        match &self.library {
            Some(library) if source.contains(['/', ':', '@']) => self.fetched(library, &source, bridge).await,
            _ => Err(self.unknown(&source)),
        }
    }

    /// What a name stands for: the option `source`, a named context, an alias, or itself.
    fn meaning(&self, source: &str, request: &Request) -> Result<String, Error> {
        let source = match source {
            "" => DEFAULT,
            GATEWAY => request.opts.get("source").map(String::as_str).ok_or_else(|| {
                failed(
                    "invalid-argument",
                    "frontend gateway.v0 needs the option source: an image or a .wasm file".into(),
                )
            })?,
            other => other,
        };
        let source = match request.opts.get(&format!("context:{source}")) {
            Some(context) if is_layout(context) => context,
            Some(context) => context.strip_prefix("docker-image://").ok_or_else(|| {
                let want = "want docker-image://NAME or oci-layout://NAME";
                failed("unsupported", format!("frontend {source:?}: its named context is {context:?}; {want}"))
            })?,
            None => source,
        };
        Ok(self.settings.aliases.get(source).map_or(source, String::as_str).to_owned())
    }

    /// A frontend of a registry, made ready to run.
    async fn fetched(&self, library: &Library, source: &str, bridge: &Arc<BuildBridge>) -> Result<Found, Error> {
        let state = &bridge.state;
        let reference: Reference =
            source.parse().map_err(|error| failed("invalid-argument", format!("frontend {source:?}: {error}")))?;
        let pinned = state.policies.pins.frontend(reference.clone()).map_err(Error::from)?;
        let fetched = self.fetch(library, &pinned, state).await?;
        if reference.digest().is_none() {
            lock(&state.pinned).insert(reference.to_string(), fetched.digest().into());
        }
        let (name, digest) = (reference.name(), fetched.digest().to_owned());
        let signatures = self.signatures(library, &reference, &digest, state).await?;
        let candidate = Candidate { source, name: &name, digest: &digest };
        let admission = self.admit(candidate, &signatures, state)?;
        let entry = match fetched {
            Fetched::Component(entry) => entry,
            Fetched::Image(reference) => {
                return Ok(Found { frontend: self.image(ImageName::of(&reference), &admission, bridge)?, admission });
            }
        };
        let broken = || failed("internal", format!("frontend {source}: {:?} is no digest", entry.component));
        let key = entry.key().ok_or_else(broken)?;
        let file = library.blob(&entry.component).ok_or_else(broken)?;
        let name = format!("{}@{}", reference.name(), entry.manifest);
        let compiling =
            (!self.runtime.is_compiled(&key)).then(|| state.journal.activity(&format!("[frontend] compile {name}")));
        let loaded = self.runtime.within(admission.limits).load_file(key, file, &name).await;
        if let Some(activity) = compiling {
            activity.end(&loaded);
        }
        Ok(Found { frontend: Arc::new(loaded?), admission })
    }

    /// A frontend of an OCI layout of the client.
    async fn in_layout(&self, source: &str, bridge: &Arc<BuildBridge>) -> Result<Found, Error> {
        let state = &bridge.state;
        let refused = |error: anyhow::Error| failed("not-found", format!("frontend {source}: {error:#}"));
        let name = LayoutName::parse(source).map_err(refused)?;
        let activity = state.journal.activity(&format!("[frontend] load {source}"));
        let loaded = async {
            let layout = self.layout(&name, state).await?;
            let digest = name.digest_in(&layout).await?;
            let component = component(&layout, layout.manifest(&digest).await?).await?;
            anyhow::Ok((layout, digest, component))
        };
        let loaded = loaded.await;
        activity.end(&loaded);
        let (layout, digest, component) = loaded.map_err(refused)?;
        if !name.is_pinned() {
            state.policies.pins.file(source, &digest).map_err(Error::from)?;
            lock(&state.pinned).insert(source.to_owned(), digest.clone());
        }
        let signatures = self.signatures_in(&layout, &name, &digest, state).await?;
        let candidate = Candidate { source, name: &name.bare(), digest: &digest };
        let admission = self.admit(candidate, &signatures, state)?;
        let frontend: Arc<dyn Frontend> = match component {
            Some(packed) => Arc::new(self.runtime.within(admission.limits).load(packed.component, source).await?),
            None => {
                let op = name.source(&digest).map_err(refused)?;
                self.image(
                    ImageName { shown: source.into(), full: source.into(), repository: name.bare(), digest, op },
                    &admission,
                    bridge,
                )?
            }
        };
        Ok(Found { frontend, admission })
    }

    /// A layout of the client. Where only its blobs are sent, and what lies beside them matters, its index is a file that is asked for.
    async fn layout(&self, name: &LayoutName, state: &Arc<State>) -> anyhow::Result<Layout> {
        let layout = name.find(&state.environment.sessions).await?;
        let is_wanted = !name.is_pinned() || self.has_rules(state);
        if !layout.lacks_index() || !is_wanted {
            return Ok(layout);
        }
        let (dir, file) = name.index_file()?;
        match state.local_file(&dir, &file, &format!("load index of {}", name.bare())).await {
            Ok(index) => Ok(layout.with_index(index)),
            // A client that shares blobs alone.
            Err(error) => {
                tracing::debug!("the index of {} cannot be had: {error}", name.bare());
                Ok(layout)
            }
        }
    }

    async fn fetch(&self, library: &Library, reference: &Reference, state: &Arc<State>) -> Result<Fetched, Error> {
        let activity = state.journal.activity(&format!("[frontend] resolve {reference}"));
        let registries = state.engine.registries();
        let repository = registries.client(&state.environment.sessions).repository(reference);
        let freshness = match self.settings.freshness {
            Freshness::Offline => Freshness::Offline,
            _ if state.policies.pins.fresh => Freshness::Now,
            usual => usual,
        };
        let fetched = fetch(library, &repository, reference, freshness).await;
        activity.end(&fetched);
        fetched.map_err(|error| {
            // Most say themselves what they are about.
            let (name, why) = (reference.to_string(), format!("{error:#}"));
            let why = why.strip_prefix(&name).and_then(|why| why.strip_prefix(": ")).unwrap_or(&why);
            failed("not-found", format!("frontend {name}: {why}"))
        })
    }

    /// A frontend that is an image.
    fn image(
        &self,
        name: ImageName,
        admission: &Admission,
        bridge: &Arc<BuildBridge>,
    ) -> Result<Arc<dyn Frontend>, Error> {
        let gateway = self.gateway.clone().ok_or_else(|| {
            let message = format!("frontend {}: is an image, and this engine runs components alone", name.full);
            failed("unsupported", message)
        })?;
        let (bridge, mut settings) = (bridge.clone(), self.settings.image.clone());
        if let Some(memory) = admission.ruled.get("memory") {
            settings.memory = Some(settings.memory.map_or(memory, |usual| usual.min(memory)));
        }
        Ok(Arc::new(ImageFrontend { name, bridge, gateway, settings }))
    }

    fn unknown(&self, source: &str) -> Error {
        let known: Vec<_> = self.builtin.keys().map(String::as_str).collect();
        let message = format!(
            "unknown frontend {source:?}: this engine has {}; others are named by a path that ends in .wasm, by \
             REGISTRY/NAME:TAG, or by oci-layout://LAYOUT",
            known.join(", ")
        );
        failed("not-found", message)
    }
}

/// Whether `source` is one of the images that docker/dockerfile is published as: those are answered by the built-in component.
fn is_dockerfile_image(source: &str) -> bool {
    let name = source.strip_prefix("docker.io/").unwrap_or(source);
    let name = name.split('@').next().unwrap_or(name);
    let name = name.split(':').next().unwrap_or(name);
    matches!(name, "docker/dockerfile" | "docker/dockerfile-upstream")
}

#[cfg(test)]
mod tests {
    use super::is_dockerfile_image;

    #[test]
    fn images_of_the_dockerfile_frontend() {
        for yes in [
            "docker/dockerfile",
            "docker/dockerfile:1",
            "docker.io/docker/dockerfile:1.7-labs",
            "docker/dockerfile-upstream:master",
        ] {
            assert!(is_dockerfile_image(yes), "{yes}");
        }
        for no in ["dockerfile", "docker/dockerfilex:1", "ghcr.io/docker/dockerfile:1", "./docker/dockerfile"] {
            assert!(!is_dockerfile_image(no), "{no}");
        }
    }
}
