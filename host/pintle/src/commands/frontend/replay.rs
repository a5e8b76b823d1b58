//! `pintle frontend replay`: calls that were recorded, run again.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, bail, ensure};
use client::usage;
use frontend::{Calls, Frontend, Listed, RecordedCall};

use super::{library::ago, test::diff};
use crate::{embedded::Place, frontends};

#[derive(clap::Args)]
pub struct Replay {
    /// The call, by its id or the beginning of it; without one the recorded calls are listed.
    #[arg(value_name = "ID")]
    id: Option<String>,

    /// Run this component instead of the one that was called.
    #[arg(long, value_name = "FILE", requires = "id")]
    frontend: Option<PathBuf>,

    /// How often it is run.
    #[arg(long, value_name = "NUMBER", default_value_t = 3, requires = "id", value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,

    /// Print the call: what was asked, said and answered.
    #[arg(long, requires = "id")]
    show: bool,
}

pub async fn run(replay: &Replay, place: &Place) -> anyhow::Result<()> {
    let calls = frontends::calls(&place.root);
    let Some(id) = &replay.id else { return list(&calls) };
    let (id, call) = find(&calls, id)?;
    let then = call.text();
    if replay.show {
        print!("{then}");
        return Ok(());
    }
    let frontend = load(replay, &call, place).await?;
    for number in 1..=replay.times {
        let now = call.replay(&*frontend).await?;
        if now != then {
            print!("{}", diff::diff(&then, &now));
            bail!("{}: it answers otherwise than it did, in run {number}", call.name());
        }
    }
    println!("{} {}: {} runs, all as recorded", &id[..12.min(id.len())], call.name(), replay.times);
    Ok(())
}

fn list(calls: &Calls) -> anyhow::Result<()> {
    let calls = calls.list()?;
    let width = calls.iter().map(|call| call.name.len()).max().unwrap_or(0).max("FRONTEND".len());
    println!("{:<12}  {:<width$}  {:>9}  {:>12}  {:>9}  USED", "ID", "FRONTEND", "QUESTIONS", "INSTRUCTIONS", "SIZE");
    for Listed { id, name, questions, instructions, bytes, unused, .. } in calls {
        let size = usage::human(i64::try_from(bytes).unwrap_or(i64::MAX));
        let id = id.get(..12).unwrap_or(&id);
        println!("{id:<12}  {name:<width$}  {questions:>9}  {instructions:>12}  {size:>9}  {}", ago(unused));
    }
    Ok(())
}

/// The one call whose id begins so.
fn find(calls: &Calls, id: &str) -> anyhow::Result<(String, RecordedCall)> {
    let mut ids: Vec<String> =
        calls.list()?.into_iter().map(|call| call.id).filter(|known| known.starts_with(id)).collect();
    ensure!(ids.len() < 2, "{id}: {} calls begin so; give more of the id", ids.len());
    let found = ids
        .pop()
        .with_context(|| format!("{id}: no such call; pintle frontend replay lists those that are recorded"))?;
    let call = calls.recorded(&found).with_context(|| format!("{id}: what was answered to it is not kept"))?;
    Ok((found, call))
}

/// The component that is run: of a file, of this program, or of the library; one that was compiled here is known by its digest alone.
async fn load(replay: &Replay, call: &RecordedCall, place: &Place) -> anyhow::Result<Arc<dyn Frontend>> {
    let runtime = frontends::runtime(&place.root, place.config.limits())?;
    if let Some(file) = &replay.frontend {
        let bytes = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
        return Ok(Arc::new(runtime.load(bytes, &file.display().to_string()).await?));
    }
    let shipped = frontends::dockerfile(runtime.clone());
    if shipped.component().as_deref() == Some(call.component()) {
        return Ok(shipped);
    }
    let mut digest = [0; 32];
    let hex = call.component().strip_prefix("sha256:").unwrap_or_default();
    hex::decode_to_slice(hex, &mut digest).with_context(|| format!("{:?} is no digest", call.component()))?;
    let file = frontends::library(&place.root).blob(call.component());
    ensure!(
        file.is_some() || runtime.is_compiled(&digest),
        "the component {} of {} is not here any longer: name it with --frontend",
        call.component(),
        call.name()
    );
    Ok(Arc::new(runtime.load_file(digest, file.unwrap_or_default(), call.name()).await?))
}
