//! Build languages by name.

use std::{collections::BTreeMap, sync::Arc};

use frontend::{Error, Frontend, Request, Runtime};

use crate::bridge::{BuildBridge, failed};

/// The build languages that an engine knows, and the runtime that runs others. Cheap to clone.
#[derive(Clone)]
pub struct Frontends {
    runtime: Runtime,
    builtin: BTreeMap<String, Arc<dyn Frontend>>,
}

/// The frontend that a request without a name means.
const DEFAULT: &str = "dockerfile.v0";
/// BuildKit's word for "the frontend that option `source` names".
const GATEWAY: &str = "gateway.v0";

impl Frontends {
    /// None yet, besides what `runtime` can load.
    pub fn new(runtime: Runtime) -> Self {
        Frontends { runtime, builtin: BTreeMap::new() }
    }

    /// Adds one under a name.
    pub fn add(&mut self, name: &str, frontend: Arc<dyn Frontend>) {
        self.builtin.insert(name.into(), frontend);
    }

    /// Runs components.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The frontend for `source`: a name, or a file of the client's.
    pub(crate) async fn find(
        &self,
        source: &str,
        request: &Request,
        bridge: &Arc<BuildBridge>,
    ) -> Result<Arc<dyn Frontend>, Error> {
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
        if let Some(frontend) = self.builtin.get(source) {
            return Ok(frontend.clone());
        }
        if is_dockerfile_image(source) {
            return self.builtin.get(DEFAULT).cloned().ok_or_else(|| self.unknown(source));
        }
        if source.ends_with(".wasm") {
            let component = bridge.state.client_file(source).await?;
            return Ok(Arc::new(self.runtime.load(component, source).await?));
        }
        Err(self.unknown(source))
    }

    fn unknown(&self, source: &str) -> Error {
        let known: Vec<_> = self.builtin.keys().map(String::as_str).collect();
        let message = format!(
            "unknown frontend {source:?}: this engine has {}, and runs components named by a path that ends in .wasm; \
             frontends from a registry are not supported yet",
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
