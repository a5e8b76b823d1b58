//! `pintle frontend`: build languages as files that are pushed, fetched, looked at and carried elsewhere.

mod bundle;
mod inspect;
mod library;
mod new;
mod project;
mod registry;
mod replay;
mod run;
mod test;
mod verify;
mod watch;

use std::path::PathBuf;

use anyhow::ensure;

pub use self::watch::Watched;
use crate::embedded::Place;

/// What to do with frontends.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Begin a frontend: a project that builds, tests and runs at once.
    New(new::New),
    /// Make the component of a project: a Rust crate, or what its frontend.toml says.
    Build(project::Build),
    /// Run a frontend and print its graph, without building anything.
    Run(Box<run::Run>),
    /// Run a frontend's cases: files that say what it is given, and what it is to answer.
    Test(test::Test),
    /// Push a component to a registry.
    Push(Push),
    /// Fetch a frontend, so that builds need no registry for it; also out of an OCI layout.
    Pull(registry::Pull),
    /// List the frontends that were fetched.
    Ls,
    /// Forget frontends that were fetched.
    Rm(Names),
    /// Show what a frontend is: digests, what it imports and exports.
    Inspect(Inspect),
    /// Say who signed a frontend; fails where it may not run.
    Verify(verify::Verify),
    /// List the calls of frontends that are remembered, or run one again and show what it answers otherwise.
    Replay(replay::Replay),
    /// Write frontends that were fetched to a tar archive (an OCI layout), for a machine without a network.
    Save(Save),
    /// Take in frontends from an archive of `save`.
    Load(Load),
}

#[derive(clap::Args)]
struct Push {
    /// The component.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where it goes: REGISTRY/NAME[:TAG].
    #[arg(value_name = "NAME")]
    name: oci::Reference,
    /// An annotation of the manifest: KEY=VALUE; may be given several times.
    #[arg(long = "annotation", value_name = "KEY=VALUE")]
    annotations: Vec<String>,
}

#[derive(clap::Args)]
struct Names {
    /// REGISTRY/NAME[:TAG][@DIGEST].
    #[arg(value_name = "NAME", required = true)]
    names: Vec<oci::Reference>,
}

#[derive(clap::Args)]
struct Inspect {
    /// A frontend that was fetched, the path of a component that ends in .wasm, or oci-layout://PATH[:TAG][@DIGEST].
    #[arg(value_name = "NAME|FILE")]
    what: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Save {
    /// The archive.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// REGISTRY/NAME[:TAG][@DIGEST]; all when none is given.
    #[arg(value_name = "NAME")]
    names: Vec<oci::Reference>,
}

#[derive(clap::Args)]
struct Load {
    /// The archive, or the directory that it was unpacked to.
    #[arg(short, long, value_name = "FILE")]
    input: PathBuf,
}

/// Runs one of the commands. Those of the library work on the files of this machine, not through a daemon.
pub async fn run(args: Args, place: Place) -> anyhow::Result<()> {
    let is_of_the_store =
        !matches!(args.command, Command::New(_) | Command::Build(_) | Command::Run(_) | Command::Test(_));
    ensure!(
        place.addr.is_none() || !is_of_the_store,
        "pintle frontend works on the store of this machine: leave --addr and PINTLE_HOST out, and run it where the daemon runs"
    );
    let library = crate::frontends::library(&place.root);
    match args.command {
        Command::Push(push) => registry::push(push, &place).await,
        Command::Pull(pull) => registry::pull(&pull, &library, &place).await,
        Command::Ls => library::list(&library),
        Command::Rm(names) => library::remove(&names.names, &library),
        Command::Inspect(inspect) => inspect::run(&inspect, &library).await,
        Command::Verify(verify) => verify::run(&verify, &library, &place).await,
        Command::Replay(replay) => replay::run(&replay, &place).await,
        Command::Save(save) => bundle::save(&save, &library),
        Command::Load(load) => bundle::load(&load, &library).await,
        Command::New(new) => new::run(&new),
        Command::Build(build) => project::run(&build),
        Command::Run(run) => run::run(*run, place).await,
        Command::Test(test) => test::run(test, &place).await,
    }
}
