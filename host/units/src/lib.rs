//! Sizes and times as people write them, on command lines and in files: `500MB`, `1h30m`.

use std::{fmt, time::Duration};

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A number with a unit that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is no {what}: want for instance {example}")]
pub struct ParseError {
    text: String,
    what: &'static str,
    example: &'static str,
}

/// Bytes from `512`, `64kB`, `1.5GB`, `2GiB`.
pub fn parse_size(text: &str) -> Result<u64, ParseError> {
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
    Ok((number * factor) as u64)
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

/// Bytes, in a file: a number, or a text as [`parse_size`] reads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size(pub u64);

/// A time, in a file: a text as [`parse_duration`] reads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Time(pub Duration);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Size, D::Error> {
        struct Sizes;
        impl Visitor<'_> for Sizes {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size: \"500MB\", or a number of bytes")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
                parse_size(text).map(Size).map_err(E::custom)
            }

            fn visit_u64<E: Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }

            fn visit_i64<E: Error>(self, bytes: i64) -> Result<Size, E> {
                u64::try_from(bytes).map(Size).map_err(|_| E::custom("a size is not negative"))
            }
        }
        from.deserialize_any(Sizes)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Time, D::Error> {
        struct Times;
        impl Visitor<'_> for Times {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time in quotes: \"30s\", \"12h\" or \"7d\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Time, E> {
                parse_duration(text).map(Time).map_err(E::custom)
            }
        }
        from.deserialize_any(Times)
    }
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
    fn in_files() {
        let size = |json: &str| serde_json::from_str::<Size>(json).map_err(|error| error.to_string());
        assert_eq!((size("\"1kB\"").unwrap(), size("7").unwrap()), (Size(1000), Size(7)));
        assert!(size("-7").unwrap_err().contains("not negative"));
        assert!(size("\"much\"").unwrap_err().contains("\"much\" is no size: want for instance 500MB"));
        assert!(size("[]").unwrap_err().contains("expected a size: \"500MB\", or a number of bytes"));
        let time = |json: &str| serde_json::from_str::<Time>(json).map_err(|error| error.to_string());
        assert_eq!(time("\"2m\"").unwrap(), Time(Duration::from_secs(120)));
        assert!(time("\"soon\"").unwrap_err().contains("\"soon\" is no duration"));
        assert!(time("5").unwrap_err().contains("expected a time in quotes"));
    }
}
