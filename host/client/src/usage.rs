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

/// A number of bytes as people read it, in units of 1000 as the other build tools print it: `1.50MB`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn human_sizes() {
        let cases = [(0, "0B"), (999, "999B"), (1000, "1.00kB"), (1_234_567, "1.23MB"), (5_000_000_000, "5.00GB")];
        for (bytes, want) in cases {
            assert_eq!(human(bytes), want);
        }
    }
}
