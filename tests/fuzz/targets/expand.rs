//! Expansion ends, and what it gives is bounded by what it was given.
#![no_main]

use std::collections::BTreeMap;

use dockerfile::shell::{MAX_EXPANSION_BYTES, Rules, expand};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &str)| {
    let (bits, source) = input;
    let bit = |at: u8| bits & (1 << at) != 0;
    let rules = Rules {
        escape: if bit(0) { '`' } else { '\\' },
        keep_quotes: bit(1),
        keep_escapes: bit(2),
        ignore_quotes: bit(3),
        keep_unset: bit(4),
    };
    let variables = [("A", "one two"), ("E", ""), ("P", "a.b/c*d\\e$A")];
    let variables: BTreeMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let Ok(expansion) = expand(source, rules, &variables) else { return };
    assert!(expansion.text.len() <= source.len() + MAX_EXPANSION_BYTES);
    assert!(expansion.words.iter().all(|word| !word.is_empty()));
    assert!(expansion.words.iter().map(String::len).sum::<usize>() <= expansion.text.len());
});
