//! The frontends that the binary brings along.

use std::{path::Path, sync::Arc};

use build::Frontends;
use frontend::{Bridge, Error, Frontend, Output, Request, Runtime, WasmFrontend};
use tokio::sync::OnceCell;

/// The Dockerfile frontend: the component, and what the compiler made of it.
const DOCKERFILE: (&[u8], &[u8]) =
    (include_bytes!(env!("PINTLE_DOCKERFILE_WASM")), include_bytes!(env!("PINTLE_DOCKERFILE_CWASM")));

/// All of them, over a runtime that keeps what it compiles under `root`.
pub fn shipped(root: &Path) -> anyhow::Result<Frontends> {
    let cache_dir = Some(root.join("frontends"));
    let runtime = Runtime::new(frontend::Options { cache_dir, ..Default::default() })?;
    let mut frontends = Frontends::new(runtime.clone());
    frontends.add("dockerfile.v0", Arc::new(Shipped { runtime, name: "dockerfile.v0", loaded: OnceCell::new() }));
    Ok(frontends)
}

/// A frontend that is made ready when the first build asks for it.
struct Shipped {
    runtime: Runtime,
    name: &'static str,
    loaded: OnceCell<WasmFrontend>,
}

#[async_trait::async_trait]
impl Frontend for Shipped {
    async fn build(&self, bridge: Arc<dyn Bridge>, request: Request) -> Result<Output, Error> {
        let (component, artifact) = DOCKERFILE;
        let load = || self.runtime.load_built_in(component, Some(artifact), self.name);
        self.loaded.get_or_try_init(load).await?.build(bridge, request).await
    }
}
