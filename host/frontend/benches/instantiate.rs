//! What the boundary costs: loading a component, making an instance of it, a small build, and many vertices.
//!
//! `cargo bench -p frontend`. Prints medians; asserts nothing.

use std::{
    collections::BTreeMap,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use frontend::{Options, Request, Runtime, WasmFrontend, testing::FakeBridge};

const ROUNDS: usize = 200;

fn main() {
    let executor = tokio::runtime::Builder::new_current_thread().build().expect("an executor");
    executor.block_on(measure());
}

async fn measure() {
    let component = frontend::testing::component("hostile-guest").expect("the guest is built");
    println!("component            {:>10} bytes", component.len());
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options { cache_dir: Some(dir.path().to_owned()), ..Options::default() };
    let first = Instant::now();
    Runtime::new(options.clone()).expect("an engine").load(component.clone(), "guest").await.expect("a frontend");
    println!("compile and load     {:>10.1?}", first.elapsed());
    let mut loads = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        let runtime = Runtime::new(options.clone()).expect("an engine");
        black_box(runtime.load(component.clone(), "guest").await.expect("a frontend"));
        loads.push(start.elapsed());
    }
    println!("load from disk       {:>10.1?}", median(loads));

    let runtime = Runtime::new(options).expect("an engine");
    let guest = runtime.load(component, "guest").await.expect("a frontend");
    println!("instance             {:>10.1?}", instances(&guest).await);
    println!("instance, empty call {:>10.1?}", repeat(&guest, "log", 0).await);
    println!("small build          {:>10.1?}", repeat(&guest, "honest", 0).await);
    println!("1000 host calls      {:>10.1?}", repeat(&guest, "supports", 1000).await);
    println!("1000 file vertices   {:>10.1?}", repeat(&guest, "vertices", 1000).await);
}

async fn instances(guest: &WasmFrontend) -> Duration {
    let mut spent = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        frontend::testing::instantiate(guest).await.expect("an instance");
        spent.push(start.elapsed());
    }
    median(spent)
}

async fn repeat(guest: &WasmFrontend, deed: &str, times: usize) -> Duration {
    let mut spent = Vec::new();
    for _ in 0..ROUNDS {
        let opts = [("do".to_owned(), deed.to_owned()), ("times".to_owned(), times.to_string())];
        let request = Request { opts: opts.into(), inputs: BTreeMap::new() };
        let start = Instant::now();
        let (outcome, _) = guest.run(Arc::new(FakeBridge::new()), request).await;
        black_box(outcome.expect("it is honest"));
        spent.push(start.elapsed());
    }
    median(spent)
}

fn median(mut spent: Vec<Duration>) -> Duration {
    spent.sort();
    spent[spent.len() / 2]
}
