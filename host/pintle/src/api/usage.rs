//! Disk usage and prune, in BuildKit's words.

use std::time::{Duration, SystemTime};

use build::Engine;
use proto::control::{DiskUsageRequest, PruneRequest, UsageRecord};
use regex::RegexBuilder;
use store::{DiskRecord, Prune};
use tonic::Status;

use super::status::timestamp;

/// All records that match the request's filters.
pub async fn disk_usage(engine: &Engine, request: &DiskUsageRequest) -> Result<Vec<UsageRecord>, Status> {
    let filters = Filters::parse(&request.filter)?;
    let records = engine.store().disk_usage().await.map_err(internal)?;
    let age = Duration::from_nanos(request.age_limit.max(0) as u64);
    let old_enough = |record: &DiskRecord| age.is_zero() || since(record.last_used) >= age;
    Ok(records.iter().filter(|record| filters.match_all(record) && old_enough(record)).map(wire).collect())
}

/// Deletes what the request says, and answers what was deleted.
pub async fn prune(engine: &Engine, request: &PruneRequest) -> Result<Vec<UsageRecord>, Status> {
    let filters = Filters::parse(&request.filter)?;
    let matches = move |record: &DiskRecord| filters.match_all(record);
    let positive = |number: i64| u64::try_from(number).ok().filter(|number| *number > 0);
    let (engine, all) = (engine.clone(), request.all);
    let keep_duration = positive(request.keep_duration).map(Duration::from_nanos);
    let (reserved, max_used) = (positive(request.reserved_space), positive(request.max_used_space));
    let min_free = positive(request.min_free_space);
    let forgets_calls = request.filter.is_empty() && reserved.or(max_used).or(min_free).is_none();
    let work = move || {
        let filter = Some(&matches as _);
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

/// Filters as containerd writes them: `FIELD==VALUE`, `FIELD!=VALUE`, `FIELD~=REGEX`, `FIELD` (true), several joined by commas are all
/// to match; of several filters one has to. `FIELD=VALUE` is taken as `==`.
pub struct Filters(Vec<Vec<Term>>);

struct Term {
    field: String,
    test: Test,
}

enum Test {
    Equal(String),
    NotEqual(String),
    Matches(regex::Regex),
}

/// How large a compiled expression may be, in bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;
const FIELDS: [&str; 8] = ["id", "parents", "description", "inuse", "mutable", "immutable", "type", "shared"];

impl Filters {
    /// Reads filters; the error names what cannot be read.
    pub fn parse(filters: &[String]) -> Result<Self, Status> {
        // An empty filter has no term, and matches all: buildx sends one.
        let terms = |filter: &String| filter.split(',').filter(|term| !term.is_empty()).map(term).collect();
        let parse = |filter: &String| -> Result<Vec<_>, Status> { terms(filter) };
        Ok(Filters(filters.iter().map(parse).collect::<Result<_, _>>()?))
    }

    /// Whether one of them matches, or there is none.
    pub fn match_all(&self, record: &DiskRecord) -> bool {
        self.0.is_empty() || self.0.iter().any(|terms| terms.iter().all(|term| term.matches(record)))
    }
}

fn term(text: &str) -> Result<Term, Status> {
    let split = |sign: &str| text.split_once(sign).map(|(field, value)| (field, value.trim_matches('"').to_string()));
    let (field, test) = if let Some((field, value)) = split("!=") {
        (field, Test::NotEqual(value))
    } else if let Some((field, value)) = split("~=") {
        let regex = RegexBuilder::new(&value).size_limit(REGEX_BYTES_MAX).build();
        (field, Test::Matches(regex.map_err(|error| Status::invalid_argument(format!("filter {text:?}: {error}")))?))
    } else if let Some((field, value)) = split("==").or_else(|| split("=")) {
        (field, Test::Equal(value))
    } else {
        (text, Test::Equal("true".into()))
    };
    if !FIELDS.contains(&field) {
        let known = FIELDS.join(", ");
        return Err(Status::invalid_argument(format!("filter {text:?}: unknown field {field:?}; there are {known}")));
    }
    Ok(Term { field: field.into(), test })
}

impl Term {
    fn matches(&self, record: &DiskRecord) -> bool {
        let value = match self.field.as_str() {
            "id" => record.id.clone(),
            "parents" => record.parents.join(";"),
            "description" => record.description.clone(),
            "inuse" => record.in_use.to_string(),
            "mutable" => record.mutable.to_string(),
            "immutable" => (!record.mutable).to_string(),
            "type" => record.kind.clone(),
            _ => record.shared.to_string(),
        };
        match &self.test {
            Test::Equal(want) => &value == want,
            Test::NotEqual(want) => &value != want,
            Test::Matches(regex) => regex.is_match(&value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: &str, in_use: bool) -> DiskRecord {
        DiskRecord {
            id: "abc".into(),
            kind: kind.into(),
            description: "step 1".into(),
            size: 1,
            created: 0,
            last_used: 0,
            usage_count: 1,
            in_use,
            mutable: false,
            shared: false,
            parents: vec![],
        }
    }

    #[test]
    fn filters() {
        let cases = [
            (vec!["type==regular"], true),
            (vec!["type=regular"], true),
            (vec!["type!=regular"], false),
            (vec!["inuse"], false),
            (vec!["description~=step"], true),
            (vec!["type==regular,inuse==true"], false),
            (vec!["inuse==true", "id==abc"], true),
            (vec![], true),
            (vec![""], true),
        ];
        for (filters, want) in cases {
            let texts: Vec<String> = filters.iter().map(|text| text.to_string()).collect();
            let parsed = Filters::parse(&texts).unwrap();
            assert_eq!(parsed.match_all(&record("regular", false)), want, "{texts:?}");
        }
        assert!(Filters::parse(&["colour==red".into()]).is_err());
        assert!(Filters::parse(&["type~=(".into()]).is_err());
    }
}
