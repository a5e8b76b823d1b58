//! Bytes are a frontend that runs within its limits, or one error that says why not; the host goes on.
#![no_main]

mod seeds;

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use frontend::{Frontend, Limits, Options, Request, Runtime, testing::FakeBridge};
use libfuzzer_sys::{Corpus, fuzz_target};

/// What is small runs often.
const LIMITS: Limits = Limits {
    component_bytes: 64 << 10,
    memory_bytes: 4 << 20,
    table_elements: 10_000,
    instances: 50,
    instructions: 1_000_000,
    running: Duration::from_secs(20),
    compiling: Limits::COMPILING,
    call_bytes: 1 << 20,
    value_bytes: 1 << 20,
    vertices: 100,
    graph_bytes: 1 << 20,
    copied_vertices: 1000,
    source_files: 10,
    refs: 100,
    queries: 10,
    log_bytes: 1000,
    warnings: 10,
    results: 10,
    metadata_bytes: 10_000,
    error_bytes: 1000,
};

static HOST: LazyLock<(tokio::runtime::Runtime, Runtime)> = LazyLock::new(|| {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("threads");
    let runtime = Runtime::new(Options { limits: LIMITS, ..Options::default() }).expect("the engine is set up");
    (tokio, runtime)
});

fuzz_target!(init: seeds::write_where_asked(), |bytes: &[u8]| -> Corpus {
    // What `inspect` and `push` say, without compiling.
    let _ = frontend::interfaces(bytes);
    // A core module is one that a toolchain made, and may become a component.
    let made = frontend::encode(bytes).ok();
    let component = made.as_deref().unwrap_or(bytes).to_vec();
    let (tokio, runtime) = &*HOST;
    tokio.block_on(async {
        let loaded = runtime.load(component, "it").await;
        let guest = match loaded {
            Ok(guest) => guest,
            Err(error) => {
                assert!(error.message.starts_with("frontend it: ") && error.code != "internal", "{error:?}");
                // Bytes that are plainly nothing teach nothing.
                return if error.message.ends_with("not WebAssembly") { Corpus::Reject } else { Corpus::Keep };
            }
        };
        for requestid in [None, Some("frontend.outline")] {
            let opts = requestid.map(|id| ("requestid".to_owned(), id.to_owned()));
            let request = Request { opts: opts.into_iter().collect(), ..Request::default() };
            if let Err(error) = guest.build(Arc::new(FakeBridge::new()), request).await {
                assert!(error.code != "internal", "{error:?}");
            }
        }
        Corpus::Keep
    })
});
