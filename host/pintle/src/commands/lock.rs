//! `pintle lock`: pins what a build file's names mean.

use anyhow::{Context, ensure};
use build::{LOCK_FILE, Lock};
use client::progress;

use super::build::{FrontendArgs, lock, prepare, solve};
use crate::{api, embedded::Place};

/// Options of `pintle lock`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    frontend: FrontendArgs,

    /// Pin base images too.
    #[arg(long)]
    images: bool,
}

/// Asks what the names mean now, without building anything, and writes it beside the Dockerfile.
pub async fn run(args: Args, place: Place) -> anyhow::Result<()> {
    ensure!(!args.frontend.is_locked(), "--locked is for builds: pintle lock writes anew what they are held to");
    let mut prepared = prepare(&args.frontend, &[], &[])?;
    let dir = prepared.directories.lock_dir().map(std::path::Path::to_path_buf);
    let dir =
        dir.with_context(|| format!("{LOCK_FILE} lies beside the Dockerfile, and that is no file of this machine"))?;
    let attrs = &mut prepared.request.frontend_attrs;
    attrs.remove(api::LOCK);
    attrs.extend([(api::LOWER.to_string(), "true".to_string()), (api::FRESH.to_string(), "true".to_string())]);
    let link = args.frontend.open(place).await?;
    let mut display = progress::for_stderr(progress::Mode::Brief, "")?;
    let response = solve(&link, prepared, display.as_mut()).await;
    link.close().await?;
    let pins = response?.exporter.remove("pintle.pins").context("the daemon knows nothing of lock files")?;
    let mut pins = Lock::parse(&pins).context("what the engine answers")?;
    pins.images = pins.images.filter(|_| args.images);
    lock::write(&dir, &pins)?;
    for (name, digest) in pins.frontends.iter().chain(pins.images.iter().flatten()) {
        println!("{name} {digest}");
    }
    Ok(())
}
