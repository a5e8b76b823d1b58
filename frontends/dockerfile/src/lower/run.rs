//! RUN.

use std::rc::Rc;

use super::{
    mounts::Mounts,
    ops::{MountOp, Op, RunOp},
    stage::Lowerer,
};
use crate::{
    env::Variable,
    instruction::{CommandLine, Instruction, Network, Run, Security},
    parse::{Heredoc, opening},
    shell::{Rules, Variables},
    source::Problem,
    text::path,
};

/// Where a script that stands in a heredoc is mounted.
const SCRIPTS: &str = "/dev/pipes/";

/// What is run, and how it is called.
struct Command {
    args: Vec<String>,
    text: Rc<str>,
    script: Option<MountOp>,
}

impl Lowerer<'_, '_> {
    pub(super) fn run(&mut self, run: &Run, sources: &[Option<usize>], at: &Instruction) -> Result<(), Problem> {
        // A process may read any file of its tree.
        self.lowered.read(self.plan, self.index, "/".to_string());
        let mut command = self.command(run, at);
        let mounts = self.mounts(run, sources, at)?;
        command.args = self.command_args(run, command.args);
        let shown_text = self.run_text(&command.text, &mounts);
        let platform = self.state.run_platform.clone();
        let shown = self.shown(&shown_text, platform.as_ref(), at, true);
        let created_by = self.run_history(&command.args);
        let op = RunOp {
            shown,
            text: at.text.clone(),
            env: self.process_env(&mounts),
            args: command.args,
            cwd: self.state.dir.clone(),
            user: self.state.image.config.user.clone(),
            mounts: command.script.into_iter().chain(mounts.ops).collect(),
            network: (run.network != Network::Default).then_some(run.network),
            insecure: run.security == Security::Insecure,
            devices: run.devices.iter().map(|device| (device.name.clone(), device.required)).collect(),
            platform: platform.unwrap_or_else(|| self.plan.platform.clone()),
        };
        self.state.ops.push(Op::Run(Box::new(op)));
        self.history(created_by, true);
        Ok(())
    }

    fn command(&self, run: &Run, at: &Instruction) -> Command {
        let text = at.text.clone();
        let line = match &run.command {
            CommandLine::Exec(args) => return Command { args: args.clone(), text, script: None },
            CommandLine::Shell(line) => line,
        };
        match run.heredocs.first() {
            None => Command { args: vec![line.clone()], text, script: None },
            Some(heredoc) if opening(line).is_some() => self.only_heredoc(heredoc, &text),
            // The shell reads heredocs itself: put them back.
            Some(_) => {
                let heredocs = run.heredocs.iter().map(|heredoc| format!("\n{}{}", heredoc.content, heredoc.name));
                let line = std::iter::once(line.clone()).chain(heredocs).collect();
                Command { args: vec![line], text, script: None }
            }
        }
    }

    /// `RUN <<EOF`: the heredoc is the command line, or a script when it begins with `#!`.
    fn only_heredoc(&self, heredoc: &Heredoc, text: &str) -> Command {
        let data = heredoc.text();
        let text = format!("{text} ({})", summary(&heredoc.content)).into();
        if self.state.image.platform.os == "windows" || !data.starts_with("#!") {
            return Command { args: vec![data], text, script: None };
        }
        let args = vec![path::join(SCRIPTS, &heredoc.name)];
        let script = MountOp::Script { directory: SCRIPTS.to_string(), name: heredoc.name.clone(), data };
        Command { args, text, script: Some(script) }
    }

    fn command_args(&self, run: &Run, args: Vec<String>) -> Vec<String> {
        match run.command {
            CommandLine::Exec(_) => args,
            CommandLine::Shell(_) => self.with_shell(&args.join(" ")),
        }
    }

    /// The instruction as it is shown. The value of a variable that is a secret is not known here, and is not to be.
    fn run_text(&self, text: &str, mounts: &Mounts) -> String {
        let rules =
            Rules { keep_quotes: true, keep_escapes: true, keep_unset: true, ..Rules::new(self.plan.file.escape) };
        let masked = Masked { names: &mounts.secret_variables, variables: &self.state.env };
        self.shown_text(text, rules, &masked)
    }

    fn process_env(&self, mounts: &Mounts) -> Vec<Variable> {
        let mut env = self.state.env.snapshot();
        let unset = self.state.env.get("SSH_AUTH_SOCK").is_none();
        let socket = mounts.first_socket().filter(|_| unset);
        env.extend(socket.map(|socket| Variable::new(("SSH_AUTH_SOCK".to_string(), socket.to_string()))));
        env
    }

    /// What the history says: arguments that were given, and the command.
    fn run_history(&self, args: &[String]) -> String {
        let given = &self.state.args;
        let mut words = Vec::with_capacity(given.len() + args.len() + 1);
        if !given.is_empty() {
            words.push(format!("|{}", given.len()));
        }
        for (name, value) in given.iter() {
            let value = self.state.env.get(name).or(value).unwrap_or_default();
            words.push(format!("{name}={value}"));
        }
        words.extend_from_slice(args);
        format!("RUN {} # buildkit", words.join(" "))
    }
}

/// Variables of which some are hidden.
struct Masked<'a> {
    names: &'a [String],
    variables: &'a dyn Variables,
}

impl Variables for Masked<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        if self.names.iter().any(|secret| secret == name) { Some("****") } else { self.variables.get(name) }
    }
}

/// The first line of a heredoc.
fn summary(content: &str) -> String {
    let content = content.trim();
    match content.split_once('\n') {
        Some((first, _)) => format!("{}...", first.trim_end_matches('\r')),
        None => content.to_string(),
    }
}
