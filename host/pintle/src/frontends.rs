//! The frontends that the binary brings along.

use std::{
    path::Path,
    sync::{Arc, LazyLock},
};

use build::{FrontendSettings, Frontends};
use frontend::{
    Bridge, Calls, Compiler, Error, Frontend, Library, Limits, Output, Request, Runtime, Statistics, WasmFrontend,
};
use tokio::sync::OnceCell;

/// The Dockerfile frontend's component.
const COMPONENT: &[u8] = include_bytes!(env!("PINTLE_DOCKERFILE_WASM"));

/// What the compiler made of it. It begins at a page, so that it is executed where it is.
static ARTIFACT: &Pages<[u8]> = &Pages(*include_bytes!(env!("PINTLE_DOCKERFILE_CWASM")));

#[repr(C, align(4096))]
struct Pages<T: ?Sized>(T);

/// Limits of what a frontend answers. One that `# syntax=` names is called by the Dockerfile frontend, which hands on what that made: so it
/// may have as much as any rule allows.
const HANDED_ON: [&str; 6] = ["vertices", "graph", "source-texts", "results", "metadata", "call"];

/// A runtime that keeps what it compiles under `root`.
pub fn runtime(root: &Path, limits: Limits) -> anyhow::Result<Runtime> {
    let cache_dir = Some(root.join("frontends"));
    Ok(Runtime::new(frontend::Options { cache_dir, limits, compiler: Compiler::Helper })?)
}

/// The frontends that were fetched, under `root`.
pub fn library(root: &Path) -> Library {
    Library::new(root.join("frontends").join("library"))
}

/// What is remembered of calls, under `root`.
pub fn calls(root: &Path) -> Calls {
    Calls::new(root.join("frontends").join("calls"))
}

/// All of them, and those that `settings` lets names of registries mean.
pub fn shipped(root: &Path, settings: FrontendSettings, limits: Limits) -> anyhow::Result<Frontends> {
    let runtime = runtime(root, limits)?;
    let handing_on = settings.trust.rules.iter().fold(limits, |most, rule| rule.limits.raising(&HANDED_ON, most));
    let mut frontends = Frontends::new(runtime.clone()).with_library(library(root), settings).with_calls(calls(root));
    let dockerfile = Arc::new(Shipped::new(runtime.within(handing_on)));
    // A build is likely to come at once: what can be done for it beside the opening of the store is done beside it.
    if let Ok(tokio) = tokio::runtime::Handle::try_current() {
        let early = dockerfile.clone();
        tokio.spawn(async move { early.frontend().await.map(drop) });
    }
    frontends.add("dockerfile.v0", dockerfile);
    Ok(frontends)
}

/// The Dockerfile frontend alone.
pub fn dockerfile(runtime: Runtime) -> Arc<dyn Frontend> {
    Arc::new(Shipped::new(runtime))
}

/// A frontend that is made ready once.
struct Shipped {
    runtime: Runtime,
    name: &'static str,
    loaded: OnceCell<WasmFrontend>,
}

/// SHA-256 of the Dockerfile frontend's component.
static DIGEST: LazyLock<[u8; 32]> = LazyLock::new(|| {
    let mut digest = [0; 32];
    let is_digest = hex::decode_to_slice(env!("PINTLE_DOCKERFILE_SHA256"), &mut digest);
    is_digest.map(|()| digest).expect("the build script wrote it")
});

impl Shipped {
    fn new(runtime: Runtime) -> Shipped {
        Shipped { runtime, name: "dockerfile.v0", loaded: OnceCell::new() }
    }

    async fn frontend(&self) -> Result<&WasmFrontend, Error> {
        let load = || self.runtime.load_built_in((COMPONENT, *DIGEST), Some(&ARTIFACT.0), self.name);
        self.loaded.get_or_try_init(load).await
    }
}

#[async_trait::async_trait]
impl Frontend for Shipped {
    async fn build(&self, bridge: Arc<dyn Bridge>, request: Request) -> Result<Output, Error> {
        self.frontend().await?.build(bridge, request).await
    }

    async fn measured(&self, bridge: Arc<dyn Bridge>, request: Request) -> (Result<Output, Error>, Option<Statistics>) {
        match self.frontend().await {
            Ok(frontend) => frontend.measured(bridge, request).await,
            Err(error) => (Err(error), None),
        }
    }

    fn component(&self) -> Option<String> {
        Some(format!("sha256:{}", env!("PINTLE_DOCKERFILE_SHA256")))
    }

    fn identity(&self) -> Option<String> {
        Some(self.runtime.identity(&DIGEST))
    }
}
