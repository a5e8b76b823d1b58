//! What an engine's store holds, and deleting from it.

use std::{fmt::Write, time::Duration};

use futures::TryStreamExt;
use proto::control::{DiskUsageRequest, PruneRequest, UsageRecord};

use crate::{BuildError, connect::Connection};

/// What to delete. Sizes in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PruneOptions {
    pub all: bool,
    pub filters: Vec<String>,
    pub keep: Option<Duration>,
    pub reserved_bytes: Option<i64>,
    pub max_used_bytes: Option<i64>,
    pub min_free_bytes: Option<i64>,
}

/// A number with a unit that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is no {what}: want for instance {example}")]
pub struct ParseError {
    text: String,
    what: &'static str,
    example: &'static str,
}

/// Ids and platforms of the engine's workers.
pub async fn workers(connection: &Connection) -> Result<Vec<(String, Vec<String>)>, BuildError> {
    let request = proto::control::ListWorkersRequest::default();
    let answer = connection.control().list_workers(request).await;
    let answer = answer.map_err(|status| BuildError::from_status("list workers", status))?.into_inner();
    let platform = |platform: proto::pb::Platform| {
        let parts = [platform.os, platform.architecture, platform.variant];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
    };
    let worker = |record: proto::types::WorkerRecord| (record.id, record.platforms.into_iter().map(platform).collect());
    Ok(answer.record.into_iter().map(worker).collect())
}

/// All records of the store that match every filter.
pub async fn disk_usage(connection: &Connection, filters: &[String]) -> Result<Vec<UsageRecord>, BuildError> {
    let request = DiskUsageRequest { filter: filters.to_vec(), age_limit: 0 };
    let answer = connection.control().disk_usage(request).await;
    Ok(answer.map_err(|status| BuildError::from_status("disk usage", status))?.into_inner().record)
}

/// Deletes, and answers what was deleted.
pub async fn prune(connection: &Connection, options: &PruneOptions) -> Result<Vec<UsageRecord>, BuildError> {
    let request = PruneRequest {
        filter: options.filters.clone(),
        all: options.all,
        keep_duration: options.keep.map_or(0, |keep| i64::try_from(keep.as_nanos()).unwrap_or(i64::MAX)),
        reserved_space: options.reserved_bytes.unwrap_or(0),
        max_used_space: options.max_used_bytes.unwrap_or(0),
        min_free_space: options.min_free_bytes.unwrap_or(0),
    };
    let failed = |status| BuildError::from_status("prune", status);
    let stream = connection.control().prune(request).await.map_err(failed)?.into_inner();
    stream.try_collect().await.map_err(failed)
}

/// Records as a table with a line for the sum; in full, a paragraph for each.
pub fn table(records: &[UsageRecord], verbose: bool) -> String {
    let mut out = String::new();
    if !verbose {
        let _ = writeln!(out, "{:<28} {:<20} {:>10}  {:<6} DESCRIPTION", "ID", "TYPE", "SIZE", "IN USE");
    }
    for record in records {
        let size = human(record.size);
        if verbose {
            let _ = writeln!(
                out,
                "ID:          {}\nType:        {}\nSize:        {size}\nIn use:      {}\nShared:      {}\nUsed:        {} times\nParents:     {}\nDescription: {}\n",
                record.id,
                record.record_type,
                record.in_use,
                record.shared,
                record.usage_count,
                record.parents.join(", "),
                record.description
            );
        } else {
            let id: String = record.id.chars().take(28).collect();
            let _ = writeln!(
                out,
                "{id:<28} {:<20} {size:>10}  {:<6} {}",
                record.record_type, record.in_use, record.description
            );
        }
    }
    let total: i64 = records.iter().map(|record| record.size).sum();
    let _ = writeln!(out, "Total: {} in {} records", human(total), records.len());
    out
}

/// A number of bytes in units of 1000, as the other build tools print it.
/// A number of bytes as people read it: `1.5MB`.
pub fn human(bytes: i64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes}B");
    }
    let mut value = bytes as f64;
    let mut unit = "";
    for next in UNITS {
        if value < 1000.0 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    format!("{value:.2}{unit}")
}

/// Bytes from `512`, `64kB`, `1.5GB`, `2GiB`.
pub fn parse_size(text: &str) -> Result<i64, ParseError> {
    let failed = || ParseError { text: text.into(), what: "size", example: "500MB or 10GiB" };
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1_048_576.0,
        "gib" => 1_073_741_824.0,
        "tib" => 1_099_511_627_776.0,
        _ => return Err(failed()),
    };
    let number: f64 = number.parse().map_err(|_| failed())?;
    Ok((number * factor) as i64)
}

/// A duration from `90s`, `15m`, `12h`, `7d`, or several of them in a row.
pub fn parse_duration(text: &str) -> Result<Duration, ParseError> {
    let failed = || ParseError { text: text.into(), what: "duration", example: "30s, 12h or 7d" };
    let (mut total, mut number) = (0.0, String::new());
    for c in text.chars() {
        if c.is_ascii_digit() || c == '.' {
            number.push(c);
            continue;
        }
        let factor = match c {
            's' => 1.0,
            'm' => 60.0,
            'h' => 3600.0,
            'd' => 86_400.0,
            _ => return Err(failed()),
        };
        total += std::mem::take(&mut number).parse::<f64>().map_err(|_| failed())? * factor;
    }
    if !number.is_empty() || text.is_empty() {
        return Err(failed());
    }
    Duration::try_from_secs_f64(total).map_err(|_| failed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations() {
        let sizes = [("512", 512), ("64kB", 64_000), ("1.5GB", 1_500_000_000), ("2GiB", 2 << 30), ("10M", 10_000_000)];
        for (text, want) in sizes {
            assert_eq!(parse_size(text), Ok(want), "{text}");
        }
        for text in ["", "x", "5 parsecs", "-1"] {
            assert!(parse_size(text).is_err(), "{text:?}");
        }
        for (text, want) in [("90s", 90), ("12h", 43_200), ("1h30m", 5400), ("7d", 604_800)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(want)), "{text}");
        }
        for text in ["", "5", "5x", "h", "99999999999999999999d"] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn human_sizes() {
        let cases = [(0, "0B"), (999, "999B"), (1000, "1.00kB"), (1_234_567, "1.23MB"), (5_000_000_000, "5.00GB")];
        for (bytes, want) in cases {
            assert_eq!(human(bytes), want);
        }
    }
}
