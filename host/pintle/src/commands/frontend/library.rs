//! What was fetched: listing and forgetting.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use client::usage;
use frontend::Library;
use oci::Reference;

pub fn list(library: &Library) -> anyhow::Result<()> {
    let entries = library.entries()?;
    let width = entries.iter().map(|entry| entry.name.len()).max().unwrap_or(0).max("NAME".len());
    println!("{:<width$}  {:<19} {:>9}  CHECKED", "NAME", "DIGEST", "SIZE");
    for entry in entries {
        // That of the manifest, as push and pull say it, and as policies and locks have it.
        let digest = entry.manifest.get(..19).unwrap_or(&entry.manifest);
        let size = match entry.is_image() {
            true => "image".into(),
            false => usage::human(i64::try_from(entry.size).unwrap_or(i64::MAX)),
        };
        let checked = UNIX_EPOCH + Duration::from_secs(entry.checked);
        let past = SystemTime::now().duration_since(checked).unwrap_or_default();
        println!("{:<width$}  {digest:<19} {size:>9}  {}", entry.name, ago(past));
    }
    Ok(())
}

/// A time that is past, for people.
pub fn ago(past: Duration) -> String {
    let seconds = past.as_secs();
    match seconds {
        0..60 => "just now".into(),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86400),
    }
}

pub fn remove(names: &[Reference], library: &Library) -> anyhow::Result<()> {
    for name in names {
        if !library.remove(&name.to_string())? {
            bail!("{name}: no such frontend; pintle frontend ls shows those that are there");
        }
        println!("{name}");
    }
    Ok(())
}
