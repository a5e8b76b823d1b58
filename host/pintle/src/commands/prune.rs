//! `pintle prune`: deletes what is not in use.

use client::usage;

use crate::embedded::{Link, Place};

/// Options of `pintle prune`.
#[derive(clap::Args)]
pub struct Args {
    /// Also what the engine keeps for itself: frontends and internal records.
    #[arg(short, long)]
    all: bool,

    /// Only records that match: KEY=VALUE.
    #[arg(long = "filter", value_name = "FILTER")]
    filters: Vec<String>,

    /// Keep what was used within this time: 30s, 12h, 7d.
    #[arg(long, value_name = "DURATION")]
    keep_duration: Option<String>,

    /// Keep at least this much: 500MB, 10GB.
    #[arg(long, value_name = "SIZE")]
    reserved_space: Option<String>,

    /// Delete until no more than this is used.
    #[arg(long, value_name = "SIZE")]
    max_used_space: Option<String>,

    /// Delete until this much is free on the disk.
    #[arg(long, value_name = "SIZE")]
    min_free_space: Option<String>,
}

pub async fn run(args: Args, place: Place) -> anyhow::Result<()> {
    let size = |text: &Option<String>| -> Result<Option<i64>, units::ParseError> {
        let bytes = text.as_deref().map(units::parse_size).transpose()?;
        Ok(bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)))
    };
    let options = usage::PruneOptions {
        all: args.all,
        filters: args.filters,
        keep: args.keep_duration.as_deref().map(units::parse_duration).transpose()?,
        reserved_bytes: size(&args.reserved_space)?,
        max_used_bytes: size(&args.max_used_space)?,
        min_free_bytes: size(&args.min_free_space)?,
    };
    let link = Link::open(&place).await?;
    let deleted = usage::prune(link.connection(), &options).await;
    link.close().await?;
    print!("{}", usage::table(&deleted?, false));
    Ok(())
}
