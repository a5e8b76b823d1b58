//! Instructions that change the image config alone.

use std::collections::BTreeSet;

use super::stage::{Lowerer, is_internal_arg};
use crate::{
    image::Nothing,
    instruction::{Argument, Command, CommandLine, Instruction},
    lint::Rule,
    parse::Pair,
    plan::Declared,
    shell::Variables,
    source::{Problem, Token},
    text::quote::quote_list,
};

/// The shell of images that do not say.
const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];
const DEFAULT_SHELL_WINDOWS: [&str; 3] = ["cmd", "/S", "/C"];

impl Lowerer<'_, '_> {
    pub(super) fn configure(&mut self, at: &Instruction) -> Result<(), Problem> {
        match &at.command {
            Command::Arg(args) => {
                args.iter().map(|arg| self.arg(arg, at)).collect::<Result<Vec<_>, _>>().map(|shown| {
                    self.history(format!("ARG {}", shown.join(" ")), false);
                })
            }
            Command::Env(pairs) => self.env(pairs, at),
            Command::Label(pairs) => self.label(pairs, at),
            Command::Cmd(line) => self.cmd(line, at),
            Command::Entrypoint(line) => self.entrypoint(line, at),
            Command::Expose(ports) => self.expose(ports, at),
            Command::Healthcheck(check) => self.healthcheck(check, at),
            Command::Maintainer(author) => {
                self.state.image.author.clone_from(author);
                self.history(format!("MAINTAINER {author}"), false);
                Ok(())
            }
            Command::Onbuild(trigger) => {
                self.state.image.config.on_build.push(trigger.clone());
                Ok(())
            }
            Command::Shell(shell) => {
                self.state.image.config.shell.clone_from(shell);
                self.history(format!("SHELL [{}]", shell.join(" ")), false);
                Ok(())
            }
            Command::StopSignal(signal) => self.stop_signal(signal, at),
            Command::User(user) => self.user(user, at),
            Command::Volume(volumes) => self.volume(volumes, at),
            Command::Add(_) | Command::Copy(_) | Command::Run(_) | Command::Workdir(_) | Command::From(_) => Ok(()),
        }
    }

    /// Declares an argument; answers what the history says.
    fn arg(&mut self, arg: &Argument, at: &Instruction) -> Result<String, Problem> {
        self.check_secret("ARG", &arg.name, at);
        let given = self.plan.options.build_args.get(&arg.name).cloned();
        let value = match (given, &arg.default) {
            (Some(value), _) => Some(value),
            (None, Some(default)) => Some(self.expand(default, arg.span, at)?),
            (None, None) => self.plan.args.env.get(&arg.name).map(str::to_string),
        };
        if let Some(value) = value.as_ref().filter(|_| !is_internal_arg(&arg.name)) {
            self.state.env.set(&arg.name, value);
        }
        let shown = value.as_ref().map_or(arg.name.clone(), |value| format!("{}={value}", arg.name));
        self.state.uses.args.insert(arg.name.clone());
        let own = arg.default.is_some() || self.plan.options.build_args.contains_key(&arg.name) || value.is_none();
        if own {
            let (value, description) = (value.clone().unwrap_or_default(), at.description(&arg.name).to_string());
            let declared = Declared { value, description, lines: at.lines, needs: BTreeSet::new() };
            self.state.uses.declared.insert(arg.name.clone(), declared);
        }
        self.state.args.set(&arg.name, value);
        Ok(shown)
    }

    /// Names and values of an ENV or a LABEL, with variables resolved as they were before the instruction.
    fn pairs(&mut self, pairs: &[Pair], at: &Instruction) -> Result<Vec<(String, String)>, Problem> {
        let mut out = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let name = self.expand(&pair.name, pair.span, at)?;
            out.push((name, self.expand(&pair.value, pair.span, at)?));
            if pair.legacy {
                let keyword = &at.keyword.text;
                let message =
                    format!("\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format");
                self.lint.warn(Rule::LegacyKeyValueFormat, message, at);
            }
        }
        Ok(out)
    }

    fn env(&mut self, pairs: &[Pair], at: &Instruction) -> Result<(), Problem> {
        let mut shown = String::from("ENV");
        for (name, value) in self.pairs(pairs, at)? {
            self.check_secret("ENV", &name, at);
            shown.push_str(&format!(" {name}={value}"));
            self.state.env.set(&name, &value);
            self.state.image.set_env(&name, &value, &mut self.env_places);
        }
        self.history(shown, false);
        Ok(())
    }

    fn label(&mut self, pairs: &[Pair], at: &Instruction) -> Result<(), Problem> {
        let mut shown = String::from("LABEL");
        for (name, value) in self.pairs(pairs, at)? {
            shown.push_str(&format!(" {name}={value}"));
            self.state.image.config.labels.insert(name, value);
        }
        self.history(shown, false);
        Ok(())
    }

    fn check_secret(&mut self, keyword: &str, name: &str, at: &Instruction) {
        if looks_secret(name) {
            let message = format!("Do not use ARG or ENV instructions for sensitive data ({keyword} {name:?})");
            self.lint.warn(Rule::SecretsUsedInArgOrEnv, message, at);
        }
    }

    /// Command line `args` for the image's shell.
    pub(super) fn with_shell(&self, line: &str) -> Vec<String> {
        let image = &self.state.image;
        let mut args = image.config.shell.clone();
        if args.is_empty() {
            let shell = if image.platform.os == "windows" { &DEFAULT_SHELL_WINDOWS[..] } else { &DEFAULT_SHELL[..] };
            args.extend(shell.iter().map(|word| (*word).to_string()));
        }
        args.push(line.to_string());
        args
    }

    fn command_line(&mut self, line: &CommandLine, at: &Instruction) -> Vec<String> {
        match line {
            CommandLine::Exec(args) => args.clone(),
            CommandLine::Shell(line) => {
                if self.state.image.config.shell.is_empty() {
                    let message = format!(
                        "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
                        at.keyword.text
                    );
                    self.lint.warn(Rule::JsonArgsRecommended, message, at);
                }
                self.with_shell(line)
            }
        }
    }

    /// Says that an instruction before this one does not count.
    pub(super) fn only_last_counts(&mut self, before: Option<Instruction>) {
        if let Some(before) = before {
            let message = format!(
                "Multiple {} instructions should not be used in the same stage because only the last one will be used",
                before.keyword.text
            );
            self.lint.warn(Rule::MultipleInstructionsDisallowed, message, &before);
        }
    }

    fn cmd(&mut self, line: &CommandLine, at: &Instruction) -> Result<(), Problem> {
        let before = self.cmd.replace(at.clone());
        self.only_last_counts(before);
        let args = self.command_line(line, at);
        self.history(format!("CMD {}", quote_list(&args)), false);
        self.state.image.config.cmd = args;
        self.state.image.config.args_escaped = true;
        Ok(())
    }

    fn entrypoint(&mut self, line: &CommandLine, at: &Instruction) -> Result<(), Problem> {
        let before = self.entrypoint.replace(at.clone());
        self.only_last_counts(before);
        let args = self.command_line(line, at);
        self.history(format!("ENTRYPOINT {}", quote_list(&args)), false);
        self.state.image.config.entrypoint = args;
        // The base image's command was meant for the base image's entrypoint.
        if self.cmd.is_none() {
            self.state.image.config.cmd.clear();
        }
        Ok(())
    }

    fn user(&mut self, token: &Token, at: &Instruction) -> Result<(), Problem> {
        let user = self.expand(&token.text, token.span, at)?;
        self.history(format!("USER {user}"), false);
        self.state.image.config.user = user;
        Ok(())
    }

    fn volume(&mut self, tokens: &[Token], at: &Instruction) -> Result<(), Problem> {
        let mut volumes = Vec::with_capacity(tokens.len());
        for token in tokens {
            let volume = self.expand(&token.text, token.span, at)?;
            if volume.is_empty() {
                return Err(Problem::new("VOLUME specified can not be an empty string", token.span));
            }
            self.state.image.config.volumes.insert(volume.clone(), Nothing {});
            volumes.push(volume);
        }
        self.history(format!("VOLUME [{}]", volumes.join(" ")), false);
        Ok(())
    }
}

const SECRET_WORDS: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
const HARMLESS_WORDS: [&str; 3] = ["public", "file", "version"];

/// Whether a word between underscores says that this is a secret, and none that it is not.
fn looks_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let has = |words: &[&str]| lower.split('_').any(|word| words.contains(&word));
    has(&SECRET_WORDS) && !has(&HARMLESS_WORDS)
}
