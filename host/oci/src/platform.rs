//! Platforms: their names made equal, and which of an index's entries runs on one.

use std::{fmt, str::FromStr};

use oci_spec::image::Descriptor;

/// An operating system and architecture, in Go's words: `linux/amd64`, `linux/arm/v7`. Made equal on construction, so that
/// `x86_64` is `amd64` and `arm64/v8` is `arm64`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: String,
}

/// The text is no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid platform {0:?}: want OS/ARCHITECTURE[/VARIANT], for instance linux/arm64")]
pub struct ParsePlatformError(pub String);

impl Platform {
    /// A platform of these words; an empty `os` is linux.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Platform {
        let os = match os.to_ascii_lowercase().as_str() {
            "" => "linux".to_string(),
            "macos" => "darwin".to_string(),
            other => other.to_string(),
        };
        let (architecture, variant) = normal_architecture(&architecture.to_ascii_lowercase(), variant);
        Platform { os, architecture, variant }
    }

    /// The platform of this program.
    pub fn host() -> Platform {
        Platform::new(std::env::consts::OS, std::env::consts::ARCH, "")
    }

    /// `linux`.
    pub fn os(&self) -> &str {
        &self.os
    }

    /// `amd64`.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// `v7`, or empty.
    pub fn variant(&self) -> &str {
        &self.variant
    }

    /// What runs on this platform, best first: itself, then older variants, then the 32-bit relatives.
    pub fn accepts(&self) -> Vec<Platform> {
        let same = |architecture: &str, variant: &str| Platform::new(&self.os, architecture, variant);
        let mut accepted = vec![self.clone()];
        let level = |fallback: u32| self.variant.strip_prefix('v').and_then(|v| v.parse().ok()).unwrap_or(fallback);
        match self.architecture.as_str() {
            "amd64" => {
                accepted.extend((1..level(1)).rev().map(|v| same("amd64", &format!("v{v}"))));
                accepted.push(same("386", ""));
            }
            "arm" => accepted.extend((5..level(7)).rev().map(|v| same("arm", &format!("v{v}")))),
            "arm64" => {
                accepted.extend(older_arm64(&self.variant).into_iter().map(|v| same("arm64", &v)));
                accepted.extend((5..=8).rev().map(|v| same("arm", &format!("v{v}"))));
            }
            _ => {}
        }
        accepted
    }

    /// Which of an index's entries to try, best first. An entry that names no platform comes last: its config tells. Windows entries
    /// are not told apart by their version.
    pub fn choose<'a>(&self, entries: &'a [Descriptor]) -> Vec<&'a Descriptor> {
        let accepted = self.accepts();
        let rank = |entry: &Descriptor| match entry.platform() {
            None => Some(accepted.len()),
            Some(platform) => {
                let variant = platform.variant().as_deref().unwrap_or("");
                let found = Platform::new(&platform.os().to_string(), &platform.architecture().to_string(), variant);
                accepted.iter().position(|accepted| *accepted == found)
            }
        };
        let mut ranked: Vec<_> = entries.iter().filter_map(|entry| Some((rank(entry)?, entry))).collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, entry)| entry).collect()
    }
}

/// Other spellings, and the variants that are what the bare architecture means.
fn normal_architecture(architecture: &str, variant: &str) -> (String, String) {
    let variant = match variant.to_ascii_lowercase() {
        digits if digits.starts_with(|c: char| c.is_ascii_digit()) => format!("v{digits}"),
        other => other,
    };
    let (architecture, variant) = match (architecture, variant.as_str()) {
        ("i386" | "i486" | "i586" | "i686" | "x86" | "386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", "v9" | "v9.0") => ("arm64", "v9"),
        ("aarch64" | "arm64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", "") => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        other => other,
    };
    (architecture.to_string(), variant.to_string())
}

/// The Arm extensions that a 64-bit variant includes, newest first: v9.N holds v8.(N+5), and v8.N all below it.
fn older_arm64(variant: &str) -> Vec<String> {
    let number = variant.strip_prefix('v').unwrap_or("8");
    let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
    let (Ok(major), Ok(minor)) = (major.parse::<u32>(), minor.parse::<u32>()) else { return Vec::new() };
    /// The newest minor that there is; keeps a made-up variant from making a long list.
    const MINOR_MAX: u32 = 9;
    let minor = minor.min(MINOR_MAX);
    let spell = |major: u32, minor: u32| format!("v{major}.{minor}");
    let eights = |top: u32| (0..top).rev().map(move |minor| spell(8, minor));
    match major {
        9 => (0..minor).rev().map(|m| spell(9, m)).chain(eights((minor + 5).min(MINOR_MAX) + 1)).collect(),
        8 => eights(minor).collect(),
        _ => Vec::new(),
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() { write!(f, "/{}", self.variant) } else { Ok(()) }
    }
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('/').collect();
        let plain = |part: &&str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        };
        match parts.as_slice() {
            parts if !parts.iter().all(plain) => Err(ParsePlatformError(text.into())),
            [os, architecture] => Ok(Platform::new(os, architecture, "")),
            [os, architecture, variant] => Ok(Platform::new(os, architecture, variant)),
            _ => Err(ParsePlatformError(text.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_are_made_equal() {
        let table = [
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/amd64/3", "linux/amd64/v3"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm64/8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/i686", "linux/386"),
            ("macos/arm64", "darwin/arm64"),
            ("Linux/AMD64", "linux/amd64"),
            ("linux/riscv64", "linux/riscv64"),
        ];
        for (text, want) in table {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), want, "{text}");
        }
        for text in ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux/am d"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_best_entry_of_an_index() {
        // What is wanted; the entries of the index; which are tried, in order.
        let table: [(&str, &[&str], &[usize]); 14] = [
            ("linux/amd64", &["linux/arm64", "linux/amd64"], &[1]),
            ("linux/amd64", &["linux/386", "linux/amd64"], &[1, 0]),
            ("linux/amd64", &["linux/amd64/v2"], &[]),
            ("linux/amd64/v3", &["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], &[1, 0]),
            ("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/arm64"], &[2, 1, 0]),
            ("linux/arm/v6", &["linux/arm/v7", "linux/arm/v5"], &[1]),
            ("linux/arm", &["linux/arm/v6"], &[0]),
            ("linux/arm64", &["linux/arm/v7", "linux/arm64/v8"], &[1, 0]),
            ("linux/arm64/v9", &["linux/arm64", "linux/arm64/v8.2"], &[1, 0]),
            ("linux/arm64/v8.1", &["linux/arm64/v8.2", "linux/arm64"], &[1]),
            ("linux/arm64", &["linux/arm64/v9"], &[]),
            ("linux/s390x", &["linux/amd64", "unknown/unknown"], &[]),
            ("linux/amd64", &["windows/amd64", "", "linux/amd64"], &[2, 1]),
            ("linux/amd64", &[], &[]),
        ];
        for (want, entries, tried) in table {
            let descriptors: Vec<_> = entries.iter().map(|entry| descriptor(entry)).collect();
            let chosen: Vec<_> = want
                .parse::<Platform>()
                .unwrap()
                .choose(&descriptors)
                .into_iter()
                .map(|found| descriptors.iter().position(|d| std::ptr::eq(d, found)).unwrap())
                .collect();
            assert_eq!(chosen, tried, "{want} from {entries:?}");
        }
    }

    fn descriptor(platform: &str) -> Descriptor {
        let mut parts = platform.split('/');
        let mut json = serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": crate::digest_of(platform.as_bytes()),
            "size": 1,
        });
        if !platform.is_empty() {
            json["platform"] = serde_json::json!({"os": parts.next(), "architecture": parts.next()});
            if let Some(variant) = parts.next() {
                json["platform"]["variant"] = variant.into();
            }
        }
        serde_json::from_value(json).unwrap()
    }
}
