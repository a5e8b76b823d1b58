//! A lock or a policy that is read can be used, and a mistake has a line of its text.
#![no_main]

use std::path::Path;

use build::{FrontendPolicy, Lock};
use libfuzzer_sys::fuzz_target;

const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fuzz_target!(|text: &str| {
    let is_line = |line: usize| line >= 1 && line <= text.matches('\n').count() + 1;
    match Lock::parse(text) {
        Ok(lock) => assert_eq!(Lock::parse(&lock.to_string()), Ok(lock), "what is written is read"),
        Err(error) => assert!(is_line(error.line) && !error.why.is_empty(), "{error}"),
    }
    // The text is its own key and trust root: what is none has to be said, with the line that names it.
    match FrontendPolicy::read(text, "it", |_: &Path| Ok(text.to_owned())) {
        Ok(trust) => {
            for name in ["r.example/langs/a", "./a.wasm", ""] {
                if let Err(why) = trust.judge(name, DIGEST, &[]) {
                    assert!(!why.is_empty());
                }
            }
        }
        Err(error) => assert!(is_line(error.line) && !error.why.is_empty(), "{error}"),
    }
});
