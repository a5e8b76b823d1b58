//! The log of the program, on stderr.

use std::{fmt, io::IsTerminal, str::FromStr};

/// How lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One object a line, with a time.
    Json,
}

/// What is worth a line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
#[allow(missing_docs)]
pub enum Level {
    Error,
    #[default]
    Warn,
    Info,
    Debug,
    Trace,
}

/// Format and level.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// How lines look.
    pub format: Format,
    /// What is worth a line.
    pub level: Level,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" | "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            _ => Err(format!("{text:?}: want text or json")),
        }
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "error" | "fatal" | "panic" => Level::Error,
            "" | "warn" | "warning" => Level::Warn,
            "info" => Level::Info,
            "debug" => Level::Debug,
            "trace" => Level::Trace,
            _ => return Err(format!("{text:?}: want error, warn, info, debug or trace")),
        })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info,pintle=debug,build=debug,frontend=debug",
            Level::Debug => "debug,h2=info,hyper=info",
            Level::Trace => "trace",
        })
    }
}

/// Begins to log. `PINTLE_LOG` is a filter that says in detail what is logged.
pub fn begin(options: Options) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("PINTLE_LOG");
    let filter = filter.unwrap_or_else(|_| options.level.to_string().into());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match options.format {
        Format::Text => log.with_ansi(std::io::stderr().is_terminal()).without_time().init(),
        Format::Json => log.json().init(),
    }
}
