//! How a guest ended, for its user and for its author.

use std::collections::BTreeSet;

use wasmtime::{Trap, WasmBacktrace};

use crate::{
    Error,
    backtrace::{self, MESSAGE_MAX, plain},
    limits::{Breach, Limits, shown_bytes},
    wasi::Exited,
};

/// Key of the detail that holds the guest's backtrace.
const BACKTRACE: &str = "backtrace";
/// Key of the detail that names the frontend.
const FRONTEND: &str = "frontend";
/// Key of the detail that says what the frontend's author can do.
const AUTHOR: &str = "for its author";
/// The limits of what can be measured.
const MEASURED: [&str; 3] = ["instructions", "memory", "running"];
/// What wasmtime says when a call hands over more than it may; it has no type of its own.
const CALL_BYTES_TEXT: &str = "fuel allocated for hostcalls has been exhausted";
/// The frames of a backtrace that may be one of recursion; wasmtime tells of the innermost 20 at most...
const DEEP_FRAMES: usize = 20;
/// ... and the most functions that they may be of.
const DEEP_FUNCTIONS: usize = 4;

/// A limit that was broken outside of the guest's code.
pub(crate) fn breach(name: &str, breach: &Breach) -> Error {
    let mut error = Error::limit(format!("frontend {name} {breach}")).with_limit(breach.limit);
    error.detail.push((FRONTEND.to_owned(), name.to_owned()));
    if MEASURED.contains(&breach.limit) {
        error.detail.push((AUTHOR.to_owned(), "`pintle frontend run --stats` shows what a call uses".to_owned()));
    }
    error
}

/// An error that ended a guest. `panic` is what the guest said before.
pub(crate) fn explain(name: &str, error: &wasmtime::Error, panic: Option<&str>, limits: &Limits) -> Error {
    let mut explained = match broken(error, limits) {
        Some(breached) => breach(name, &breached),
        None => Error::new("trap", format!("frontend {name} {}", trapped(error, panic))),
    };
    if explained.detail.is_empty() {
        explained.detail.push((FRONTEND.to_owned(), name.to_owned()));
    }
    if let Some(calls) = error.downcast_ref::<WasmBacktrace>() {
        explained.detail.push((BACKTRACE.to_owned(), backtrace::shown(calls)));
    }
    explained
}

/// The limit that was broken, where that ended the guest.
fn broken(error: &wasmtime::Error, limits: &Limits) -> Option<Breach> {
    if let Some(breach) = error.downcast_ref::<Breach>() {
        return Some(breach.clone());
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => {
            Some(Breach::of("instructions", format!("used up its {} instructions", limits.instructions)))
        }
        None if error.chain().any(|cause| cause.to_string().contains(CALL_BYTES_TEXT)) => {
            Some(Breach::of("call", format!("hands over more than {} in one call", shown_bytes(limits.call_bytes))))
        }
        _ => None,
    }
}

fn trapped(error: &wasmtime::Error, panic: Option<&str>) -> String {
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => "recursed until its stack was full".to_owned(),
        // What compilers keep on a stack of their own, in the memory, ends there.
        Some(trap @ Trap::MemoryOutOfBounds) if is_deep(error) => {
            format!("recursed, as it looks, until its stack was full ({trap})")
        }
        Some(trap) => panic.map_or_else(|| format!("trapped: {trap}"), panicked),
        None if error.is::<Exited>() => panic.map_or_else(|| Exited.to_string(), panicked),
        None => format!("broke the interface: {}", plain(&error.root_cause().to_string(), MESSAGE_MAX)),
    }
}

/// Whether a few functions called one another, as far as the backtrace goes.
fn is_deep(error: &wasmtime::Error) -> bool {
    let frames = error.downcast_ref::<WasmBacktrace>().map_or(&[][..], WasmBacktrace::frames);
    let functions: BTreeSet<u32> = frames.iter().map(wasmtime::FrameInfo::func_index).collect();
    frames.len() >= DEEP_FRAMES && functions.len() <= DEEP_FUNCTIONS
}

/// Rust's text begins with `panicked at`, which is what it did, and Go's with `panic: `.
fn panicked(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| plain(line, MESSAGE_MAX)).collect();
    let text = lines.join("\n");
    if text.starts_with("panicked") {
        return text;
    }
    format!("panicked: {}", text.strip_prefix("panic: ").unwrap_or(&text))
}
