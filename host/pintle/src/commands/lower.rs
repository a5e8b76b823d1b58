//! `pintle lower`: the graph that a frontend makes.

use base64::{Engine, prelude::BASE64_STANDARD};
use client::progress;

use super::build::{FrontendArgs, prepare, solve};
use crate::{
    api,
    embedded::{Link, Place},
};

/// Options of `pintle lower`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    frontend: FrontendArgs,

    /// text, json, dot, or svg (needs the dot command).
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

/// What one call of a frontend used.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Used {
    pub frontend: String,
    pub instructions: u64,
    pub memory_bytes: u64,
    pub host_calls: u64,
    pub running_nanos: u64,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Text,
    Json,
    Dot,
    Svg,
}

impl Args {
    /// What is to be made a graph of.
    pub fn frontend(&self) -> &FrontendArgs {
        &self.frontend
    }
}

pub async fn run(args: Args, place: Place) -> anyhow::Result<()> {
    let link = args.frontend.open(place).await?;
    let outcome = print(&args, &link).await;
    link.close().await?;
    outcome.map(drop)
}

/// Prints the graph, and answers what the frontends used, as the engine says it.
pub async fn print(args: &Args, link: &Link) -> anyhow::Result<Vec<Used>> {
    let mut prepared = prepare(&args.frontend, &[], &[])?;
    prepared.request.frontend_attrs.insert(api::LOWER.into(), "true".into());
    let mut display = progress::for_stderr(progress::Mode::Brief, "")?;
    let response = solve(link, prepared, display.as_mut()).await;
    let mut used = Vec::new();
    for (key, value) in response?.exporter {
        if key == "pintle.statistics" {
            used = serde_json::from_str(&value)?;
        }
        let Some(platform) = key.strip_prefix("pintle.definition") else { continue };
        let bytes = BASE64_STANDARD.decode(value)?;
        let (graph, edge) = llb::Graph::decode_bytes(bytes.into(), &llb::Limits::default())?;
        if let Some(platform) = platform.strip_prefix('/') {
            println!("# {platform}");
        }
        match args.format {
            Format::Text => print!("{}", llb::text::text(&graph, edge, None)?),
            Format::Json => println!("{:#}", llb::text::json(&graph, edge)?),
            Format::Dot => print!("{}", llb::text::dot(&graph, edge)?),
            Format::Svg => svg(&llb::text::dot(&graph, edge)?)?,
        }
    }
    Ok(used)
}

/// Lets graphviz draw it.
fn svg(dot: &str) -> anyhow::Result<()> {
    use anyhow::Context;
    use std::io::Write;
    let child = std::process::Command::new("dot").arg("-Tsvg").stdin(std::process::Stdio::piped()).spawn();
    let mut child = child.context("--format svg needs the dot command of graphviz")?;
    child.stdin.take().context("its input is a pipe")?.write_all(dot.as_bytes())?;
    anyhow::ensure!(child.wait()?.success(), "dot failed");
    Ok(())
}
