//! A frontend whose calls are recorded.

use std::{
    path::Path,
    sync::{Arc, LazyLock},
};

use frontend::{
    Bridge, Calls, Definition, Error, Frontend, Output, Request, SolveOptions, SourceQuery, testing::FakeBridge,
};

/// A frontend that asks a little, and always answers.
pub struct Asks;

#[async_trait::async_trait]
impl Frontend for Asks {
    async fn build(&self, bridge: Arc<dyn Bridge>, _: Request) -> Result<Output, Error> {
        let made = bridge.solve(Definition::default(), SolveOptions::default()).await?;
        let _ = made.read_file("/a", None, 100).await;
        bridge
            .resolve_sources(vec![SourceQuery { identifier: "docker-image://a".into(), ..SourceQuery::default() }])
            .await;
        bridge.log("info", "asked");
        Ok(Output { refs: vec![(String::new(), Definition::default())], ..Output::default() })
    }

    fn identity(&self) -> Option<String> {
        Some("asks".into())
    }
}

/// Calls `Asks`, over what is recorded in `dir`.
pub fn call(dir: &Path) -> Calls {
    let calls = Calls::new(dir.to_owned());
    let bridge = Arc::new(FakeBridge::new().image("a", "sha256:aa", "{}"));
    let called = TOKIO.block_on(calls.call(&Asks, "it", bridge, Request::default()));
    called.outcome.expect("it answers, or is answered for");
    calls
}

/// Runs what waits.
pub static TOKIO: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("threads"));
