//! `pintle frontend run`: what a frontend makes, without building it.

use std::time::Duration;

use anyhow::ensure;

use super::watch::Watcher;
use crate::{
    commands::lower,
    embedded::{Link, Place},
    exit,
};

#[derive(clap::Args)]
pub struct Run {
    #[command(flatten)]
    lower: lower::Args,

    /// Also print what the frontend used: instructions, memory, calls of the host, time.
    #[arg(long)]
    stats: bool,

    /// Run it again whenever the component, or a file of the context, changes.
    #[arg(long)]
    watch: bool,
}

pub async fn run(run: Run, place: Place) -> anyhow::Result<()> {
    let watched = run.lower.frontend().watched();
    ensure!(
        !run.watch || !watched.is_empty(),
        "--watch: neither the context nor the frontend is a file of this machine"
    );
    let link = run.lower.frontend().open(place).await?;
    if !run.watch {
        let outcome = once(&run, &link).await;
        link.close().await?;
        return outcome;
    }
    loop {
        // What changes while it runs makes it run again.
        let watcher = Watcher::new(&watched)?;
        if let Err(error) = once(&run, &link).await {
            exit::show(&error);
        }
        eprintln!("waiting for a change");
        let changed = watcher.changed().await?;
        eprintln!("{changed} changed");
    }
}

async fn once(run: &Run, link: &Link) -> anyhow::Result<()> {
    let used = lower::print(&run.lower, link).await?;
    for used in used.iter().filter(|_| run.stats) {
        let running = Duration::from_nanos(used.running_nanos);
        let memory = client::usage::human(i64::try_from(used.memory_bytes).unwrap_or(i64::MAX));
        eprintln!(
            "{}: {} instructions, {memory} of memory, {} calls of the host, {:.1} ms",
            used.frontend,
            used.instructions,
            used.host_calls,
            running.as_secs_f64() * 1000.0
        );
    }
    Ok(())
}
