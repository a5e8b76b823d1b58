//! Whatever a guest says is taken or refused, and what is taken is a graph that can be written and read again.
#![no_main]

use std::sync::Arc;

use frontend::{
    Limits,
    testing::{FakeBridge, anything},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits {
        vertices: 40,
        graph_bytes: 100_000,
        copied_vertices: 200,
        source_files: 5,
        refs: 4,
        queries: 2,
        log_bytes: 100,
        warnings: 2,
        results: 2,
        metadata_bytes: 100,
        error_bytes: 20,
        ..Limits::default()
    };
    let bridge = FakeBridge::new().image("a", "sha256:aa", "{}").file("local://a", "a", "text").file_of(1, "a", [0xff]);
    let _ = anything(bytes, Arc::new(bridge), limits);
});
