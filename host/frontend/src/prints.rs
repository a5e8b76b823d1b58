//! Modules of Rust that print where nothing is written down: `wasm32-unknown-unknown` has no output, and what is printed there is lost.

use wasmparser::{KnownCustom, Name, Parser, Payload};

/// Functions of Rust's standard library that print, by a part of their symbols (as both of its manglings have it), with the macros that
/// call them.
const PRINTING: [(&str, &str); 4] = [
    ("3std2io5stdio6__print", "println!"),
    ("3std2io5stdio7__eprint", "eprintln!"),
    ("3std2io5stdio6_print17h", "println!"),
    ("3std2io5stdio7_eprint17h", "eprintln!"),
];

/// The macros of Rust's standard library with which a module prints, as far as it has names: functions that nothing calls are not in a module.
pub fn lost_prints(module: &[u8]) -> Vec<&'static str> {
    let names = Parser::new(0).parse_all(module).filter_map(Result::ok).filter_map(|section| match section {
        Payload::CustomSection(custom) => match custom.as_known() {
            KnownCustom::Name(names) => Some(names),
            _ => None,
        },
        _ => None,
    });
    let functions = names.flatten().filter_map(Result::ok).filter_map(|name| match name {
        Name::Function(functions) => Some(functions),
        _ => None,
    });
    let symbols: Vec<&str> = functions.flatten().filter_map(Result::ok).map(|naming| naming.name).collect();
    let mut macros: Vec<_> = PRINTING
        .iter()
        .filter(|(part, _)| symbols.iter().any(|symbol| symbol.contains(part)))
        .map(|(_, name)| *name)
        .collect();
    macros.sort_unstable();
    macros.dedup();
    macros
}

#[cfg(test)]
mod tests {
    use wasm_encoder::{Module, NameMap, NameSection};

    use super::*;

    fn module(functions: &[&str]) -> Vec<u8> {
        let mut map = NameMap::new();
        for (number, name) in (0..).zip(functions) {
            map.append(number, name);
        }
        let mut names = NameSection::new();
        names.functions(&map);
        Module::new().section(&names).clone().finish()
    }

    #[test]
    fn macros_by_the_functions_that_they_call() {
        assert_eq!(lost_prints(&module(&[])), [""; 0]);
        assert_eq!(lost_prints(&module(&["_RNvCs1_5hello5print", "main"])), [""; 0]);
        assert_eq!(lost_prints(&module(&["_RNvNtNtCs1_3std2io5stdio6__print"])), ["println!"]);
        let both = ["_ZN3std2io5stdio7_eprint17h0123456789abcdefE", "_ZN3std2io5stdio6_print17h0123456789abcdefE"];
        assert_eq!(lost_prints(&module(&both)), ["eprintln!", "println!"]);
        assert_eq!(lost_prints(b"no module"), [""; 0]);
    }
}
