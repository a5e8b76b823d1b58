//! COPY and ADD.

use super::{Reader, flags::Kind};
use crate::{
    parse::Heredoc,
    source::{Problem, Token},
};

/// Files that are brought in.
#[derive(Debug, Clone, Default)]
pub struct Copy {
    /// Paths, and for ADD also URLs.
    pub sources: Vec<Token>,
    /// Files whose contents stand in the Dockerfile.
    pub inline: Vec<Inline>,
    /// Where they go.
    pub destination: Token,
    /// A stage, an image or a named context; the build context when not given.
    pub from: Option<Token>,
    /// user[:group].
    pub chown: Option<Token>,
    /// Octal or symbolic.
    pub chmod: Option<Token>,
    /// In a layer that does not depend on what is below it.
    pub link: bool,
    /// Keep the directories that the sources stand in.
    pub parents: bool,
    /// Patterns of what is left out.
    pub exclude: Vec<String>,
    /// What a remote source must have.
    pub checksum: Option<Token>,
    /// Keep a repository's `.git`.
    pub keep_git_dir: Option<bool>,
    /// Unpack archives.
    pub unpack: Option<bool>,
}

/// A file whose contents stand in the Dockerfile.
#[derive(Debug, Clone)]
pub struct Inline {
    /// What it is called.
    pub name: String,
    /// Its contents.
    pub data: String,
    /// Resolve variables in the contents.
    pub expand: bool,
}

const COPY_FLAGS: [(&str, Kind); 6] = [
    ("chown", Kind::Text),
    ("chmod", Kind::Text),
    ("link", Kind::Bool),
    ("exclude", Kind::List),
    ("from", Kind::Text),
    ("parents", Kind::Bool),
];

const ADD_FLAGS: [(&str, Kind); 7] = [
    ("chown", Kind::Text),
    ("chmod", Kind::Text),
    ("link", Kind::Bool),
    ("exclude", Kind::List),
    ("keep-git-dir", Kind::Bool),
    ("checksum", Kind::Text),
    ("unpack", Kind::Bool),
];

impl Reader<'_> {
    pub(super) fn copy(&self, name: &str) -> Result<Copy, Problem> {
        let words = self.list();
        let (destination, sources) = match words.split_last() {
            Some((destination, sources)) if !sources.is_empty() => (destination, sources),
            _ => return Err(self.problem(format!("{name} requires at least two arguments: sources and a destination"))),
        };
        let flags = self.flags(if name == "ADD" { &ADD_FLAGS } else { &COPY_FLAGS })?;
        let heredoc = |word: &Token| crate::parse::opening(&word.text);
        if heredoc(destination).is_some() {
            let message = format!("{name} cannot accept a heredoc as a destination");
            return Err(Problem::new(message, destination.span));
        }
        let given = |name: &str| flags.text(name).filter(|value| !value.text.is_empty());
        Ok(Copy {
            sources: sources.iter().filter(|word| heredoc(word).is_none()).cloned().collect(),
            inline: sources.iter().filter_map(heredoc).map(|heredoc| self.inline(heredoc)).collect(),
            destination: destination.clone(),
            from: given("from"),
            chown: given("chown"),
            chmod: given("chmod"),
            link: flags.is_true("link"),
            parents: flags.is_true("parents"),
            exclude: flags.list("exclude").map(|value| value.text).collect(),
            checksum: given("checksum"),
            keep_git_dir: flags.bool("keep-git-dir"),
            unpack: flags.bool("unpack"),
        })
    }

    fn inline(&self, opened: Heredoc) -> Inline {
        let read = self.node.heredocs.iter().rfind(|heredoc| heredoc.name == opened.name);
        let content = read.map(|read| read.content.clone()).unwrap_or_default();
        Inline { data: Heredoc { content, ..opened.clone() }.text(), name: opened.name, expand: opened.expand }
    }
}
