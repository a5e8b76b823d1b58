//! Runs each file of `tests/cases/solver` as a test. `UPDATE=1` writes the outcomes as they are.

use std::{fs, path::Path};

use libtest_mimic::{Arguments, Failed, Trial};
use solver::sim::run_scenario;

fn main() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cases/solver");
    let mut files: Vec<_> =
        fs::read_dir(&cases).expect("tests/cases/solver").map(|file| file.unwrap().path()).collect();
    files.sort();
    let trials = files.into_iter().map(|file| {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        Trial::test(name, move || check(&file))
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}

fn check(file: &Path) -> Result<(), Failed> {
    let expected = fs::read_to_string(file)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let actual = runtime.block_on(run_scenario(&expected)).map_err(|error| format!("{error:#}"))?;
    if std::env::var_os("UPDATE").is_some() {
        fs::write(file, &actual)?;
    } else if actual != expected {
        return Err(format!("the outcome is not as in {}. It is:\n{actual}", file.display()).into());
    }
    Ok(())
}
