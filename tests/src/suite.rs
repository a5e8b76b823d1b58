//! How the suites of case files are run.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// How many cases run at once where nobody says it: steps of builds share two cores or more, and more cases only make each slower.
const THREADS: usize = 4;

/// Runs the trials, by the arguments of this program; with them is what must live while they run.
pub fn run<T>(trials: impl FnOnce() -> anyhow::Result<(Vec<Trial>, T)>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(THREADS));
    match trials() {
        Ok((trials, _held)) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(error) => {
            eprintln!("cannot run the cases: {error:#}");
            ExitCode::FAILURE
        }
    }
}
