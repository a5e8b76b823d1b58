//! `pintle du`: what the store holds.

use client::usage;

use crate::embedded::{Link, Place};

/// Options of `pintle du`.
#[derive(clap::Args)]
pub struct Args {
    /// Only records that match: KEY=VALUE (type, id, inuse, shared).
    #[arg(long = "filter", value_name = "FILTER")]
    filters: Vec<String>,

    /// Show each record in full.
    #[arg(short, long)]
    verbose: bool,
}

pub async fn run(args: Args, place: Place) -> anyhow::Result<()> {
    let link = Link::open(&place).await?;
    let records = usage::disk_usage(link.connection(), &args.filters).await;
    link.close().await?;
    print!("{}", usage::table(&records?, args.verbose));
    Ok(())
}
