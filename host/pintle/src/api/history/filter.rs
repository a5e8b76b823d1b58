//! Filters of the build history, as BuildKit's clients write them (`solver/llbsolver/history`): terms joined by commas all have to
//! match, and of several filters one. `ref`, `status` and `repository` are compared by `==`, `=`, `!=` and `~=` (a regular
//! expression); `startedAt`, `completedAt` and `duration` by `<`, `<=`, `>` and `>=` with a duration (so long ago) or a time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proto::control::BuildHistoryRecord as Record;
use regex::RegexBuilder;
use tonic::Status;

/// How large a compiled expression may be, in bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;
const FIELDS: [&str; 6] = ["ref", "status", "repository", "startedAt", "completedAt", "duration"];

/// Filters; none match all.
pub struct Filters(Vec<Vec<Term>>);

enum Term {
    Text(Field, Box<dyn Fn(&str) -> bool + Send + Sync>),
    Time(Moment, Box<dyn Fn(i128) -> bool + Send + Sync>),
}

#[derive(Clone, Copy)]
enum Field {
    Ref,
    Status,
    Repository,
}

#[derive(Clone, Copy)]
enum Moment {
    Started,
    Completed,
    Duration,
}

impl Filters {
    /// Reads filters; `now` is what times ago count from.
    pub fn parse(filters: &[String], now: SystemTime) -> Result<Filters, Status> {
        let filled = filters.iter().filter(|filter| !filter.is_empty());
        let parse = |filter: &String| filter.split(',').map(|term| self::term(term.trim(), now)).collect();
        Ok(Filters(filled.map(parse).collect::<Result<_, _>>()?))
    }

    /// Whether a record is wanted.
    pub fn matches(&self, record: &Record) -> bool {
        self.0.is_empty() || self.0.iter().any(|terms| terms.iter().all(|term| term.matches(record)))
    }
}

fn bad(term: &str, why: impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!("history filter {term:?}: {why}"))
}

fn term(term: &str, now: SystemTime) -> Result<Term, Status> {
    // Longer signs before those that they begin with.
    let signs = ["~=", "!=", "==", ">=", "<=", "=", ">", "<"];
    let at = signs
        .into_iter()
        .filter_map(|sign| Some((term.find(sign)?, sign)))
        .min_by_key(|(at, sign)| (*at, 2 - sign.len()));
    let Some((at, sign)) = at else { return Err(bad(term, "want FIELD==VALUE, or another comparison")) };
    let (field, value) = (&term[..at], term[at + sign.len()..].trim_matches('"'));
    let moment = match field {
        "startedAt" => Some(Moment::Started),
        "completedAt" => Some(Moment::Completed),
        "duration" => Some(Moment::Duration),
        _ => None,
    };
    if let Some(moment) = moment {
        let bound = bound(moment, value, now)
            .ok_or_else(|| bad(term, "want a duration (24h) or a time (2026-01-02T03:04:05Z)"))?;
        return Ok(Term::Time(moment, compared(sign, bound).ok_or_else(|| bad(term, "want <, <=, > or >="))?));
    }
    let field = match field {
        "ref" => Field::Ref,
        "status" => Field::Status,
        "repository" => Field::Repository,
        other => return Err(bad(term, format_args!("unknown field {other:?}; there are {}", FIELDS.join(", ")))),
    };
    let value = value.to_string();
    Ok(Term::Text(
        field,
        match sign {
            "=" | "==" => Box::new(move |text| text == value),
            "!=" => Box::new(move |text| text != value),
            "~=" => {
                let regex = RegexBuilder::new(&value).size_limit(REGEX_BYTES_MAX).build();
                let regex = regex.map_err(|error| bad(term, error))?;
                Box::new(move |text| regex.is_match(text))
            }
            _ => return Err(bad(term, "want ==, != or ~=")),
        },
    ))
}

/// What times and durations are compared with, in nanoseconds.
fn bound(moment: Moment, value: &str, now: SystemTime) -> Option<i128> {
    let duration = units::parse_duration(value).ok();
    match (moment, duration) {
        (Moment::Duration, duration) => Some(nanos(duration?)),
        (_, Some(ago)) => Some(nanos(now.duration_since(UNIX_EPOCH).ok()?) - nanos(ago)),
        (_, None) => Some(value.parse::<jiff::Timestamp>().ok()?.as_nanosecond()),
    }
}

fn nanos(duration: Duration) -> i128 {
    duration.as_nanos() as i128
}

fn compared(sign: &str, bound: i128) -> Option<Box<dyn Fn(i128) -> bool + Send + Sync>> {
    Some(match sign {
        ">=" => Box::new(move |value| value >= bound),
        "<=" => Box::new(move |value| value <= bound),
        ">" => Box::new(move |value| value > bound),
        "<" => Box::new(move |value| value < bound),
        _ => return None,
    })
}

impl Term {
    fn matches(&self, record: &Record) -> bool {
        match self {
            Term::Text(field, matches) => text(*field, record).is_some_and(matches),
            Term::Time(moment, matches) => time(*moment, record).is_some_and(matches),
        }
    }
}

fn text(field: Field, record: &Record) -> Option<&str> {
    match field {
        Field::Ref => Some(&record.r#ref),
        Field::Status => Some(match (&record.completed_at, &record.error) {
            (None, _) => "running",
            (Some(_), None) => "completed",
            (Some(_), Some(error)) if error.code == tonic::Code::Cancelled as i32 => "canceled",
            (Some(_), Some(_)) => "error",
        }),
        Field::Repository => {
            let attr = |name| record.frontend_attrs.get(name).map(String::as_str);
            attr("vcs:source")
                .or_else(|| attr("context").map(|context| context.split(['#', '?']).next().unwrap_or(context)))
        }
    }
}

/// `None` for what has not happened.
fn time(moment: Moment, record: &Record) -> Option<i128> {
    let nanos = |time: &Option<prost_types::Timestamp>| {
        time.as_ref().map(|time| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos))
    };
    match moment {
        Moment::Started => nanos(&record.created_at),
        Moment::Completed => nanos(&record.completed_at),
        Moment::Duration => Some(nanos(&record.completed_at)? - nanos(&record.created_at)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds, nanos: 0 })
    }

    fn matches(filters: &[&str], record: &Record) -> Result<bool, Status> {
        let filters: Vec<_> = filters.iter().map(|filter| filter.to_string()).collect();
        let now = UNIX_EPOCH + Duration::from_secs(10_000);
        Ok(Filters::parse(&filters, now)?.matches(record))
    }

    #[test]
    fn records() {
        let attrs = [("context".to_string(), "https://h/r.git#main".to_string())].into();
        let done = Record {
            r#ref: "a1".into(),
            created_at: at(5000),
            completed_at: at(5090),
            frontend_attrs: attrs,
            ..Record::default()
        };
        let table: [(&[&str], bool); 17] = [
            (&[], true),
            (&[""], true),
            (&["ref==a1"], true),
            (&["ref=b"], false),
            (&["ref~=^a[0-9]$"], true),
            (&["ref!=a1"], false),
            (&["ref==b", "status==completed"], true),
            (&["ref==a1,status==error"], false),
            (&["repository==https://h/r.git"], true),
            (&["duration>1m"], true),
            (&["duration>=2m"], false),
            (&["startedAt<1h"], true),
            (&["startedAt>1h"], false),
            (&["startedAt>2h"], true),
            (&["completedAt>=1970-01-01T01:24:50Z"], true),
            (&["completedAt>1970-01-01T01:24:50Z"], false),
            (&["status==completed,duration<5m"], true),
        ];
        for (filters, want) in table {
            assert_eq!(matches(filters, &done).unwrap(), want, "{filters:?}");
        }
        let running = Record { completed_at: None, ..done.clone() };
        assert!(matches(&["status==running"], &running).unwrap() && !matches(&["duration>0s"], &running).unwrap());
        let error = |code| Some(proto::rpc::Status { code, ..Default::default() });
        assert!(matches(&["status==canceled"], &Record { error: error(1), ..done.clone() }).unwrap());
        assert!(matches(&["status==error"], &Record { error: error(2), ..done }).unwrap());
    }

    #[test]
    fn mistakes() {
        for filter in [
            "colour==red",
            "ref",
            "ref>1",
            "ref~=(",
            "startedAt>soon",
            "startedAt==1h",
            "duration>x",
            "ref~=(a{999}){999}",
        ] {
            let error = matches(&[filter], &Record::default()).unwrap_err();
            assert_eq!(error.code(), tonic::Code::InvalidArgument, "{filter}");
        }
    }
}
