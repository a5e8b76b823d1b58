//! HEALTHCHECK.

use super::{Reader, flags::Kind, texts};
use crate::{
    parse::Arguments,
    source::{Problem, Token},
    text::duration,
};

/// How a container is checked. Durations are in nanoseconds; 0 leaves it to the runtime.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Healthcheck {
    /// `NONE`, or `CMD` and a command, or `CMD-SHELL` and a line for the shell.
    pub test: Vec<String>,
    /// From one check to the next.
    pub interval: i64,
    /// How long a check may take.
    pub timeout: i64,
    /// How long failures do not count.
    pub start_period: i64,
    /// From one check to the next while failures do not count.
    pub start_interval: i64,
    /// So many failures in a row make a container unhealthy.
    pub retries: i32,
}

const FLAGS: [(&str, Kind); 5] = [
    ("interval", Kind::Text),
    ("timeout", Kind::Text),
    ("start-period", Kind::Text),
    ("start-interval", Kind::Text),
    ("retries", Kind::Text),
];

/// Shorter durations are taken for a mistake.
const MIN_DURATION: i64 = 1_000_000;

impl Reader<'_> {
    pub(super) fn healthcheck(&self) -> Result<Healthcheck, Problem> {
        let Arguments::Typed(kind, command) = &self.node.arguments else {
            return Err(self.at_least_one("HEALTHCHECK"));
        };
        match kind.text.to_ascii_uppercase().as_str() {
            "NONE" if matches!(**command, Arguments::None) => {
                Ok(Healthcheck { test: vec!["NONE".to_string()], ..Default::default() })
            }
            "NONE" => Err(self.problem("HEALTHCHECK NONE takes no arguments")),
            "CMD" => self.check(command),
            other => Err(Problem::new(format!("unknown type {other:?} in HEALTHCHECK (try CMD)"), kind.span)),
        }
    }

    fn check(&self, command: &Arguments) -> Result<Healthcheck, Problem> {
        let flags = self.flags(&FLAGS)?;
        let (kind, mut command) = match command {
            Arguments::Json(list) => ("CMD", texts(list)),
            Arguments::Text(text) => ("CMD-SHELL", vec![text.text.clone()]),
            _ => ("CMD", Vec::new()),
        };
        if command.is_empty() {
            return Err(self.problem("missing command after HEALTHCHECK CMD"));
        }
        command.insert(0, kind.to_string());
        let duration = |name| flags.text(name).map_or(Ok(0), |value| duration_flag(name, &value));
        Ok(Healthcheck {
            test: command,
            interval: duration("interval")?,
            timeout: duration("timeout")?,
            start_period: duration("start-period")?,
            start_interval: duration("start-interval")?,
            retries: flags.text("retries").map_or(Ok(0), |value| retries_flag(&value))?,
        })
    }
}

fn duration_flag(name: &str, value: &Token) -> Result<i64, Problem> {
    if value.text.is_empty() {
        return Ok(0);
    }
    let Some(nanoseconds) = duration::parse(&value.text) else {
        let message = format!("invalid duration {:?} for --{name}: want for instance 30s or 1m30s", value.text);
        return Err(Problem::new(message, value.span));
    };
    if nanoseconds != 0 && nanoseconds < MIN_DURATION {
        return Err(Problem::new(format!("interval {name:?} cannot be less than 1ms"), value.span));
    }
    Ok(nanoseconds)
}

fn retries_flag(value: &Token) -> Result<i32, Problem> {
    if value.text.is_empty() {
        return Ok(0);
    }
    match value.text.parse::<i32>() {
        Ok(retries) if retries < 0 => {
            Err(Problem::new(format!("--retries cannot be negative ({retries})"), value.span))
        }
        Ok(retries) => Ok(retries),
        Err(_) => Err(Problem::new(format!("invalid number {:?} for --retries", value.text), value.span)),
    }
}
