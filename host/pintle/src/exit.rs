//! Exit codes, and how an error that ends the program is shown. A wrong command line is clap's, with 2.

use std::process::ExitCode;

/// The build failed, or what the user asked for cannot be done.
pub const FAILED: u8 = 1;
/// Ended by Ctrl-C, as a shell reports it.
pub const INTERRUPTED: u8 = 130;

/// Prints `error` with its causes, and answers the exit code for it.
pub fn report(error: anyhow::Error) -> ExitCode {
    eprintln!("ERROR: {error:#}");
    ExitCode::from(FAILED)
}
