use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{placed::Placed, steps::Given};

/// An image as its file describes it. Keys that are not here are errors; those that say something of the catalog, or of how the image
/// is kept up to date, are read and left alone.
#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Spec {
    /// Files that say what this one does not, from the repository's root on.
    #[serde(default)]
    pub(crate) includes: Vec<Placed<String>>,
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) platforms: Vec<String>,
    #[serde(default)]
    pub(crate) vars: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) contents: Contents,
    #[serde(default)]
    pub(crate) accounts: Accounts,
    #[serde(default)]
    pub(crate) os_release: OsRelease,
    pub(crate) work_dir: Option<String>,
    pub(crate) stop_signal: Option<String>,
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) paths: Vec<Placed<PathAction>>,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) entrypoint: Vec<String>,
    #[serde(default)]
    pub(crate) cmd: Vec<String>,
    #[serde(default)]
    pub(crate) ports: Vec<String>,
    // What conditions and scripts may ask of the catalog.
    pub(crate) variant: Option<String>,
    pub(crate) flavor: Option<String>,
    pub(crate) fips_compliant: Option<bool>,
    // Of the catalog.
    #[serde(default, rename = "image")]
    _image: Ignored,
    #[serde(default, rename = "suffix")]
    _suffix: Ignored,
    #[serde(default, rename = "tags")]
    _tags: Ignored,
    #[serde(default, rename = "track")]
    _track: Ignored,
    #[serde(default, rename = "dates")]
    _dates: Ignored,
    #[serde(default, rename = "entitlement")]
    _entitlement: Ignored,
    #[serde(default, rename = "tests")]
    _tests: Ignored,
    #[serde(default, rename = "stig-certified")]
    _stig: Ignored,
}

/// A value that is read and left alone.
#[derive(Debug, Default)]
struct Ignored;

impl<'de> Deserialize<'de> for Ignored {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Ignored, D::Error> {
        serde::de::IgnoredAny::deserialize(from).map(|_| Ignored)
    }
}

/// What a tree is made of.
#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Contents {
    /// Lines of apt's `sources.list`.
    #[serde(default)]
    pub(crate) repositories: Vec<String>,
    /// URLs of keys that sign repositories.
    #[serde(default)]
    pub(crate) keyring: Vec<Placed<String>>,
    /// `NAME`, `NAME=VERSION`, or `!NAME` for what is to be left out although others depend on it.
    #[serde(default)]
    pub(crate) packages: Vec<Placed<String>>,
    #[serde(default)]
    pub(crate) files: Vec<Placed<Download>>,
    #[serde(default)]
    pub(crate) artifacts: Vec<Placed<Artifact>>,
    #[serde(default)]
    pub(crate) builds: Vec<Placed<Build>>,
    /// Names of packages for bills of materials.
    #[serde(default, rename = "mappings")]
    _mappings: Ignored,
}

/// A download, or a repository at a commit.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Download {
    /// Whether it is there (see [`crate::condition`]).
    pub(crate) r#if: Option<Placed<String>>,
    pub(crate) url: String,
    /// `sha256:...`, or a commit.
    pub(crate) checksum: Option<String>,
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) includes: Vec<String>,
    #[serde(default)]
    pub(crate) excludes: Vec<String>,
    /// Where not all platforms have it.
    #[serde(default)]
    pub(crate) platforms: Vec<String>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    /// Octal digits.
    pub(crate) mode: Option<String>,
    #[serde(default, rename = "spdx")]
    _spdx: Ignored,
}

/// Files of another image.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Artifact {
    pub(crate) r#if: Option<Placed<String>>,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) includes: Vec<String>,
    #[serde(default)]
    pub(crate) excludes: Vec<String>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
}

/// Something that is built in a tree of its own.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Build {
    pub(crate) r#if: Option<Placed<String>>,
    pub(crate) name: Option<String>,
    /// The image that it begins with, instead of an empty tree.
    pub(crate) uses: Option<Placed<String>>,
    pub(crate) work_dir: Option<String>,
    pub(crate) shell: Option<String>,
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) caches: Vec<Cache>,
    #[serde(default)]
    pub(crate) contents: Contents,
    #[serde(default)]
    pub(crate) paths: Vec<Placed<PathAction>>,
    #[serde(default)]
    pub(crate) pipeline: Vec<Placed<Step>>,
    #[serde(default)]
    pub(crate) outputs: Vec<Placed<Taken>>,
}

/// A directory that stays from build to build.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Cache {
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) sharing: Sharing,
}

#[derive(Deserialize, Debug, Default, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Sharing {
    #[default]
    Shared,
    Private,
    Locked,
}

/// A step of a build: a script, or the name of one.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Step {
    pub(crate) r#if: Option<Placed<String>>,
    pub(crate) name: Option<String>,
    pub(crate) runs: Option<String>,
    /// The name of a step, instead of its script.
    pub(crate) uses: Option<String>,
    /// What that is given.
    #[serde(default)]
    pub(crate) with: BTreeMap<String, Given>,
    pub(crate) work_dir: Option<String>,
    pub(crate) shell: Option<String>,
    /// A user of the tree.
    pub(crate) run_as: Option<String>,
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) caches: Vec<Cache>,
    #[serde(default)]
    pub(crate) secrets: Vec<Secret>,
}

/// A secret of the client's, as a variable.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Secret {
    pub(crate) r#if: Option<Placed<String>>,
    pub(crate) id: String,
    pub(crate) env: String,
    #[serde(default)]
    pub(crate) optional: bool,
}

/// What is taken out of a build.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Taken {
    pub(crate) r#if: Option<Placed<String>>,
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) mode: Option<String>,
    /// Only what the pipeline changed.
    #[serde(default)]
    pub(crate) diff: bool,
}

/// Who is in the image.
#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Accounts {
    /// Whether root may log in.
    #[serde(default)]
    pub(crate) root: bool,
    /// Who the image runs as.
    pub(crate) run_as: Option<Placed<String>>,
    #[serde(default)]
    pub(crate) users: Vec<Placed<User>>,
    #[serde(default)]
    pub(crate) groups: Vec<Placed<Group>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Of the home directory.
    pub(crate) mode: Option<String>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) gid: u32,
    #[serde(default)]
    pub(crate) members: Vec<String>,
}

/// The fields of `/etc/os-release`.
#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct OsRelease {
    pub(crate) name: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) id_like: Option<String>,
    pub(crate) version_id: Option<String>,
    pub(crate) version_codename: Option<String>,
    pub(crate) pretty_name: Option<String>,
    pub(crate) home_url: Option<String>,
    pub(crate) bug_report_url: Option<String>,
}

/// A change of the tree.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct PathAction {
    pub(crate) r#if: Option<Placed<String>>,
    pub(crate) r#type: PathKind,
    pub(crate) path: String,
    pub(crate) content: Option<String>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) mode: Option<String>,
    /// What a symlink points to, or the file of the repository whose content a file has.
    pub(crate) source: Option<String>,
    #[serde(default, rename = "recursive")]
    _recursive: Ignored,
}

#[derive(Deserialize, Debug, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PathKind {
    Symlink,
    Directory,
    File,
    Delete,
    Emptyfile,
}
