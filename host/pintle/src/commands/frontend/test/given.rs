//! What a case gives to a frontend: options, inputs, and what the host answers.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail, ensure};
use frontend::{
    Definition, GitMeta, Request, SourceMeta,
    cases::{Case, whole_config, whole_digest},
};
use llb::{Graph, Op, op::SourceOp};
use serde_json::Value;

use super::paths;

/// Sources that are there although a case puts nothing into them, as they are in every build.
const LOCALS: [&str; 2] = ["local://context", "local://dockerfile"];
/// What frontends are told of the machine, unless a case says otherwise.
const BUILD_PLATFORM: &str = "build-platform=linux/amd64";
/// How the files of what a vertex makes are named.
const VERTEX: &str = "vertex ";

/// What a frontend is given, and the answers that its questions have.
#[derive(Debug, Default)]
pub struct Given {
    pub request: Request,
    /// By identifier, or by identifier, a space, and the platform that alone has it.
    pub sources: BTreeMap<String, Answer>,
    /// By a source's identifier or by `vertex N`, then by path.
    pub trees: BTreeMap<String, BTreeMap<String, File>>,
    /// Components of other frontends, by the names that they are called by.
    pub frontends: BTreeMap<String, PathBuf>,
    /// What each answer is called, by its number.
    pub answers: Vec<String>,
}

/// What a source turns out to be.
#[derive(Clone, Debug)]
pub struct Answer {
    pub number: usize,
    /// `None` where there is no such thing.
    pub meta: Option<SourceMeta>,
}

/// A file of a source.
#[derive(Clone, Debug)]
pub struct File {
    pub number: usize,
    pub contents: Arc<[u8]>,
}

impl Given {
    /// What `case` says; `dir` is where its file lies.
    ///
    /// # Errors
    /// A line that is not understood.
    pub fn new(case: &Case, dir: &Path) -> anyhow::Result<Given> {
        let mut given = Given::default();
        // As in every build.
        given.option(BUILD_PLATFORM)?;
        for local in LOCALS {
            given.trees.insert(local.into(), BTreeMap::new());
        }
        for section in &case.sections {
            let body = section.body.as_str();
            let lines = || body.lines().filter(|line| !line.trim().is_empty());
            let read = match section.title.as_str() {
                "options" => lines().try_for_each(|line| given.option(line)),
                "inputs" => lines().try_for_each(|line| given.input(line)),
                "images" => lines().try_for_each(|line| given.image(line)),
                "sources" => lines().try_for_each(|line| given.source(line)),
                "frontends" => lines().try_for_each(|line| given.frontend(line, dir)),
                title if super::answer::is_expected(title) => Ok(()),
                title => given.file(title, body),
            };
            read.with_context(|| format!("line {}: -- {} --", section.line, section.title))?;
        }
        Ok(given)
    }

    fn numbered(&mut self, what: String) -> usize {
        self.answers.push(what);
        self.answers.len() - 1
    }

    /// Reads `NAME=VALUE`.
    fn option(&mut self, line: &str) -> anyhow::Result<()> {
        let (name, value) = line.split_once('=').with_context(|| format!("{line:?}: want NAME=VALUE"))?;
        self.request.opts.insert(name.into(), value.into());
        Ok(())
    }

    /// Reads `NAME IDENTIFIER`.
    fn input(&mut self, line: &str) -> anyhow::Result<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, identifier] = words.as_slice() else { bail!("{line:?}: want NAME IDENTIFIER") };
        let mut graph = Graph::new();
        let op = Op::Source(SourceOp { identifier: (*identifier).into(), ..SourceOp::default() });
        let platform = llb::Platform { os: "linux".into(), architecture: "amd64".into(), ..Default::default() };
        let vertex = graph.add(op, Vec::new(), Some(platform), Vec::new(), llb::VertexMeta::default())?;
        let edge = Some(llb::Edge { vertex, output: 0 });
        self.request.inputs.insert((*name).into(), Definition { graph: Arc::new(graph), edge });
        Ok(())
    }

    /// Reads `NAME [PLATFORM] DIGEST [CONFIG]`, or `NAME [PLATFORM] not-found`.
    fn image(&mut self, line: &str) -> anyhow::Result<()> {
        let (words, config) = line.split_once(" {").unwrap_or((line, "}"));
        let words: Vec<&str> = words.split_whitespace().collect();
        let (name, platform, digest) = match words.as_slice() {
            [name, digest] => (name, "", digest),
            [name, platform, digest] => (name, *platform, digest),
            _ => bail!("{line:?}: want NAME [PLATFORM] DIGEST [CONFIG]"),
        };
        let name: oci::Reference = name.parse()?;
        let config: Value = serde_json::from_str(&format!("{{{config}")).with_context(|| line.to_owned())?;
        let meta = (*digest != "not-found").then(|| {
            let digest = whole_digest(digest);
            let pinned = if name.digest().is_some() { name.to_string() } else { format!("{name}@{digest}") };
            let config =
                if config.get("os").is_some() { config } else { whole_config(config, platform, &whole_digest("1")) };
            let identifier = format!("docker-image://{pinned}");
            SourceMeta { identifier, digest, config: Some(config.to_string().into_bytes()), ..SourceMeta::default() }
        });
        self.answer(format!("docker-image://{name}"), platform, meta)
    }

    /// Reads `IDENTIFIER DIGEST [FACTS]`, or `IDENTIFIER not-found`.
    fn source(&mut self, line: &str) -> anyhow::Result<()> {
        let (words, facts) = line.split_once(" {").unwrap_or((line, "}"));
        let words: Vec<&str> = words.split_whitespace().collect();
        let [identifier, digest] = words.as_slice() else { bail!("{line:?}: want IDENTIFIER DIGEST [FACTS]") };
        ensure!(
            identifier.contains("://"),
            "{identifier:?}: want an identifier with its scheme: git://..., https://..."
        );
        let facts: Facts = serde_json::from_str(&format!("{{{facts}")).with_context(|| line.to_owned())?;
        let git = facts.reference.map(|reference| GitMeta { reference, commit: facts.commit, ..GitMeta::default() });
        let meta = (*digest != "not-found").then(|| SourceMeta {
            identifier: facts.identifier.unwrap_or_else(|| (*identifier).into()),
            digest: (*digest).into(),
            git,
            modified: facts.modified,
            ..SourceMeta::default()
        });
        self.answer((*identifier).into(), "", meta)
    }

    fn answer(&mut self, identifier: String, platform: &str, meta: Option<SourceMeta>) -> anyhow::Result<()> {
        let key = if platform.is_empty() { identifier } else { format!("{identifier} {platform}") };
        let number = self.numbered(key.clone());
        ensure!(self.sources.insert(key.clone(), Answer { number, meta }).is_none(), "{key}: has two answers");
        Ok(())
    }

    /// Reads `NAME FILE`.
    fn frontend(&mut self, line: &str, dir: &Path) -> anyhow::Result<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, file] = words.as_slice() else { bail!("{line:?}: want NAME FILE") };
        self.frontends.insert((*name).into(), dir.join(file));
        Ok(())
    }

    /// Takes a file, whose title is `PATH`, `SOURCE PATH` or `vertex N PATH`.
    fn file(&mut self, title: &str, body: &str) -> anyhow::Result<()> {
        let (sources, path) = match title.rsplit_once(' ') {
            Some((source, path)) if source.contains("://") || source.starts_with(VERTEX) => (vec![source], path),
            Some(_) => bail!("unknown section; a file's title is PATH, SOURCE PATH or vertex NUMBER PATH"),
            None => (LOCALS.to_vec(), title),
        };
        let path = paths::clean(path);
        let number = self.numbered(format!("the file {title}"));
        for source in sources {
            let file = File { number, contents: body.as_bytes().into() };
            let before = self.trees.entry(source.into()).or_default().insert(path.clone(), file);
            ensure!(before.is_none(), "{source} has two files {path}");
        }
        Ok(())
    }
}

/// What is known of a source besides its digest.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    /// The pinned identifier, where it is another.
    identifier: Option<String>,
    /// The whole name of a repository's ref.
    #[serde(rename = "ref")]
    reference: Option<String>,
    /// The commit that an annotated tag names.
    commit: Option<String>,
    /// When a download last changed, in seconds since 1970.
    modified: Option<i64>,
}

/// The key of the files of what a vertex makes.
pub fn vertex_key(vertex: llb::VertexId) -> String {
    format!("{VERTEX}{}", vertex.0)
}
