//! Graphs of simulated vertices, as text and as values.
//!
//! ```text
//! base = source B
//! app  = source A1 "v1"
//! bin  = op COPY (base, app.1 by contents of head) delay 5 no-cache
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use anyhow::{Context as _, bail, ensure};

use crate::Look;

/// Vertices by name.
#[derive(Clone, Debug, Default)]
pub struct Specs(pub BTreeMap<String, Spec>);

/// What a simulated vertex is and does.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    /// The op's key.
    pub key: String,
    /// What it gives; by default a text of its key and what it sees of its inputs. With several, each run gives the next.
    pub values: Vec<String>,
    /// What it reads.
    pub inputs: Vec<InputSpec>,
    /// How many outputs it has; 0 stands for 1.
    pub outputs: u32,
    /// Milliseconds that a run takes.
    pub delay: u64,
    /// Milliseconds that its key takes.
    pub key_delay: u64,
    /// Run it even where the cache has a result.
    pub no_cache: bool,
    /// How it fails, if so.
    pub fault: Option<Fault>,
}

/// How a vertex fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its run is an error.
    Run,
    /// Its run panics.
    Panic,
    /// Its key is an error.
    Key,
}

/// An input of a simulated vertex.
#[derive(Clone, Debug)]
pub struct InputSpec {
    /// The name of the vertex that it comes from.
    pub from: String,
    /// Which of its outputs.
    pub output: u32,
    /// How it is looked at.
    pub look: Look,
}

impl Specs {
    /// Reads `name = ...` and puts the vertex in, in the place of another of that name.
    pub fn define(&mut self, line: &str) -> anyhow::Result<()> {
        let (name, rest) = line.split_once('=').context("a vertex is written \"name = ...\"")?;
        let spec = parse(rest).with_context(|| format!("in {line:?}"))?;
        for input in &spec.inputs {
            ensure!(self.0.contains_key(&input.from), "no vertex {:?} stands above {line:?}", input.from);
        }
        self.0.insert(name.trim().into(), spec);
        Ok(())
    }

    /// All that output `output` of `name` may be by plain evaluation: one text, but for vertices of several values.
    pub fn evaluate(&self, name: &str, output: u32) -> BTreeSet<String> {
        self.evaluate_known(name, output, &mut BTreeMap::new())
    }

    fn evaluate_known(
        &self,
        name: &str,
        output: u32,
        known: &mut BTreeMap<(String, u32), BTreeSet<String>>,
    ) -> BTreeSet<String> {
        if let Some(texts) = known.get(&(name.into(), output)) {
            return texts.clone();
        }
        let spec = &self.0[name];
        let mut seen = vec![vec![]];
        for input in &spec.inputs {
            let texts = self.evaluate_known(&input.from, input.output, known);
            let saw = |before: &Vec<String>, text: &String| [&before[..], &[see(text, &input.look)]].concat();
            seen = seen.iter().flat_map(|before| texts.iter().map(move |text| saw(before, text))).collect();
        }
        let values: Vec<_> = (0..spec.values.len().max(1)).collect();
        let texts = seen.iter().flat_map(|seen| values.iter().map(|run| spec.text(seen, output, *run)));
        let texts: BTreeSet<_> = texts.collect();
        known.insert((name.into(), output), texts.clone());
        texts
    }
}

impl Spec {
    /// What output `output` is when run number `run` sees `seen`.
    pub(crate) fn text(&self, seen: &[String], output: u32, run: usize) -> String {
        let suffix = if output == 0 { String::new() } else { format!(".{output}") };
        match &self.values[..] {
            [] if seen.is_empty() => format!("{}{suffix}", self.key),
            [] => format!("{}({}){suffix}", self.key, seen.join(",")),
            values => format!("{}{suffix}", values[run % values.len()]),
        }
    }
}

/// What an op sees of `text`. The view `head` sees what comes before a bar, every other one all.
pub(crate) fn see(text: &str, look: &Look) -> String {
    match look {
        Look::Whole => text.into(),
        Look::Path(path) => format!("{text}/{path}"),
        Look::Contents(view) => look_through(text, view).into(),
    }
}

pub(crate) fn look_through<'a>(text: &'a str, view: &str) -> &'a str {
    match view {
        "head" => text.split('|').next().unwrap_or(text),
        _ => text,
    }
}

fn parse(line: &str) -> anyhow::Result<Spec> {
    let (before, after) = match line.split_once('(') {
        Some((before, rest)) => {
            let (inputs, after) = rest.split_once(')').context("a ( is not closed")?;
            (before, Some((inputs, after)))
        }
        None => (line, None),
    };
    let mut spec = Spec::default();
    let mut words = before.split_whitespace();
    ensure!(matches!(words.next(), Some("source" | "op")), "a vertex is a source or an op");
    spec.key = words.next().context("a key is missing")?.into();
    options(&mut spec, words)?;
    if let Some((inputs, after)) = after {
        spec.inputs = inputs.split(',').map(parse_input).collect::<Result<_, _>>()?;
        options(&mut spec, after.split_whitespace())?;
    }
    Ok(spec)
}

fn options<'a>(spec: &mut Spec, mut words: impl Iterator<Item = &'a str>) -> anyhow::Result<()> {
    while let Some(word) = words.next() {
        let mut number = || words.next().context("a number is missing")?.parse::<u64>().context("not a number");
        match word {
            "outputs" => spec.outputs = number()? as u32,
            "delay" => spec.delay = number()?,
            "key-delay" => spec.key_delay = number()?,
            "no-cache" => spec.no_cache = true,
            "fails" => spec.fault = Some(Fault::Run),
            "panics" => spec.fault = Some(Fault::Panic),
            "key-fails" => spec.fault = Some(Fault::Key),
            text if text.len() > 1 && text.starts_with('"') && text.ends_with('"') => {
                spec.values.push(text.trim_matches('"').into());
            }
            other => bail!("what is {other:?}?"),
        }
    }
    Ok(())
}

fn parse_input(text: &str) -> anyhow::Result<InputSpec> {
    let words: Vec<_> = text.split_whitespace().collect();
    let (edge, look) = match words[..] {
        [edge] => (edge, Look::Whole),
        [edge, "at", path] => (edge, Look::Path(path.into())),
        [edge, "by", "contents"] => (edge, Look::Contents(String::new())),
        [edge, "by", "contents", "of", view] => (edge, Look::Contents(view.into())),
        _ => bail!("an input is \"name[.output] [at path | by contents [of view]]\", not {text:?}"),
    };
    let (from, output) = edge.split_once('.').unwrap_or((edge, "0"));
    Ok(InputSpec { from: from.into(), output: output.parse()?, look })
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", if self.inputs.is_empty() { "source" } else { "op" }, self.key)?;
        self.values.iter().try_for_each(|value| write!(f, " \"{value}\""))?;
        if !self.inputs.is_empty() {
            let inputs: Vec<_> = self.inputs.iter().map(InputSpec::to_string).collect();
            write!(f, " ({})", inputs.join(", "))?;
        }
        let numbers = [("outputs", self.outputs.into()), ("delay", self.delay), ("key-delay", self.key_delay)];
        numbers.iter().filter(|(_, n)| *n > 0).try_for_each(|(word, n)| write!(f, " {word} {n}"))?;
        f.write_str(if self.no_cache { " no-cache" } else { "" })?;
        f.write_str(match self.fault {
            None => "",
            Some(Fault::Run) => " fails",
            Some(Fault::Panic) => " panics",
            Some(Fault::Key) => " key-fails",
        })
    }
}

impl fmt::Display for InputSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.from)?;
        if self.output > 0 {
            write!(f, ".{}", self.output)?;
        }
        match &self.look {
            Look::Whole => Ok(()),
            Look::Path(path) => write!(f, " at {path}"),
            Look::Contents(view) if view.is_empty() => f.write_str(" by contents"),
            Look::Contents(view) => write!(f, " by contents of {view}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_are_written_as_they_are_read() {
        let lines = [
            "source B",
            "source A \"v1\" \"v2\" delay 3 fails",
            "op COPY (a, a.1 at bin, a by contents, a by contents of head) outputs 2 key-delay 4 no-cache",
        ];
        for line in lines {
            assert_eq!(parse(line).unwrap().to_string(), line);
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in ["x", "a = thing K", "a = op", "a = op K (b)", "a = op K huh", "a = op K delay", "a = op K (b"] {
            assert!(Specs::default().define(line).is_err(), "{line}");
        }
    }
}
