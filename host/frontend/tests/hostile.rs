//! Guests that do what they should not: each is one clear error, and the runtime goes on.

mod common;

use std::time::Duration;

use common::{
    check_error, component, matches,
    modules::{self, Guest},
    run,
};
use frontend::{Limits, Options, Runtime, WasmFrontend, testing::FakeBridge};
use wasm_encoder::{BlockType, HeapType, MemArg};

/// Small limits, so that each is reached in no time.
fn limits() -> Limits {
    Limits {
        memory_bytes: 8 << 20,
        instructions: 30_000_000,
        call_bytes: 1 << 20,
        vertices: 100,
        copied_vertices: 1000,
        source_files: 10,
        refs: 100,
        queries: 10,
        log_bytes: 100,
        warnings: 3,
        results: 4,
        metadata_bytes: 1000,
        error_bytes: 200,
        ..Limits::default()
    }
}

/// The guest that does what it is told, within `limits`; none where it cannot be built.
async fn hostile(limits: Limits) -> Option<WasmFrontend> {
    let component = component("hostile-guest")?;
    let runtime = Runtime::new(Options { limits, ..Options::default() }).expect("the engine is set up");
    Some(runtime.load(component, "guest").await.expect("it is a frontend"))
}

/// What the guest does, how often, and the error: code and message.
const ERRORS: &[(&str, usize, &str, &str)] = &[
    ("loop", 0, "limit", "frontend guest used up its 30000000 instructions"),
    ("panic", 7, "trap", "frontend guest panicked at host/frontend/tests/guest/src/lib.rs:[..]:\nno 7 here"),
    (
        "index",
        41,
        "trap",
        "frontend guest panicked at host/frontend/tests/guest/src/lib.rs:[..]:\nindex out of bounds[..]",
    ),
    ("allocate", 1 << 30, "limit", "frontend guest needs more than 8 MiB of memory"),
    ("recurse", 1 << 30, "trap", "frontend guest recursed until its stack was full"),
    (
        "pile-up",
        1 << 30,
        "trap",
        "frontend guest recursed, as it looks, until its stack was full (wasm trap: out of bounds memory access)",
    ),
    ("supports", 1 << 30, "limit", "frontend guest used up its 30000000 instructions"),
    ("vertices", 101, "limit", "frontend guest makes a graph of more than 100 vertices"),
    (
        "grow-and-solve",
        100,
        "limit",
        "frontend guest solves a growing graph so often that 1000 vertices were copied; solve once for many reads",
    ),
    ("hold-refs", 101, "limit", "frontend guest holds more than 100 refs; drop those that are read"),
    ("source-files", 11, "limit", "frontend guest adds more than 10 source texts"),
    ("queries", 11, "limit", "frontend guest resolves more than 10 sources in one call"),
    ("huge-string", 2 << 20, "limit", "frontend guest hands over more than 1 MiB in one call"),
    ("huge-string", 1 << 19, "invalid-argument", "[..]"),
    ("huge-error", 1000, "invalid-argument", "xxx[..]xxx ..."),
    ("huge-metadata", 1001, "limit", "answers more than 1000 bytes of metadata"),
    ("results", 5, "limit", "answers more than 4 results"),
    ("same-platform", 0, "invalid-argument", "answers two results for platform \"\""),
    ("dangling-edge", 0, "invalid-argument", "there is no vertex 77 among the 1 added"),
    ("unknown-op", 0, "unknown-kind", "unknown operation \"fold\""),
    ("unheard-of", 0, "unsupported", "no deed \"unheard-of\""),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_is_one_clear_error_and_the_runtime_goes_on() {
    let Some(guest) = hostile(limits()).await else { return };
    for (deed, times, code, message) in ERRORS {
        let bridge = FakeBridge::new();
        let error = run(&guest, &bridge, deed, *times).await.expect_err(deed);
        check_error(deed, &error, code, message);
        run(&guest, &bridge, "honest", 0).await.expect("an honest build works after it");
    }
    assert_eq!(guest.runtime().compiled(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_told_to_the_guest() {
    let Some(guest) = hostile(Limits::default()).await else { return };
    let refused = [
        ("dangling-edge", "invalid-argument", "there is no vertex 77 among the 1 added"),
        ("dangling-output", "invalid-argument", "vertex 0 has no output 5"),
        ("dangling-result", "invalid-argument", "answers an edge that is not there: vertex 3 has no output 9"),
        ("unknown-attr", "unknown-attr", "unknown attribute \"tag\" of source.docker-image"),
        ("bad-definition", "invalid-argument", "[..]"),
        ("bad-place", "invalid-argument", "no such place: line 2 to line 1"),
        ("read-fails", "not-found", "the build file: local://missing: not found"),
    ];
    for (deed, code, message) in refused {
        let error = run(&guest, &FakeBridge::new(), deed, 0).await.expect_err(deed);
        check_error(deed, &error, code, message);
    }
    run(&guest, &FakeBridge::new(), "carry-on", 0).await.expect("a guest may go on after an error");
    let error = run(&guest, &FakeBridge::new(), "read-fails", 0).await.expect_err("it is not scripted");
    let cause = error.cause.expect("what a guest hands on keeps its cause");
    assert_eq!(cause.to_string(), "no files were scripted for local://missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_are_cut_off_and_said_to_be() {
    let Some(guest) = hostile(limits()).await else { return };
    let bridge = FakeBridge::new();
    run(&guest, &bridge, "log", 1000).await.expect("logging much is no error");
    let logs: Vec<String> = bridge.logs().into_iter().map(|(_, line)| line).collect();
    assert_eq!(logs.len(), 5, "{logs:?}");
    assert_eq!(logs[4], "the frontend logged more than 100 bytes: the rest is left out");
    run(&guest, &bridge, "warn", 1000).await.expect("warning much is no error");
    let warnings: Vec<String> = bridge.warnings().into_iter().map(|warning| warning.short).collect();
    assert_eq!(warnings.len(), 4, "{warnings:?}");
    assert_eq!(warnings[3], "the frontend gave more than 3 warnings: the rest is left out");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_runs_too_long_is_stopped() {
    let limits = Limits { running: Duration::ZERO, instructions: u64::MAX / 2, ..Limits::default() };
    let Some(guest) = hostile(limits).await else { return };
    let error = run(&guest, &FakeBridge::new(), "loop", 0).await.expect_err("it never ends");
    check_error("loop", &error, "limit", "frontend guest ran for more than 0 s");
}

#[tokio::test]
async fn a_guest_leaves_others_their_turn_and_stops_when_nobody_waits() {
    let limits = Limits { instructions: u64::MAX / 2, ..Limits::default() };
    let Some(guest) = hostile(limits).await else { return };
    let (bridge, other) = (FakeBridge::new(), FakeBridge::new());
    // One thread for both: the second runs only because the first yields, and the first ends only because it is dropped.
    tokio::select! {
        biased;
        _ = run(&guest, &bridge, "loop", 0) => panic!("a loop ended"),
        built = run(&guest, &other, "honest", 0) => assert!(built.is_ok()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backtrace_names_the_guests_functions() {
    let Some(guest) = hostile(Limits::default()).await else { return };
    let error = run(&guest, &FakeBridge::new(), "panic", 1).await.expect_err("it panics");
    let backtrace = error.detail("backtrace").expect("a trap has a backtrace");
    assert!(backtrace.contains("hostile_guest"), "{backtrace}");
    assert_eq!(error.detail("frontend"), Some("guest"));
}

/// A name that would do something to a terminal, and pass for lines of a log.
const NASTY: &str = "\x1b[2J\x1b]0;mine\x07\u{9b}1m\n    7: honest\r\u{202e}turned";

#[tokio::test(flavor = "multi_thread")]
async fn names_of_functions_are_shown_and_do_nothing() {
    let runtime = Runtime::new(Options { limits: limits(), ..Options::default() }).expect("the engine is set up");
    let trap: modules::Deed = |sink| {
        sink.unreachable();
    };
    let backtrace = async |name| {
        let guest = modules::component(Guest { build: trap, name, ..NOTHING });
        let guest = runtime.load(guest, "guest").await.expect("it is a frontend");
        let error = run(&guest, &FakeBridge::new(), "", 0).await.expect_err("it traps");
        error.detail("backtrace").expect("a trap has a backtrace").to_owned()
    };
    let shown = backtrace(NASTY).await;
    assert!(shown.lines().count() > 1, "{shown:?}");
    assert!(shown.lines().skip(1).all(|line| line.contains("\\u{1b}[2J\\u{1b}]0;mine\\u{7}")), "{shown:?}");
    assert!(!shown.contains(|c: char| c.is_control() && c != '\n' || c == '\u{202e}'), "{shown:?}");
    let long = backtrace("x".repeat(90_000).leak()).await;
    assert!(long.len() < 2000 && long.contains("xxx ..."), "{}", long.len());
    // What an interpreter called is not shown: it is said that the line is not known.
    for (name, want) in [
        ("", "its functions have no names[..]"),
        ("_PyEval_EvalFrameDefault", "an interpreter ran it, so which line of its Python it was at is not known; [..]"),
    ] {
        let shown = backtrace(name).await;
        assert!(matches(want, &shown), "{shown:?}");
    }
}

/// What a guest that is written by hand does, and the error.
const BY_HAND: &[(&str, Guest, &str, &str)] = &[
    (
        "a table that grows",
        Guest {
            build: |sink| {
                sink.ref_null(FUNC).i32_const(1 << 20).table_grow(0).drop();
            },
            ..NOTHING
        },
        "limit",
        "frontend guest needs a table of more than 10000 entries",
    ),
    (
        "a call after it returned",
        Guest { after: modules::log, ..NOTHING },
        "trap",
        "frontend guest [..]cannot leave component instance[..]",
    ),
    (
        "a call while it is handed something",
        Guest { realloc: modules::log, ..NOTHING },
        "trap",
        "frontend guest [..]cannot leave component instance[..]",
    ),
    ("a loop before anything is asked of it", Guest { start: LOOP, ..NOTHING }, "limit", USED_UP),
    ("a loop after it returned", Guest { after: LOOP, ..NOTHING }, "limit", USED_UP),
    ("a loop while it is handed something", Guest { realloc: LOOP, ..NOTHING }, "limit", USED_UP),
    (
        "a trap after it returned",
        Guest {
            after: |sink| {
                sink.unreachable();
            },
            ..NOTHING
        },
        "trap",
        "frontend guest trapped: wasm trap: wasm `unreachable` instruction executed",
    ),
    (
        "more memory at first than there may be",
        Guest { pages: 1 << 15, ..NOTHING },
        "limit",
        "frontend guest needs more than 8 MiB of memory",
    ),
    (
        "a ref that it drops, and was never given",
        Guest {
            build: |sink| {
                sink.i32_const(1).call(modules::DROP);
            },
            ..NOTHING
        },
        "trap",
        "frontend guest broke the interface: unknown handle index 1",
    ),
    (
        "a text that is no UTF-8",
        Guest {
            build: |sink| {
                sink.i32_const(2000).i32_const(0xff).i32_store8(BYTE);
                sink.i32_const(1024).i32_const(4).i32_const(2000).i32_const(1).call(modules::LOG);
            },
            ..NOTHING
        },
        "trap",
        "frontend guest broke the interface: [..]utf-8[..]",
    ),
    (
        "a text that is longer than its memory",
        Guest {
            build: |sink| {
                sink.i32_const(1024).i32_const(4).i32_const(0).i32_const(-1).call(modules::LOG);
            },
            ..NOTHING
        },
        "trap",
        "frontend guest broke the interface: [..]out of bounds[..]",
    ),
    (
        "an answer that is not aligned",
        Guest {
            build: |sink| {
                sink.i32_const(17).return_();
            },
            ..NOTHING
        },
        "trap",
        "frontend guest broke the interface: [..]aligned[..]",
    ),
    (
        "a ref that it was never given",
        Guest {
            build: |sink| {
                sink.i32_const(7).call(modules::START);
            },
            ..NOTHING
        },
        "trap",
        "frontend guest broke the interface: unknown handle index 7",
    ),
    (
        "an answer beyond its memory",
        Guest {
            build: |sink| {
                sink.i32_const(i32::MAX - 3).return_();
            },
            ..NOTHING
        },
        "trap",
        "frontend guest [..]",
    ),
    (
        "what it is given is placed beyond its memory",
        Guest {
            realloc: |sink| {
                sink.i32_const(-16).return_();
            },
            ..NOTHING
        },
        "trap",
        "frontend guest broke the interface: [..]",
    ),
];

const NOTHING: Guest = Guest::IDLE;
const FUNC: HeapType = HeapType::FUNC;
const BYTE: MemArg = MemArg { offset: 0, align: 0, memory_index: 0 };
const USED_UP: &str = "frontend guest used up its 30000000 instructions";
const LOOP: modules::Deed = |sink| {
    sink.loop_(BlockType::Empty).br(0).end();
};

#[tokio::test(flavor = "multi_thread")]
async fn deeds_that_no_compiler_writes() {
    let limits = Limits { table_elements: 10_000, ..limits() };
    let runtime = Runtime::new(Options { limits, ..Options::default() }).expect("the engine is set up");
    let honest = runtime.load(modules::component(NOTHING), "honest").await.expect("it is a frontend");
    for (what, guest, code, message) in BY_HAND {
        let guest = runtime.load(modules::component(*guest), "guest").await.expect(what);
        let bridge = FakeBridge::new();
        let error = run(&guest, &bridge, "", 0).await.expect_err(what);
        check_error(what, &error, code, message);
        assert!(bridge.logs().is_empty(), "{what}");
        run(&honest, &bridge, "", 0).await.expect("an honest build works after it");
    }
}

/// Whatever became of a file, it is refused, or runs within its limits.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_cut_off_or_changed() {
    let whole = modules::component(Guest { build: modules::log, ..NOTHING });
    let runtime = Runtime::new(Options { limits: limits(), ..Options::default() }).expect("the engine is set up");
    let mut damaged: Vec<Vec<u8>> = (0..whole.len()).step_by(5).map(|end| whole[..end].to_vec()).collect();
    damaged.extend((0..whole.len()).step_by(3).map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        bytes
    }));
    let (mut refused, mut taken) = (0, 0);
    for bytes in damaged {
        match runtime.load(bytes, "guest").await {
            Ok(guest) => {
                taken += 1;
                if let Err(error) = run(&guest, &FakeBridge::new(), "", 0).await {
                    assert!(["trap", "limit", "invalid-argument"].contains(&error.code.as_str()), "{error:?}");
                }
            }
            Err(error) => {
                refused += 1;
                let codes = ["invalid-argument", "unsupported", "denied"];
                assert!(
                    codes.contains(&error.code.as_str()) && error.message.starts_with("frontend guest: "),
                    "{error:?}"
                );
            }
        }
    }
    assert!(refused > 100 && taken > 10, "{refused} refused, {taken} taken");
    let guest = runtime.load(whole, "guest").await.expect("it is a frontend");
    run(&guest, &FakeBridge::new(), "", 0).await.expect("the whole file runs");
}

/// Sections that say that they hold more than there is are refused before anything is made room for.
#[tokio::test(flavor = "multi_thread")]
async fn counts_that_lie() {
    let runtime = Runtime::new(Options { limits: limits(), ..Options::default() }).expect("the engine is set up");
    let header = |layer: u8| [b"\0asm".as_slice(), &[if layer == 0 { 1 } else { 13 }, 0, layer, 0]].concat();
    let section = |id: u8, body: &[u8]| [&[id, u8::try_from(body.len()).expect("it is short")], body].concat();
    const HUGE: [u8; 5] = [0xff, 0xff, 0xff, 0xff, 0x0f];
    for id in 1..=13 {
        let module = [header(0), section(id, &HUGE)].concat();
        // A module is section 1 of a component.
        for body in [section(id, &HUGE), section(1, &module)] {
            let bytes = [header(1), body].concat();
            let error = runtime.load(bytes, "guest").await.err().expect("there is nothing in it");
            assert!(error.message.starts_with("frontend guest: not a component that can be run: "), "{id}: {error:?}");
        }
    }
}

/// What a file may hold much of is no more than its size; all of it is within the limits of the engine or refused.
#[tokio::test(flavor = "multi_thread")]
async fn pieces_of_data_without_number() {
    let runtime = Runtime::new(Options { limits: limits(), ..Options::default() }).expect("the engine is set up");
    let many = modules::component(Guest { pieces: 90_000, ..NOTHING });
    let guest = runtime.load(many, "guest").await.expect("it is a frontend");
    run(&guest, &FakeBridge::new(), "", 0).await.expect("they are empty");
}

#[tokio::test(flavor = "multi_thread")]
async fn warnings_carry_a_text_as_long_as_they_are_few() {
    let Some(guest) = hostile(Limits::default()).await else { return };
    let (bridge, bytes) = (FakeBridge::new(), 6 << 20);
    run(&guest, &bridge, "warn-at-length", bytes).await.expect("warning is no error");
    let warnings = bridge.warnings();
    let texts = warnings.iter().map(|warning| warning.source.as_ref().map(|(file, _)| file.data.len()));
    assert_eq!(texts.collect::<Vec<_>>(), [Some(bytes), Some(bytes), Some(0), Some(0)]);
    assert!(warnings.iter().all(|warning| warning.source.as_ref().is_some_and(|(file, _)| file.filename == "f")));
    let detail: usize = warnings[0].detail.iter().map(|line| line.len() + 1).sum();
    let limit = Limits::default().error_bytes;
    assert!((limit..limit + 20).contains(&detail), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_text_in_every_field() {
    let Some(guest) = hostile(limits()).await else { return };
    let bridge = FakeBridge::new();
    // Each call takes several of them.
    let outcome = run(&guest, &bridge, "huge-fields", 1 << 17).await;
    let error = outcome.expect_err("such a platform is none");
    assert!(error.message.len() <= limits().error_bytes + 4, "{} bytes", error.message.len());
    assert!(bridge.logs().iter().all(|(_, line)| line.len() <= limits().log_bytes + 4));
    run(&guest, &bridge, "honest", 0).await.expect("an honest build works after it");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_too_large_are_not_looked_at() {
    let whole = modules::component(NOTHING);
    let limits = Limits { component_bytes: whole.len() - 1, ..Limits::default() };
    let runtime = Runtime::new(Options { limits, ..Options::default() }).expect("the engine is set up");
    let (size, most) = (whole.len(), whole.len() - 1);
    let message = format!("frontend guest: {size} bytes are more than the {most} bytes that a component may have");
    let error = runtime.load(whole.clone(), "guest").await.err().expect("it is too large");
    check_error("bytes", &error, "limit", &message);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("guest.wasm");
    std::fs::write(&file, &whole).expect("it is ours");
    let error = runtime.load_file([0; 32], file, "guest").await.err().expect("it is too large");
    check_error("a file", &error, "limit", &message);
    assert_eq!(runtime.compiled(), 0);
}
