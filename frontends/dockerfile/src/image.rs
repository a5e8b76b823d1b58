//! The image config, field by field as Docker writes it.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};

use crate::platform::Platform;

/// What history entries say that they were made by.
pub const HISTORY_COMMENT: &str = "buildkit.dockerfile.v0";

/// Where programs are looked for when an image does not say.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An image config.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Of `MAINTAINER`.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// What it runs on.
    #[serde(flatten)]
    pub platform: Platform,
    /// Its layers.
    #[serde(default, deserialize_with = "or_default")]
    pub rootfs: RootFs,
    /// How it was made.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// How it is run.
    #[serde(default, deserialize_with = "or_default")]
    pub config: Config,
}

/// The layers of an image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct RootFs {
    #[serde(rename = "type", default, deserialize_with = "or_default")]
    pub kind: String,
    pub diff_ids: Option<Vec<String>>,
}

/// One step of how an image was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct History {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_false")]
    pub empty_layer: bool,
}

/// How an image is run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
#[allow(missing_docs)]
pub struct Config {
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Nothing>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Nothing>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_false")]
    pub args_escaped: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Health>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
}

/// `{}`, which is what sets have as values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Nothing {}

/// How a container is checked; durations in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
#[allow(missing_docs)]
pub struct Health {
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// Image configs in the wild have `null` where something is empty.
fn or_default<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// What Go escapes in JSON although it need not.
const SPECIAL: [char; 5] = ['<', '>', '&', '\u{2028}', '\u{2029}'];

impl Image {
    /// Of an empty tree.
    pub fn empty(platform: &Platform) -> Self {
        let mut image = Image { platform: platform.clone(), ..Default::default() };
        image.rootfs.kind = "layers".to_string();
        image.config.working_dir = "/".to_string();
        if platform.os != "windows" {
            image.config.env.push(format!("PATH={DEFAULT_PATH}"));
        }
        image
    }

    /// Reads a config; errors are lower-case fragments.
    pub fn parse(json: &str) -> Result<Self, String> {
        serde_json::from_str(json).map_err(|error| format!("cannot read the image config: {error}"))
    }

    /// As JSON, to the byte as Go writes it: with signs escaped that mean something in HTML and JavaScript.
    pub fn to_json(&self) -> String {
        // A struct of strings, numbers and maps of strings can always be written; the signs stand in strings alone.
        let plain = serde_json::to_string(self).unwrap_or_default();
        let mut out = String::with_capacity(plain.len());
        let mut rest = plain.as_str();
        while let Some((at, c)) = special(rest) {
            out.push_str(&rest[..at]);
            out.push_str(&format!("\\u{:04x}", c as u32));
            rest = &rest[at + c.len_utf8()..];
        }
        out.push_str(rest);
        out
    }

    /// Whether it has no layers at all.
    pub fn is_empty(&self) -> bool {
        self.rootfs.diff_ids.as_ref().is_none_or(Vec::is_empty) && self.history.iter().all(|entry| entry.empty_layer)
    }

    /// Where each variable stands.
    pub fn env_places(&self) -> HashMap<String, usize> {
        let names = self.config.env.iter().map(|entry| entry.split('=').next().unwrap_or_default());
        // Of a variable that is there twice, the first counts.
        names.enumerate().rev().map(|(place, name)| (name.to_string(), place)).collect()
    }

    /// Sets a variable where it stands, or at the end; keeps `places` (see [`Image::env_places`]).
    pub fn set_env(&mut self, name: &str, value: &str, places: &mut HashMap<String, usize>) {
        let entry = format!("{name}={value}");
        let place = *places.entry(name.to_string()).or_insert(self.config.env.len());
        match self.config.env.get_mut(place) {
            Some(known) => *known = entry,
            None => self.config.env.push(entry),
        }
    }
}

/// The first sign that Go escapes, and where it is.
fn special(text: &str) -> Option<(usize, char)> {
    // Byte for byte: there is much text, and few such signs.
    let candidates = text.bytes().enumerate().filter(|(_, byte)| matches!(byte, b'<' | b'>' | b'&' | 0xe2));
    candidates.filter_map(|(at, _)| Some((at, text.get(at..)?.chars().next()?))).find(|(_, c)| SPECIAL.contains(c))
}

/// A time in seconds since 1970 as RFC 3339, in UTC; `None` for years that do not have four digits.
pub fn rfc3339(seconds: i64) -> Option<String> {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    if !(0..=9999).contains(&year) {
        return None;
    }
    Some(format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60))
}

/// Year, month and day of a number of days since 1970, in the Gregorian calendar. Years are counted from March in eras of 400.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds).as_deref(), Some(want));
        }
        assert_eq!(rfc3339(i64::MAX / 1000), None);
    }

    #[test]
    fn configs() {
        let json = r#"{"architecture":"amd64","os":"linux","config":{"Env":["A=1"],"Cmd":null,"Labels":null,"Unknown":1},
            "rootfs":{"type":"layers","diff_ids":["sha256:1"]},"history":null}"#;
        let mut image = Image::parse(json).unwrap();
        assert!(!image.is_empty());
        let mut places = image.env_places();
        image.set_env("A", "2", &mut places);
        image.set_env("B", "", &mut places);
        image.set_env("B", "3", &mut places);
        let want = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:1"]},"config":{"Env":["A=2","B=3"]}}"#;
        assert_eq!(image.to_json(), want);
        assert!(Image::parse("[1]").is_err());
    }
}
