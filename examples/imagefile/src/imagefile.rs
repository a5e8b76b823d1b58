use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

/// A build file. Keys that are not here are errors.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Imagefile {
    /// An image to start from, or `scratch`.
    pub(crate) base: Spanned<String>,
    /// Packages to install, with the base's package manager.
    #[serde(default)]
    pub(crate) packages: Option<Spanned<Vec<String>>>,
    /// `apt` or `apk`.
    #[serde(default)]
    pub(crate) package_manager: PackageManager,
    /// What to copy and run, in order.
    #[serde(default, rename = "step")]
    pub(crate) steps: Vec<Spanned<Step>>,
    /// How the image runs.
    #[serde(default)]
    pub(crate) image: Image,
}

#[derive(Deserialize, Debug, Default, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PackageManager {
    #[default]
    Apt,
    Apk,
}

/// A step: exactly one of `run`, `copy` and `write`.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Step {
    /// A shell command.
    #[serde(default)]
    pub(crate) run: Option<String>,
    /// Directories that stay from build to build, for `run`.
    #[serde(default)]
    pub(crate) caches: Vec<String>,
    /// A file or directory of the build context.
    #[serde(default)]
    pub(crate) copy: Option<String>,
    /// Text to write.
    #[serde(default)]
    pub(crate) write: Option<String>,
    /// Where `copy` and `write` put it.
    #[serde(default)]
    pub(crate) to: Option<String>,
    /// Octal mode of what `copy` and `write` make.
    #[serde(default)]
    pub(crate) mode: Option<String>,
    /// Owner of what `copy` and `write` make.
    #[serde(default)]
    pub(crate) owner: Option<String>,
}

/// How the image runs.
#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Image {
    #[serde(default)]
    pub(crate) entrypoint: Vec<String>,
    #[serde(default)]
    pub(crate) cmd: Vec<String>,
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) workdir: Option<String>,
    #[serde(default)]
    pub(crate) user: Option<String>,
    #[serde(default)]
    pub(crate) expose: Vec<String>,
}
