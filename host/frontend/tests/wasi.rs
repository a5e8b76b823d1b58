//! What a component sees of WASI: nothing, and the same nothing each time.

mod common;

use common::{check_error, component, run};
use frontend::{Limits, Options, Runtime, WasmFrontend, testing::FakeBridge};

async fn guest(limits: Limits) -> Option<WasmFrontend> {
    let component = component("wasi-guest")?;
    let runtime = Runtime::new(Options { limits, ..Options::default() }).expect("the engine is set up");
    Some(runtime.load(component, "guest").await.expect("what it imports is granted"))
}

#[tokio::test]
async fn the_world_is_empty_and_the_same_each_time() {
    let Some(guest) = guest(Limits::default()).await else { return };
    let mut seen = Vec::new();
    for _ in 0..2 {
        let output = run(&guest, &FakeBridge::new(), "look", 0).await.expect("it only looks");
        seen.push(String::from_utf8(output.metadata["seen"].clone()).expect("it is text"));
    }
    assert_eq!(seen[0], seen[1]);
    let expected = "\
environment [] [] None
directories 0
clock 1000001000 false [1] 1 315532800.0
stdin ended true
socket Err(\"access-denied\")
random e220a8397b1dcdaf [f4, 65, b9] (6c45d188009454f, f88bb8a8724c81ec)";
    assert_eq!(seen[0], expected);
}

#[tokio::test]
async fn what_is_written_is_logged_by_lines() {
    let Some(guest) = guest(Limits::default()).await else { return };
    let bridge = FakeBridge::new();
    run(&guest, &bridge, "say", 0).await.expect("it only talks");
    let lines: Vec<String> = bridge.logs().into_iter().map(|(level, line)| format!("{level}: {line}")).collect();
    let said = ["two lines", "and more", "Traceback:", "  line 1", "never ended"];
    assert_eq!(lines, said.map(|line| format!("info: {line}")));
}

#[tokio::test]
async fn its_ends_are_errors() {
    let limits = Limits { refs: 100, ..Limits::default() };
    let Some(guest) = guest(limits).await else { return };
    let cases = [
        ("exit", "trap", "frontend guest panicked: out of ideas"),
        ("silent-exit", "trap", "frontend guest ended before it answered"),
        ("random", "limit", "frontend guest wants more than 32 MiB of random bytes"),
        ("poll", "trap", "frontend guest broke the interface: polls nothing at all"),
        ("pollables", "trap", "frontend guest broke the interface: [..]handle[..]"),
    ];
    for (deed, code, message) in cases {
        let error = run(&guest, &FakeBridge::new(), deed, 0).await.expect_err(deed);
        check_error(deed, &error, code, message);
    }
}
