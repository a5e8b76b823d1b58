use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use wasmtime::Store;

use crate::{
    Bridge, Error, Frontend, Output, Request, Runtime,
    meter::Running,
    ticker::Ticking,
    trap,
    v0_1::{self, FrontendPre, Guest},
};

/// A build language that is a component.
#[derive(Clone)]
pub struct WasmFrontend {
    runtime: Runtime,
    name: Arc<str>,
    component: Arc<FrontendPre<Guest>>,
    digest: [u8; 32],
}

/// What one call of a frontend used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Statistics {
    /// WebAssembly instructions, by wasmtime's fuel: most cost one, some none. The same for the same component and answers.
    pub instructions: u64,
    /// Bytes of linear memory in the end, which is the peak.
    pub memory_bytes: usize,
    /// Calls of the host.
    pub host_calls: u64,
    /// Time that the guest ran, without the time that it waited for answers.
    pub running: Duration,
}

impl WasmFrontend {
    pub(crate) fn new(runtime: Runtime, name: Arc<str>, component: Arc<FrontendPre<Guest>>, digest: [u8; 32]) -> Self {
        WasmFrontend { runtime, name, component, digest }
    }

    /// The name that it was loaded by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it runs in.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// SHA-256 of the component.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// As [`Frontend::build`], with what it used.
    pub async fn run(&self, bridge: Arc<dyn Bridge>, request: Request) -> (Result<Output, Error>, Statistics) {
        let kind = request.opts.get("requestid").cloned();
        let (mut outcome, mut statistics) = self.run_guest(bridge.clone(), request.clone()).await;
        match (&outcome, kind.as_deref()) {
            (Err(error), Some(kind)) if error.code == "unsupported" && error.detail.is_empty() => {
                if kind == CONVERT {
                    let mut build = request;
                    build.opts.remove("requestid");
                    (outcome, statistics) = self.run_guest(bridge, build).await;
                    outcome = outcome.and_then(|output| converted(&output));
                } else {
                    outcome = default_answer(kind);
                }
            }
            _ => {}
        }
        tracing::debug!(frontend = %self.name, ?statistics, failed = outcome.is_err(), "frontend ran");
        (outcome, statistics)
    }

    /// What an instance lives in, within its limits; guests are interrupted at intervals as long as the second part lives.
    fn store(&self, bridge: Arc<dyn Bridge>) -> Result<(Store<Guest>, Ticking), Error> {
        let runtime = &self.runtime.inner;
        let mut store = Store::new(&runtime.engine, Guest::new(bridge, self.runtime.limits));
        v0_1::prepare(&mut store).map_err(|error| Error::internal(format!("{error:#}")))?;
        let ticking = runtime.ticker.tick(&runtime.engine).map_err(|error| Error::internal(error.to_string()))?;
        Ok((store, ticking))
    }

    /// Makes an instance that is not called, for measuring.
    #[cfg(feature = "testing")]
    pub(crate) async fn instantiate(&self, bridge: Arc<dyn Bridge>) -> Result<(), Error> {
        let (mut store, _ticking) = self.store(bridge)?;
        let made = self.component.instantiate_async(&mut store).await;
        made.map(drop).map_err(|error| Error::internal(format!("{error:#}")))
    }

    async fn run_guest(&self, bridge: Arc<dyn Bridge>, request: Request) -> (Result<Output, Error>, Statistics) {
        let limits = self.runtime.limits;
        let (mut store, _ticking) = match self.store(bridge) {
            Ok(prepared) => prepared,
            Err(error) => return (Err(error), Statistics::default()),
        };
        let (ran, running) = Running::new(v0_1::run(&mut store, &self.component, request), limits.running).await;
        store.data_mut().log_rest();
        let outcome = match ran {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                let last_words = store.data().last_words();
                Err(trap::explain(&self.name, &error, last_words.as_deref(), &limits))
            }
            Err(breach) => Err(trap::breach(&self.name, &breach)),
        };
        let statistics = Statistics {
            instructions: v0_1::instructions(&store),
            memory_bytes: store.data().meter.memory_bytes(),
            host_calls: store.data().calls,
            running,
        };
        (outcome, statistics)
    }
}

#[async_trait]
impl Frontend for WasmFrontend {
    async fn build(&self, bridge: Arc<dyn Bridge>, request: Request) -> Result<Output, Error> {
        self.run(bridge, request).await.0
    }

    async fn measured(&self, bridge: Arc<dyn Bridge>, request: Request) -> (Result<Output, Error>, Option<Statistics>) {
        let (outcome, statistics) = self.run(bridge, request).await;
        (outcome, Some(statistics))
    }

    fn component(&self) -> Option<String> {
        Some(format!("sha256:{}", hex::encode(self.digest)))
    }

    fn identity(&self) -> Option<String> {
        Some(self.runtime.identity(&self.digest))
    }
}

/// BuildKit's id of the request that lists the requests which a frontend answers.
const DESCRIBE: &str = "frontend.subrequests.describe";

/// BuildKit's id of the request that shows the graph of a build, and the version of the answer's form.
const CONVERT: &str = "frontend.convertllb";
const CONVERT_VERSION: &str = "0.1.0";

/// The graph that a frontend answered, of the first platform when there are several.
fn converted(output: &Output) -> Result<Output, Error> {
    let (_, definition) = output.refs.first().ok_or_else(|| Error::not_found("the build makes nothing to show"))?;
    let json = llb::wire::json(&definition.graph, definition.edge);
    let json = json.map_err(|error| Error::internal(error.to_string()))?;
    let metadata = [("result.json", json), ("version", CONVERT_VERSION.to_owned())];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value.into_bytes()));
    Ok(Output { metadata: metadata.into(), ..Output::default() })
}

/// What the host answers for a frontend that leaves it to it.
fn default_answer(kind: &str) -> Result<Output, Error> {
    if kind != DESCRIBE {
        // Clients look for these words, and for the detail, to fall back on something else.
        let detail = vec![("subrequest".to_owned(), kind.to_owned())];
        return Err(Error { detail, ..Error::new("unsupported", format!("unsupported request {kind}")) });
    }
    let answer = serde_json::json!([{
        "name": DESCRIBE,
        "version": "1.0.0",
        "type": "rpc",
        "description": "List available subrequest types",
        "opts": null,
        "inputs": null,
        "metadata": [{ "name": "result.json", "description": "" }, { "name": "result.txt", "description": "" }],
        "refs": null,
    }]);
    let text =
        "NAME                 VERSION DESCRIPTION\nsubrequests.describe 1.0.0   List available subrequest types\n";
    let metadata =
        [("result.json", format!("{answer:#}")), ("result.txt", text.to_owned()), ("version", "1.0.0".to_owned())];
    let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value.into_bytes())).collect();
    Ok(Output { metadata, ..Output::default() })
}
