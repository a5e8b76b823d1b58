//! One command a file.

mod build;
pub mod daemon;
mod du;
mod frontend;
mod lock;
mod lower;
mod prune;

use std::process::ExitCode;

use crate::{embedded::Place, exit};

/// What to do.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Build an image, or files, from a directory with a Dockerfile (or another build language).
    Build(Box<build::Args>),
    /// Pin what the frontends (and images) of a Dockerfile are now, in pintle.lock beside it.
    Lock(Box<lock::Args>),
    /// Print the build graph (LLB) that a frontend makes, without building it.
    Lower(Box<lower::Args>),
    /// Show what the store holds.
    Du(du::Args),
    /// Delete from the store what is not in use.
    Prune(prune::Args),
    /// Push, fetch and look at build languages.
    Frontend(frontend::Args),
    /// Serve BuildKit's API, for buildctl, buildx and `pintle --addr`.
    Daemon(daemon::Args),
}

/// Runs a command and answers the exit code. Ctrl-C cancels it; a daemon knows by itself how to end.
pub async fn run(command: Command, place: Place) -> ExitCode {
    match command {
        Command::Daemon(args) => exit::code(daemon::run(args, place).await),
        command => exit::or_interrupted(run_to_end(command, place)).await,
    }
}

async fn run_to_end(command: Command, place: Place) -> ExitCode {
    exit::code(match command {
        Command::Build(args) => return build::run(*args, place).await,
        Command::Lock(args) => lock::run(*args, place).await,
        Command::Lower(args) => lower::run(*args, place).await,
        Command::Du(args) => du::run(args, place).await,
        Command::Prune(args) => prune::run(args, place).await,
        Command::Frontend(args) => frontend::run(args, place).await,
        Command::Daemon(args) => daemon::run(args, place).await,
    })
}
