//! RUN, and the command lines of CMD and ENTRYPOINT.

use super::{Device, Reader, flags::Kind, texts};
use crate::{
    parse::{Arguments, Heredoc},
    source::{Problem, Token},
    text::{csv, nearest},
};

/// A process of the build.
#[derive(Debug, Clone)]
pub struct Run {
    /// What is run.
    pub command: CommandLine,
    /// Text that the command reads.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`; variables are not resolved.
    pub mounts: Vec<MountFlag>,
    /// `--network`.
    pub network: Network,
    /// `--security`.
    pub security: Security,
    /// `--device`.
    pub devices: Vec<Device>,
}

/// A command in one of two forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// JSON: run as it is.
    Exec(Vec<String>),
    /// A line for the shell.
    Shell(String),
}

/// A `--mount` flag.
#[derive(Debug, Clone)]
pub struct MountFlag {
    /// The value of the flag.
    pub value: Token,
    /// Its `from`, which may not hold variables: stages are ordered by it.
    pub from: Option<String>,
}

/// Network of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Network {
    Default,
    None,
    Host,
}

/// Restrictions of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Security {
    Sandbox,
    Insecure,
}

const FLAGS: [(&str, Kind); 4] =
    [("mount", Kind::List), ("network", Kind::Text), ("security", Kind::Text), ("device", Kind::List)];

impl Reader<'_> {
    pub(super) fn command_line(&self) -> Result<CommandLine, Problem> {
        self.no_flags()?;
        Ok(self.line())
    }

    fn line(&self) -> CommandLine {
        match &self.node.arguments {
            Arguments::Json(list) => CommandLine::Exec(texts(list)),
            Arguments::Text(text) => CommandLine::Shell(text.text.clone()),
            _ => CommandLine::Shell(String::new()),
        }
    }

    pub(super) fn run(&self) -> Result<Run, Problem> {
        let flags = self.flags(&FLAGS)?;
        let command = self.line();
        if command == CommandLine::Exec(Vec::new()) {
            return Err(self.at_least_one("RUN"));
        }
        Ok(Run {
            command,
            heredocs: self.node.heredocs.clone(),
            mounts: flags.list("mount").map(mount_flag).collect::<Result<_, _>>()?,
            network: flags.text("network").map_or(Ok(Network::Default), |value| network(&value))?,
            security: flags.text("security").map_or(Ok(Security::Sandbox), |value| security(&value))?,
            devices: flags.list("device").map(|value| Device::parse(&value)).collect::<Result<_, _>>()?,
        })
    }
}

fn network(value: &Token) -> Result<Network, Problem> {
    match value.text.as_str() {
        "default" => Ok(Network::Default),
        "none" => Ok(Network::None),
        "host" => Ok(Network::Host),
        other => {
            let message = format!("invalid network mode {other:?}: want default, none or host");
            Err(Problem::new(nearest::suggest(message, other, ["default", "none", "host"]), value.span))
        }
    }
}

fn security(value: &Token) -> Result<Security, Problem> {
    match value.text.as_str() {
        "sandbox" => Ok(Security::Sandbox),
        "insecure" => Ok(Security::Insecure),
        other => {
            let message = format!("security {other:?} is not valid: want sandbox or insecure");
            Err(Problem::new(nearest::suggest(message, other, ["sandbox", "insecure"]), value.span))
        }
    }
}

fn mount_flag(value: Token) -> Result<MountFlag, Problem> {
    let problem = |message| Problem::new(message, value.span);
    let fields = csv::fields(&value.text).map_err(|error| problem(format!("cannot read the mount: {error}")))?;
    let from =
        fields.iter().rev().filter_map(|field| field.split_once('=')).find(|(key, _)| key.eq_ignore_ascii_case("from"));
    let from = from.map(|(_, from)| from.to_string());
    if from.as_ref().is_some_and(|from| from.find('$').is_some_and(|at| at + 1 < from.len())) {
        return Err(problem("'from' doesn't support variable expansion, define alias stage instead".to_string()));
    }
    Ok(MountFlag { from: from.filter(|from| !from.is_empty()), value })
}
