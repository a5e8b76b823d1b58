//! Makes a component of a core WebAssembly module that was built with the SDK; or machine code of a component.
//!
//! ```text
//! pintle-componentize MODULE.wasm COMPONENT.wasm
//! pintle-componentize --precompile COMPONENT.wasm COMPONENT.cwasm
//! ```

use std::{fs, process::ExitCode};

const USAGE: &str = "usage: pintle-componentize [--precompile] INPUT OUTPUT";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["--precompile", input, output] => convert(input, output, frontend::precompile),
        [input, output] => convert(input, output, frontend::encode),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("pintle-componentize: {message}");
            ExitCode::FAILURE
        }
    }
}

fn convert(input: &str, output: &str, how: fn(&[u8]) -> Result<Vec<u8>, frontend::Error>) -> Result<(), String> {
    let bytes = fs::read(input).map_err(|error| format!("{input}: {error}"))?;
    let converted = how(&bytes).map_err(|error| format!("{input}: {error}"))?;
    fs::write(output, converted).map_err(|error| format!("{output}: {error}"))
}
