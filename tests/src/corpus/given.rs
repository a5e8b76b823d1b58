//! What a case gives to a frontend.

use std::collections::BTreeMap;

use anyhow::Context;
use frontend::cases::{whole_config, whole_digest};
use serde::Serialize;
use serde_json::Value;

use super::is_answer;
use crate::case::Case;

/// What a frontend is given.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Given {
    /// By name.
    pub opts: BTreeMap<String, String>,
    /// By full reference, or by full reference, a space, and the platform that alone has it.
    pub images: BTreeMap<String, Image>,
    /// By a source's identifier, then by path.
    pub files: BTreeMap<String, BTreeMap<String, String>>,
    /// Named inputs, each a source's identifier.
    pub inputs: BTreeMap<String, String>,
    /// When a commit or a download was made, by a source's identifier; in seconds since 1970.
    pub times: BTreeMap<String, i64>,
    /// What the frontend runs on.
    pub build_platform: String,
    /// Digests are made as long as digests are.
    #[serde(skip)]
    whole_digests: bool,
}

/// An image in a registry.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Image {
    /// Its digest.
    pub digest: String,
    /// Its config, as JSON.
    pub config: String,
}

impl Given {
    /// What `case` says.
    ///
    /// # Errors
    /// A line that is not understood.
    pub fn new(case: &Case) -> anyhow::Result<Self> {
        Self::read(case, true)
    }

    /// As [`Given::new`], with digests left as short as they are written.
    ///
    /// # Errors
    /// A line that is not understood.
    pub fn as_written(case: &Case) -> anyhow::Result<Self> {
        Self::read(case, false)
    }

    fn read(case: &Case, whole_digests: bool) -> anyhow::Result<Self> {
        let mut given = Given { whole_digests, ..Given::default() };
        for source in ["local://context", "local://dockerfile"] {
            // Both directories exist even where the case puts nothing into them.
            given.file(source, ".keep", "");
        }
        for section in &case.sections {
            let (title, body) = (section.title.as_str(), section.body.as_str());
            match title {
                "images" => body.lines().filter(|line| !line.is_empty()).try_for_each(|line| given.image(line))?,
                "opts" => given.opts = pairs(body, '=')?,
                "inputs" => given.inputs = pairs(body, ' ')?,
                "times" => {
                    let times = pairs(body, ' ')?.into_iter().map(|(source, time)| Ok((source, time.parse()?)));
                    given.times = times.collect::<anyhow::Result<_>>()?;
                }
                "differs" => {}
                _ if is_answer(title) => {}
                _ => match title.rsplit_once(' ') {
                    Some((source, path)) if source.contains("://") || source.starts_with("vertex ") => {
                        given.file(source, path, body);
                    }
                    _ => ["local://context", "local://dockerfile"].iter().for_each(|it| given.file(it, title, body)),
                },
            }
        }
        given.build_platform = given.opts.get("build-platform").map_or("linux/amd64", |it| it).to_owned();
        Ok(given)
    }

    /// Adds a file of a source.
    pub fn file(&mut self, source: &str, path: &str, text: &str) {
        self.files.entry(source.to_owned()).or_default().insert(path.to_owned(), text.to_owned());
    }

    /// Reads `NAME [PLATFORM] DIGEST CONFIG`.
    fn image(&mut self, line: &str) -> anyhow::Result<()> {
        let (words, config) = line.split_once(" {").unwrap_or((line, "}"));
        let words: Vec<&str> = words.split_whitespace().collect();
        let (name, platform, digest) = match words.as_slice() {
            [name, digest] => (full(name), "", digest),
            [name, platform, digest] => (full(name), *platform, digest),
            _ => anyhow::bail!("not NAME [PLATFORM] DIGEST CONFIG: {line}"),
        };
        let given: Value = serde_json::from_str(&format!("{{{config}")).with_context(|| line.to_owned())?;
        let layer = if self.whole_digests { whole_digest("11") } else { "sha256:1".to_owned() };
        let config = if given.get("os").is_some() { given } else { whole_config(given, platform, &layer) };
        let key = if platform.is_empty() { name } else { format!("{name} {platform}") };
        let digest = if self.whole_digests { whole_digest(digest) } else { (*digest).to_owned() };
        self.images.insert(key, Image { digest, config: config.to_string() });
        Ok(())
    }
}

/// An image's name with its registry and its tag.
fn full(name: &str) -> String {
    let (path, digest) = name.split_once('@').map_or((name, None), |(path, digest)| (path, Some(digest)));
    let host = path.split('/').next().unwrap_or_default();
    let path = match path.contains('/') && (host.contains(['.', ':']) || host == "localhost") {
        true => path.to_owned(),
        false if path.contains('/') => format!("docker.io/{path}"),
        false => format!("docker.io/library/{path}"),
    };
    let tagged = path.rsplit('/').next().is_some_and(|last| last.contains(':'));
    match digest {
        Some(digest) if digest.len() < 71 => format!("{path}@{}", whole_digest(digest)),
        Some(digest) => format!("{path}@{digest}"),
        None if tagged => path,
        None => format!("{path}:latest"),
    }
}

fn pairs(body: &str, separator: char) -> anyhow::Result<BTreeMap<String, String>> {
    let lines = body.lines().filter(|line| !line.is_empty());
    let pair = |line: &str| {
        let (name, value) = line.split_once(separator).with_context(|| format!("no {separator:?} in {line:?}"))?;
        Ok((name.to_owned(), value.replace("\\n", "\n")))
    };
    lines.map(pair).collect()
}
