//! Disk usage and prune, in BuildKit's words.

use std::time::{Duration, SystemTime};

use build::Engine;
use proto::control::{DiskUsageRequest, PruneRequest, UsageRecord};
use store::{DiskRecord, Prune};
use tonic::Status;

use super::{filters::Filters, status::timestamp};

/// All records that match the request's filters.
pub async fn disk_usage(engine: &Engine, request: &DiskUsageRequest) -> Result<Vec<UsageRecord>, Status> {
    let filters = Filters::parse(&request.filter, &FIELDS)?;
    let records = engine.store().disk_usage().await.map_err(internal)?;
    let age = Duration::from_nanos(request.age_limit.max(0) as u64);
    let old_enough = |record: &DiskRecord| age.is_zero() || since(record.last_used) >= age;
    Ok(records.iter().filter(|record| matches(&filters, record) && old_enough(record)).map(wire).collect())
}

/// Deletes what the request says, and answers what was deleted.
pub async fn prune(engine: &Engine, request: &PruneRequest) -> Result<Vec<UsageRecord>, Status> {
    let filters = Filters::parse(&request.filter, &FIELDS)?;
    let wanted = move |record: &DiskRecord| matches(&filters, record);
    let positive = |number: i64| u64::try_from(number).ok().filter(|number| *number > 0);
    let (engine, all) = (engine.clone(), request.all);
    let keep_duration = positive(request.keep_duration).map(Duration::from_nanos);
    let (reserved, max_used) = (positive(request.reserved_space), positive(request.max_used_space));
    let min_free = positive(request.min_free_space);
    let forgets_calls = request.filter.is_empty() && reserved.or(max_used).or(min_free).is_none();
    let work = move || {
        let filter = Some(&wanted as _);
        if forgets_calls {
            engine.forget_calls(keep_duration.unwrap_or_default())?;
        }
        engine.prune(&Prune { all, roots: all, keep_duration, reserved, max_used, min_free, filter })
    };
    let deleted = tokio::task::spawn_blocking(work).await.map_err(|error| Status::internal(error.to_string()))?;
    let deleted = deleted.map_err(|error| Status::internal(format!("{error:#}")))?;
    Ok(deleted.iter().map(wire).collect())
}

fn internal(error: store::Error) -> Status {
    Status::internal(error.to_string())
}

fn since(milliseconds: u64) -> Duration {
    let then = SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds);
    SystemTime::now().duration_since(then).unwrap_or_default()
}

fn wire(record: &DiskRecord) -> UsageRecord {
    let time = |milliseconds: u64| Some(timestamp(SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds)));
    UsageRecord {
        id: record.id.clone(),
        mutable: record.mutable,
        in_use: record.in_use,
        size: record.size as i64,
        created_at: time(record.created),
        last_used_at: time(record.last_used),
        usage_count: record.usage_count as i64,
        description: record.description.clone(),
        record_type: record.kind.clone(),
        shared: record.shared,
        parents: record.parents.clone(),
        ..Default::default()
    }
}

/// What filters look at.
pub const FIELDS: [&str; 8] = ["id", "parents", "description", "inuse", "mutable", "immutable", "type", "shared"];

/// Whether filters that were read for [`FIELDS`] match a record.
pub fn matches(filters: &Filters, record: &DiskRecord) -> bool {
    filters.matches(|field| {
        Some(match field {
            "id" => record.id.clone(),
            "parents" => record.parents.join(";"),
            "description" => record.description.clone(),
            "inuse" => record.in_use.to_string(),
            "mutable" => record.mutable.to_string(),
            "immutable" => (!record.mutable).to_string(),
            "type" => record.kind.clone(),
            _ => record.shared.to_string(),
        })
    })
}
