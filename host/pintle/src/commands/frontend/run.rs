//! `pintle frontend run`: what a frontend makes, without building it.

use std::time::Duration;

use crate::{commands::lower, embedded::Place};

#[derive(clap::Args)]
pub struct Run {
    #[command(flatten)]
    lower: lower::Args,

    /// Also print what the frontend used: instructions, memory, calls of the host, time.
    #[arg(long)]
    stats: bool,
}

pub async fn run(run: Run, place: Place) -> anyhow::Result<()> {
    let used = lower::lower(&run.lower, place).await?;
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
