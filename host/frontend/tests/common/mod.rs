//! What the tests of the runtime share.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod modules;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use frontend::{Error, Output, Request, WasmFrontend, testing::FakeBridge};

/// The guest as a component; none, with the reason printed, where the target is not installed.
pub fn component(package: &'static str) -> Option<Vec<u8>> {
    static BUILT: OnceLock<Result<Vec<u8>, String>> = OnceLock::new();
    match BUILT.get_or_init(|| frontend::testing::component(package)) {
        Ok(bytes) => Some(bytes.clone()),
        Err(error) if error.contains("may not be installed") => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// A build with options `do` and `times`.
pub async fn run(guest: &WasmFrontend, bridge: &FakeBridge, deed: &str, times: usize) -> Result<Output, Error> {
    let opts = [("do".to_owned(), deed.to_owned()), ("times".to_owned(), times.to_string())];
    let request = Request { opts: opts.into(), inputs: BTreeMap::new() };
    guest.run(Arc::new(bridge.clone()), request).await.0
}

/// Compares code and message; `[..]` stands for any text.
#[track_caller]
pub fn check_error(what: &str, error: &Error, code: &str, message: &str) {
    assert_eq!(error.code, code, "{what}: {error}");
    assert!(matches(message, &error.message), "{what}: got  {:?}\nwant {message:?}", error.message);
}

/// Whether `[..]` in the pattern stands for some text.
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once("[..]") else { return pattern == text };
    let Some(left) = text.strip_prefix(start) else { return false };
    (0..=left.len()).filter(|at| left.is_char_boundary(*at)).any(|at| matches(rest, &left[at..]))
}
