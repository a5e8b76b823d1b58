//! `pintle build`: buildx's flags, turned into a request and what the engine may use of this machine.

mod cache;
mod call;
mod component;
mod context;
pub mod lock;
mod output;
mod request;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use client::{SessionHandle, SolveResponse, progress};

use crate::{embedded::Place, exit};
use call::Call;
pub use context::LAYOUT;
pub use request::{FrontendArgs, credentials, prepare, solve};

/// Options of `pintle build`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    frontend: FrontendArgs,

    /// Name the image: NAME[:TAG]; may be given several times.
    #[arg(short, long = "tag", value_name = "NAME")]
    tags: Vec<String>,

    /// Where the result goes: a directory, - (a tar on stdout), or type=local|tar|oci|docker|image|registry,dest=PATH,...
    #[arg(short, long = "output", value_name = "SPEC")]
    outputs: Vec<String>,

    /// An annotation of the image: [KIND[PLATFORM],...:]KEY=VALUE, KIND manifest (as it is without one), index,
    /// manifest-descriptor or index-descriptor.
    #[arg(long = "annotation", value_name = "SPEC")]
    annotations: Vec<String>,

    /// Push the image to its registry; the same as --output=type=registry.
    #[arg(long)]
    push: bool,

    /// Load the image into docker; needs the docker command.
    #[arg(long)]
    load: bool,

    /// A cache to look into: type=registry,ref=NAME|type=local,src=DIR, or the name of an image with a cache in it.
    #[arg(long = "cache-from", value_name = "SPEC")]
    cache_from: Vec<String>,

    /// A cache to fill: type=registry,ref=NAME[,mode=max]|type=local,dest=DIR|type=inline.
    #[arg(long = "cache-to", value_name = "SPEC")]
    cache_to: Vec<String>,

    /// A secret: id=NAME[,src=FILE|,env=VAR].
    #[arg(long = "secret", value_name = "SPEC")]
    secrets: Vec<String>,

    /// An SSH agent or keys: default, or ID=SOCKET.
    #[arg(long = "ssh", value_name = "SPEC")]
    ssh: Vec<String>,

    /// How progress is shown: auto, tty, plain, rawjson, quiet.
    #[arg(long, value_name = "MODE", default_value = "auto", env = "PINTLE_PROGRESS")]
    progress: String,

    /// Print the image id alone; the same as --progress=quiet with the id on stdout.
    #[arg(short, long)]
    quiet: bool,

    /// Write what the exporters say, as JSON.
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,

    /// Write the image id.
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,

    /// Ask something about the build instead of building: check, outline, targets or describe, with ,format=json or
    /// ,ignorestatus=true behind it.
    #[arg(long, value_name = "METHOD", default_value = "build")]
    call: String,

    /// Look for mistakes; the same as --call=check.
    #[arg(long)]
    check: bool,

    /// Say for each step why it ran, or which record it came from.
    #[arg(long)]
    explain: bool,
}

/// Runs the command.
pub async fn run(args: Args, place: Place) -> ExitCode {
    build(args, place).await.unwrap_or_else(exit::report)
}

async fn build(args: Args, place: Place) -> anyhow::Result<ExitCode> {
    let mode = if args.quiet { "quiet" } else { &args.progress };
    let mut display = progress::for_stderr(mode.parse()?, "")?;
    let call = Call::parse(if args.check { "check" } else { &args.call })?;
    let mut outputs = output::outputs(&args.outputs, &args.tags, args.push, args.load)?;
    outputs.annotate(&args.annotations)?;
    let mut prepared = request::prepare(&args.frontend, &args.secrets, &args.ssh)?;
    match &call {
        Some(call) => call.fill(&mut prepared),
        None => outputs.fill(&mut prepared),
    }
    let caches = cache::fill(&args.cache_from, &args.cache_to, &mut prepared)?;
    if args.explain {
        prepared.request.frontend_attrs.insert("pintle.explain".into(), "true".into());
    }
    let link = args.frontend.open(place).await?;
    let response = request::solve(&link, prepared, display.as_mut()).await;
    link.close().await?;
    let mut response = response?;
    let held = args.frontend.check_held(&mut response);
    // A question makes nothing that could be held to something.
    if call.is_none() {
        held?;
    }
    if let Some(explanation) = response.exporter.remove("pintle.explain") {
        explain(&explanation)?;
    }
    if let Some(call) = call {
        return call.print(&response, &args.frontend.build_file());
    }
    finish(&args, &response)?;
    caches.finish(&response)?;
    outputs.finish()?;
    Ok(ExitCode::SUCCESS)
}

/// What is written when all went well.
fn finish(args: &Args, response: &SolveResponse) -> anyhow::Result<()> {
    let id = response.exporter.get("containerimage.config.digest").or(response.exporter.get("containerimage.digest"));
    if let Some(path) = &args.iidfile {
        let id = id.context("--iidfile: the build made no image: give it a name with --tag, or an --output")?;
        std::fs::write(path, id).with_context(|| format!("write {}", path.display()))?;
    }
    if let Some(path) = &args.metadata_file {
        let text = serde_json::to_string_pretty(&output::metadata(response))? + "\n";
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    }
    if let (true, Some(id)) = (args.quiet, id) {
        println!("{id}");
    }
    Ok(())
}

/// Prints why each step ran or did not, one line each.
fn explain(json: &str) -> anyhow::Result<()> {
    let lines: Vec<serde_json::Value> = serde_json::from_str(json)?;
    for line in &lines {
        let mark = if line["hit"].as_bool() == Some(true) { "cached" } else { "ran   " };
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_string();
        eprintln!("{mark} {}: {}", text("name"), text("why"));
    }
    Ok(())
}

/// An id for the session of a build.
pub(super) fn session_id() -> String {
    SessionHandle::new_id()
}
