//! `pintle frontend new`: a project from a template of this program.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

/// Files by path, each with its text.
type Files = &'static [(&'static str, &'static str)];

/// Files by language.
const TEMPLATES: &[(&str, Files)] = include!(concat!(env!("OUT_DIR"), "/templates.rs"));

/// The file that is about the template.
const ABOUT: &str = "template.toml";
/// What a file's name ends in that would be a manifest among the templates.
const ENDING: &str = ".in";
/// The longest name of a project, in bytes.
const NAME_BYTES_MAX: usize = 64;

#[derive(clap::Args)]
pub struct New {
    #[arg(
        long,
        value_name = "LANG",
        value_parser = language,
        help = format!("The language that the frontend is written in: {}", languages())
    )]
    lang: String,

    /// The SDK of a checkout, its directory sdk or the one of the language in there; a release of a registry when not given.
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,

    /// The project's name: small letters, digits and -. The last part of a path may be one.
    #[arg(value_name = "NAME")]
    path: PathBuf,
}

/// `template.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    title: String,
    /// What the language is called too, where one gives its name.
    #[serde(default)]
    also: Vec<String>,
    /// Where the SDK lies in `sdk/`.
    directory: String,
    /// What a project cannot be called, for the language means something else by it.
    #[serde(default)]
    reserved: Vec<String>,
    /// How a project depends on the SDK of a registry.
    registry: String,
    /// How it depends on one of a directory, for which `{{path}}` stands.
    path: String,
}

/// The languages, as a text.
fn languages() -> String {
    TEMPLATES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// The name of a template, by any name of its language.
fn language(named: &str) -> anyhow::Result<String> {
    let named = &named.to_ascii_lowercase();
    for (name, files) in TEMPLATES {
        if name == named || about(name, files)?.also.iter().any(|other| other == named) {
            return Ok((*name).to_owned());
        }
    }
    bail!("there are templates for {}", languages())
}

pub fn run(new: &New) -> anyhow::Result<()> {
    let files = template(&new.lang)?;
    let about = about(&new.lang, files)?;
    let name = name(&new.path)?;
    ensure!(
        !about.reserved.iter().any(|reserved| reserved == name),
        "{name}: is a word of {} itself: choose another name",
        about.title
    );
    let sdk = match &new.sdk {
        Some(dir) => about.path.replace("{{path}}", &sdk_dir(dir, &about)?),
        None => about.registry.clone(),
    };
    let taken = format!("{} is there already: choose another name, or remove it", new.path.display());
    ensure!(!new.path.exists(), taken);
    fs::create_dir_all(&new.path).with_context(|| format!("make the directory {}", new.path.display()))?;
    for (path, text) in files.iter().filter(|(path, _)| *path != ABOUT) {
        let target = new.path.join(path.strip_suffix(ENDING).unwrap_or(path));
        let text = text.replace("{{name}}", name).replace("{{sdk}}", &sdk);
        let written = target.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&target, text));
        written.with_context(|| format!("write {}", target.display()))?;
    }
    let shown = new.path.display();
    println!("{shown}: a frontend in {}. What to do next:", about.title);
    let run = format!("pintle frontend run --frontend ./{name}.wasm example");
    let width = run.len();
    println!("    cd {shown}");
    println!("    {:<width$}   # builds it, and runs its cases", "pintle frontend test");
    println!("    {run}   # shows the graph of its example");
    let build = format!("pintle build --frontend ./{name}.wasm -o out example");
    println!("    {build:<width$}   # and builds it");
    if new.sdk.is_none() {
        eprintln!(
            "note: it names the SDK of a package registry, which has none before pintle's first release: until then make the \
             project with --sdk DIR, the directory sdk of a checkout of pintle"
        );
    }
    Ok(())
}

fn template(language: &str) -> anyhow::Result<Files> {
    let found = TEMPLATES.iter().find(|(name, _)| *name == language);
    Ok(found.with_context(|| format!("no template for {language:?}"))?.1)
}

fn about(language: &str, files: &[(&str, &str)]) -> anyhow::Result<About> {
    let text = files.iter().find(|(path, _)| *path == ABOUT).map_or("", |(_, text)| text);
    toml::from_str(text).with_context(|| format!("{ABOUT} of {language}"))
}

/// A name that every language takes for a package.
fn name(path: &Path) -> anyhow::Result<&str> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_small = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_name = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(is_small);
    ensure!(
        is_name && !name.ends_with('-') && name.len() <= NAME_BYTES_MAX,
        "{:?}: a project's name is at most {NAME_BYTES_MAX} small letters, digits and -, and begins with a letter",
        path.display().to_string()
    );
    Ok(name)
}

/// The directory of the language's SDK, absolute.
fn sdk_dir(dir: &Path, about: &About) -> anyhow::Result<String> {
    let inner = dir.join(&about.directory);
    let found = if inner.is_dir() { inner } else { dir.to_path_buf() };
    let found = found.canonicalize().with_context(|| format!("--sdk {}", dir.display()))?;
    match found.to_str() {
        Some(path) if !path.contains(['"', '\\', '\n']) => Ok(path.to_owned()),
        _ => bail!("--sdk {}: its path has characters that a manifest cannot hold", found.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_whole() {
        assert!(!TEMPLATES.is_empty());
        let cases = |files: &[(&str, &str)]| {
            files.iter().find(|(path, _)| *path == "cases/steps.txt").map(|(_, text)| text.to_string())
        };
        for (language, files) in TEMPLATES {
            let about = about(language, files).unwrap();
            assert!(about.path.contains("{{path}}"), "{language}");
            for wanted in ["README.md", "example/Buildfile", ".gitignore.in"] {
                assert!(files.iter().any(|(path, _)| *path == wanted), "{language} has no {wanted}");
            }
            assert!(files.iter().any(|(_, text)| text.contains("{{sdk}}")), "{language} does not name the SDK");
            assert_eq!(cases(files), cases(TEMPLATES[0].1), "{language} has the same cases as {}", TEMPLATES[0].0);
        }
    }

    #[test]
    fn names_of_projects() {
        for (path, expected) in [("a", Some("a")), ("x/y/a-1", Some("a-1")), ("./b", Some("b"))] {
            assert_eq!(name(Path::new(path)).ok(), expected);
        }
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for wrong in ["", "A", "1a", "a_b", "a-", "-a", "a b", "..", "a\"", long.as_str()] {
            assert!(name(Path::new(wrong)).is_err(), "{wrong:?}");
        }
    }
}
