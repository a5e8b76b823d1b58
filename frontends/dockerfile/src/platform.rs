//! Platforms: `linux/arm64/v8`, `windows(10.0.17763)/amd64`, or just `arm64`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Operating system, processor and their variants, in the words that Go uses.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Platform {
    /// amd64, arm64 ...
    #[serde(default)]
    pub architecture: String,
    /// linux, windows ...
    #[serde(default)]
    pub os: String,
    /// Of Windows.
    #[serde(rename = "os.version", default, skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Of Windows.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// v7, v8 ...
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

const SYSTEMS: [&str; 17] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];

const ARCHITECTURES: [&str; 26] = [
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "armbe",
    "arm64",
    "arm64be",
    "ppc64",
    "ppc64le",
    "loong64",
    "mips",
    "mipsle",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "ppc",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
    "wasm32",
    "wasm64",
];

impl Platform {
    /// `os/architecture` without more.
    pub fn new(os: &str, architecture: &str) -> Self {
        Platform { os: os.into(), architecture: architecture.into(), ..Default::default() }
    }

    /// Reads a platform. Where only a system or only a processor is named, `local` gives the other. Errors are lower-case
    /// fragments.
    pub fn parse(text: &str, local: &Platform) -> Result<Self, String> {
        let wrong = |what: &str| format!("invalid platform {text:?}: {what}; want os/arch or os/arch/variant");
        let parts: Vec<&str> = text.split('/').collect();
        let (os, os_version, os_features) = parse_os(parts[0]).ok_or_else(|| wrong("its system is not a word"))?;
        if parts[1..].iter().any(|part| !is_word(part)) {
            return Err(wrong("a part of it is not a word"));
        }
        let mut platform = Platform { os, os_version, os_features, ..Default::default() };
        match parts[1..] {
            [] if SYSTEMS.contains(&platform.os.as_str()) => platform.architecture = local.architecture.clone(),
            [] => {
                let (architecture, variant) = normalize(parts[0], "");
                if !ARCHITECTURES.contains(&architecture.as_str()) {
                    return Err(wrong("unknown operating system or architecture"));
                }
                platform.os = local.os.clone();
                (platform.architecture, platform.variant) = (architecture, implied(variant));
            }
            [architecture] => {
                let (architecture, variant) = normalize(architecture, "");
                (platform.architecture, platform.variant) = (architecture, implied(variant));
            }
            [architecture, variant] => {
                (platform.architecture, platform.variant) = normalize(architecture, variant);
                if platform.architecture == "arm64" && platform.variant.is_empty() {
                    platform.variant = "v8".to_string();
                }
            }
            _ => return Err(wrong("it has too many parts")),
        }
        Ok(platform)
    }

    /// With the usual word for each part.
    pub fn normalized(&self) -> Self {
        let (architecture, variant) = normalize(&self.architecture, &self.variant);
        Platform { os: normalize_os(&self.os), architecture, variant, ..self.clone() }
    }

    /// With the version and the features of `image`, where it is for Windows and says none itself.
    #[must_use]
    pub fn extended(mut self, image: &Platform) -> Self {
        if self.os == "windows" && image.os == self.os {
            if self.os_version.is_empty() {
                self.os_version.clone_from(&image.os_version);
            }
            if self.os_features.is_empty() {
                self.os_features.clone_from(&image.os_features);
            }
        }
        self
    }

    /// Without the system's version and features.
    pub fn short(&self) -> String {
        if self.os.is_empty() {
            return "unknown".to_string();
        }
        let parts = [&self.os, &self.architecture, &self.variant];
        parts.into_iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join("/")
    }

    /// The same system and processor, whatever the variant.
    pub fn same_machine(&self, other: &Platform) -> bool {
        self.os == other.os && self.architecture == other.architecture
    }
}

/// A variant that goes without saying is left out.
fn implied(variant: String) -> String {
    if variant == "v7" { String::new() } else { variant }
}

fn is_word(part: &str) -> bool {
    !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// System, version and features of `os(version+feature+feature)`.
fn parse_os(part: &str) -> Option<(String, String, Vec<String>)> {
    let (os, options) = match part.split_once('(') {
        Some((os, options)) => (os, options.strip_suffix(')')?),
        None => (part, ""),
    };
    let valid = |text: &str, more: &[char]| text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(&c));
    if os.is_empty() || !valid(os, &['_', '-']) || !valid(options, &['_', '.', '-', '%', '+']) {
        return None;
    }
    let mut options = options.split('+');
    let version = options.next().unwrap_or_default().to_string();
    let features: Vec<String> = options.map(str::to_string).collect();
    if features.iter().any(String::is_empty) {
        return None;
    }
    Some((normalize_os(os), version, features))
}

fn normalize_os(os: &str) -> String {
    match os.to_ascii_lowercase().as_str() {
        "macos" => "darwin".to_string(),
        os => os.to_string(),
    }
}

fn normalize(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = (architecture.to_ascii_lowercase(), variant.to_ascii_lowercase());
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
        ("aarch64" | "arm64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        (architecture, variant) => (architecture, variant),
    };
    (architecture.to_string(), variant.to_string())
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let features: String = self.os_features.iter().map(|feature| format!("+{feature}")).collect();
        if self.os_version.is_empty() && features.is_empty() {
            return f.write_str(&self.short());
        }
        let machine = Platform { os: format!("{}({}{features})", self.os, self.os_version), ..self.clone() };
        f.write_str(&machine.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, String> {
        Platform::parse(text, &Platform::new("linux", "amd64")).map(|platform| platform.to_string())
    }

    #[test]
    fn platforms() {
        for (text, want) in [
            ("linux/amd64", "linux/amd64"),
            ("Linux/x86_64", "linux/amd64"),
            ("arm64", "linux/arm64"),
            ("windows", "windows/amd64"),
            ("linux/arm/v7", "linux/arm/v7"),
            ("linux/arm", "linux/arm"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/arm64/v8", "linux/arm64/v8"),
            ("windows(10.0.17763+win32k)/amd64", "windows(10.0.17763+win32k)/amd64"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(want), "{text}");
        }
        for bad in ["", "linux/", "linux/a/b/c", "lin*ux/amd64", "foo", "linux(x/amd64"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let arm = Platform { variant: "v8".into(), ..Platform::new("linux", "arm64") };
        assert_eq!(arm.normalized().to_string(), "linux/arm64");
    }
}
