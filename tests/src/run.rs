//! Runs a case: writes its files, runs its commands, compares.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};

use crate::{case::Case, tree, wild};

/// What the cases of one file share.
pub struct World {
    /// The directory with the binaries, put first in PATH.
    pub bin: PathBuf,
    /// Variables for the commands.
    pub env: Vec<(String, String)>,
}

/// What the last command did.
#[derive(Default)]
struct Last {
    stdout: String,
    stderr: String,
}

impl World {
    /// Runs `case` in the empty directory `dir`: in `work` below it, with its store beside that. See `cases/build/README.md` for
    /// what the sections mean.
    pub fn run(&self, case: &Case, dir: &Path) -> anyhow::Result<()> {
        let mut last = Last::default();
        let dir = &dir.join("work");
        std::fs::create_dir(dir)?;
        for section in &case.sections {
            let mut words = section.title.split_whitespace();
            if section.title == "needs" {
                if let Some(why) = self.lacks(&section.body, dir)? {
                    eprintln!("{}: skipped: {why}", case.name);
                    return Ok(());
                }
                continue;
            }
            let done = match (words.next().unwrap_or_default(), words.next()) {
                ("run", None) => self.command(&section.body, dir, 0, &mut last),
                ("run", Some("fails")) => {
                    let code = words.next().unwrap_or("1").parse().context("an exit code follows `fails`")?;
                    self.command(&section.body, dir, code, &mut last)
                }
                ("stdout", None) => compare(&section.body, &last.stdout),
                ("stderr", None) => compare(&section.body, &last.stderr),
                ("tree", Some(path)) => compare(&section.body, &tree::text(&dir.join(path))?),
                ("same", Some(path)) => {
                    let (a, b) = (dir.join(path), dir.join(words.next().context("two paths follow `same`")?));
                    same(&a, &b)
                }
                (path, None) => write(&dir.join(path), &section.body, &self.env),
                _ => bail!("unknown section {:?}", section.title),
            };
            done.with_context(|| format!("line {}: -- {} --", section.line, section.title))?;
        }
        nothing_is_mounted(dir.parent().context("it was made in a directory")?)
    }

    /// What a script says that fails where the machine cannot do what the case is about.
    fn lacks(&self, script: &str, dir: &Path) -> anyhow::Result<Option<String>> {
        let output = self.shell(script, dir).output()?;
        let why = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Ok((!output.status.success()).then(why))
    }

    fn shell(&self, script: &str, dir: &Path) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("sh");
        shell.args(["-e", "-c", script]).current_dir(dir).env("PATH", format!("{}:{path}", self.bin.display()));
        shell.env("PINTLE_ROOT", dir.with_file_name("store")).env("HOME", dir);
        shell.envs(self.env.iter().map(|(key, value)| (key, value)));
        shell
    }

    fn command(&self, script: &str, dir: &Path, code: i32, last: &mut Last) -> anyhow::Result<()> {
        let output = self.shell(script, dir).output()?;
        *last = Last {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        // By habit the cases send there what they look at later.
        let log = || std::fs::read_to_string(dir.join("log")).map_or(String::new(), |text| format!("\nlog:\n{text}"));
        ensure!(
            output.status.code() == Some(code),
            "exit {}, want {code}\nstdout:\n{}\nstderr:\n{}{}",
            output.status,
            last.stdout,
            last.stderr,
            log()
        );
        Ok(())
    }
}

/// Whatever became of the builds of a case, they leave nothing mounted.
fn nothing_is_mounted(dir: &Path) -> anyhow::Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let dir = format!("{}/", dir.display());
    let left: Vec<&str> = mounts.lines().filter(|line| line.contains(&dir)).collect();
    ensure!(left.is_empty(), "left mounted:\n{}", left.join("\n"));
    Ok(())
}

fn compare(expected: &str, actual: &str) -> anyhow::Result<()> {
    wild::difference(expected, actual).map_or(Ok(()), |text| Err(anyhow::anyhow!(text)))
}

fn same(a: &Path, b: &Path) -> anyhow::Result<()> {
    ensure!(std::fs::read(a)? == std::fs::read(b)?, "{} and {} differ", a.display(), b.display());
    Ok(())
}

/// Writes a file of the case; `$NAME` of the world's variables is replaced, for a Dockerfile cannot know the registry's port.
fn write(path: &Path, body: &str, env: &[(String, String)]) -> anyhow::Result<()> {
    std::fs::create_dir_all(path.parent().context("a file is in a directory")?)?;
    // The longest name first: one may begin with another.
    let mut env: Vec<_> = env.iter().collect();
    env.sort_by_key(|(key, _)| std::cmp::Reverse(key.len()));
    let body = env.into_iter().fold(body.to_string(), |body, (key, value)| body.replace(&format!("${key}"), value));
    Ok(std::fs::write(path, body)?)
}
