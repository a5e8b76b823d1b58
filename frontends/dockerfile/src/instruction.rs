//! Instructions, understood: a [`Node`] with its arguments counted, its flags checked and its parts named.
//!
//! Variables are not resolved here; what they stand in is kept as it was written.

mod copy;
mod flags;
mod from;
mod healthcheck;
mod mount;
mod run;

use std::rc::Rc;

pub use copy::{Copy, Inline};
pub use from::FromStage;
pub use healthcheck::Healthcheck;
pub use mount::{Device, Mount, MountKind, Sharing};
pub use run::{CommandLine, MountFlag, Network, Run, Security};

use crate::{
    parse::{Arguments, KEYWORDS, Node, Pair},
    source::{Lines, Problem, Span, Token},
    text::nearest,
};

/// An instruction and where it stands.
#[derive(Debug, Clone)]
pub struct Instruction {
    /// The keyword as it was written.
    pub keyword: Token,
    /// The line, joined.
    pub text: Rc<str>,
    /// Keyword to last argument.
    pub span: Span,
    /// Heredocs included.
    pub lines: Lines,
    /// The comments right above.
    pub comments: Vec<String>,
    /// It comes from the base image.
    pub trigger: bool,
    /// What it says.
    pub command: Command,
}

impl Instruction {
    /// What the comments above say of `name`: those that begin with it do.
    pub fn description(&self, name: &str) -> &str {
        let describes = |comment: &'_ String| comment.strip_prefix(name).is_some_and(|rest| rest.starts_with(' '));
        let found = self.comments.iter().find(|comment| !name.is_empty() && describes(comment));
        found.map_or("", |comment| &comment[name.len() + 1..])
    }
}

/// What an instruction says.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Command {
    Add(Box<Copy>),
    Arg(Vec<Argument>),
    Cmd(CommandLine),
    Copy(Box<Copy>),
    Entrypoint(CommandLine),
    Env(Vec<Pair>),
    /// Ports, sorted.
    Expose(Vec<Token>),
    From(FromStage),
    Healthcheck(Healthcheck),
    Label(Vec<Pair>),
    Maintainer(String),
    /// The instruction that images built on this one begin with.
    Onbuild(String),
    Run(Box<Run>),
    Shell(Vec<String>),
    StopSignal(Token),
    User(Token),
    Volume(Vec<Token>),
    Workdir(Token),
}

/// A name that may be given on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// What it is called.
    pub name: String,
    /// Its value when nothing else is given.
    pub default: Option<String>,
    /// Name and value.
    pub span: Span,
}

/// Understands a node; `None`, and a problem, where that cannot be done.
pub fn understand(node: &Node, problems: &mut Vec<Problem>) -> Option<Instruction> {
    if node.is_invalid() {
        return None;
    }
    let read = Reader { node }.command();
    match read {
        Ok(command) => Some(Instruction {
            keyword: node.keyword.clone(),
            text: node.text.clone(),
            span: node.span,
            lines: node.lines,
            comments: node.comments.clone(),
            trigger: false,
            command,
        }),
        Err(problem) => {
            problems.push(problem);
            None
        }
    }
}

/// Reads one node.
struct Reader<'a> {
    node: &'a Node,
}

impl Reader<'_> {
    fn command(&self) -> Result<Command, Problem> {
        Ok(match self.node.name.unwrap_or_default() {
            "ADD" => Command::Add(Box::new(self.copy("ADD")?)),
            "ARG" => Command::Arg(self.arguments()?),
            "CMD" => Command::Cmd(self.command_line()?),
            "COPY" => Command::Copy(Box::new(self.copy("COPY")?)),
            "ENTRYPOINT" => Command::Entrypoint(self.command_line()?),
            "ENV" => Command::Env(self.pairs("ENV")?),
            "EXPOSE" => Command::Expose(self.ports()?),
            "FROM" => Command::From(self.from()?),
            "HEALTHCHECK" => Command::Healthcheck(self.healthcheck()?),
            "LABEL" => Command::Label(self.pairs("LABEL")?),
            "MAINTAINER" => Command::Maintainer(self.one("MAINTAINER")?.text),
            "ONBUILD" => Command::Onbuild(self.onbuild()?),
            "RUN" => Command::Run(Box::new(self.run()?)),
            "SHELL" => Command::Shell(self.shell()?),
            "STOPSIGNAL" => Command::StopSignal(self.only("STOPSIGNAL")?),
            "USER" => Command::User(self.one("USER")?),
            "VOLUME" => Command::Volume(self.volumes()?),
            "WORKDIR" => Command::Workdir(self.one("WORKDIR")?),
            _ => return Err(self.unknown()),
        })
    }

    fn unknown(&self) -> Problem {
        let keyword = &self.node.keyword;
        let upper = keyword.text.to_ascii_uppercase();
        let message = format!("unknown instruction: {}", keyword.text);
        let message = match nearest::nearest(&upper, KEYWORDS) {
            Some(known) if keyword.text == keyword.text.to_ascii_lowercase() => {
                format!("{message} (did you mean {}?)", known.to_ascii_lowercase())
            }
            Some(known) => format!("{message} (did you mean {known}?)"),
            None => message,
        };
        Problem::new(message, keyword.span)
    }

    fn problem(&self, message: impl Into<String>) -> Problem {
        Problem::new(message, self.node.span)
    }

    /// The only argument of an instruction without flags.
    fn one(&self, name: &str) -> Result<Token, Problem> {
        self.no_flags()?;
        self.only(name)
    }

    fn only(&self, name: &str) -> Result<Token, Problem> {
        match &self.node.arguments {
            Arguments::Text(text) => Ok(text.clone()),
            _ => Err(self.problem(format!("{name} requires exactly one argument"))),
        }
    }

    fn list(&self) -> Vec<Token> {
        match &self.node.arguments {
            Arguments::Json(list) | Arguments::Words(list) => list.clone(),
            Arguments::Text(text) => vec![text.clone()],
            _ => Vec::new(),
        }
    }

    fn at_least_one(&self, name: &str) -> Problem {
        self.problem(format!("{name} requires at least one argument"))
    }

    fn arguments(&self) -> Result<Vec<Argument>, Problem> {
        let words = self.list();
        if words.is_empty() {
            return Err(self.at_least_one("ARG"));
        }
        words.into_iter().map(argument).collect()
    }

    fn pairs(&self, name: &str) -> Result<Vec<Pair>, Problem> {
        self.no_flags()?;
        match &self.node.arguments {
            Arguments::Pairs(pairs) => match pairs.iter().find(|pair| pair.name.is_empty()) {
                Some(pair) => Err(Problem::new(format!("{name} names can not be blank"), pair.span)),
                None => Ok(pairs.clone()),
            },
            _ => Err(self.at_least_one(name)),
        }
    }

    fn ports(&self) -> Result<Vec<Token>, Problem> {
        self.no_flags()?;
        let mut ports = self.list();
        if ports.is_empty() {
            return Err(self.at_least_one("EXPOSE"));
        }
        ports.sort_by(|a, b| a.text.cmp(&b.text));
        Ok(ports)
    }

    fn volumes(&self) -> Result<Vec<Token>, Problem> {
        self.no_flags()?;
        let mut volumes = self.list();
        for volume in &mut volumes {
            volume.text = volume.text.trim().to_string();
            if volume.text.is_empty() {
                return Err(Problem::new("VOLUME specified can not be an empty string", volume.span));
            }
        }
        if volumes.is_empty() { Err(self.at_least_one("VOLUME")) } else { Ok(volumes) }
    }

    fn shell(&self) -> Result<Vec<String>, Problem> {
        self.no_flags()?;
        match &self.node.arguments {
            Arguments::Json(list) if !list.is_empty() => Ok(texts(list)),
            Arguments::Text(_) => Err(self.problem("SHELL requires the arguments to be in JSON form")),
            _ => Err(self.at_least_one("SHELL")),
        }
    }

    fn onbuild(&self) -> Result<String, Problem> {
        let trigger = self.node.trigger().ok_or_else(|| self.at_least_one("ONBUILD"))?;
        self.no_flags()?;
        let keyword = trigger.keyword.text.to_ascii_uppercase();
        match keyword.as_str() {
            "ONBUILD" => Err(self.problem("chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
            "MAINTAINER" | "FROM" => Err(self.problem(format!("{keyword} isn't allowed as an ONBUILD trigger"))),
            _ => {
                let heredocs =
                    self.node.heredocs.iter().map(|heredoc| format!("\n{}{}", heredoc.content, heredoc.name));
                Ok(std::iter::once(trigger.text.to_string()).chain(heredocs).collect())
            }
        }
    }
}

fn argument(word: Token) -> Result<Argument, Problem> {
    let (name, default) = match word.text.split_once('=') {
        Some(("", _)) => return Err(Problem::new("ARG names can not be blank", word.span)),
        Some((name, value)) => (name.to_string(), Some(value.to_string())),
        None => (word.text, None),
    };
    Ok(Argument { name, default, span: word.span })
}

fn texts(tokens: &[Token]) -> Vec<String> {
    tokens.iter().map(|token| token.text.clone()).collect()
}
