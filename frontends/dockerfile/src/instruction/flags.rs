//! Flags of an instruction: `--name`, `--name=value`.

use super::Reader;
use crate::{
    source::{Problem, Span, Token},
    text::nearest,
};

/// What a flag holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// true (also when no value is given) or false.
    Bool,
    /// One value.
    Text,
    /// A value each time; may be given more than once.
    List,
}

/// The flags that were given, checked.
#[derive(Debug, Default)]
pub struct Flags {
    given: Vec<(&'static str, Token)>,
}

impl Flags {
    /// The value of a flag.
    pub fn text(&self, name: &str) -> Option<Token> {
        self.list(name).next()
    }

    /// Whether a flag is given and true.
    pub fn is_true(&self, name: &str) -> bool {
        self.bool(name) == Some(true)
    }

    /// A flag's truth, when it is given.
    pub fn bool(&self, name: &str) -> Option<bool> {
        self.text(name).map(|value| value.text == "true")
    }

    /// All values of a flag.
    pub fn list(&self, name: &str) -> impl Iterator<Item = Token> {
        self.given.iter().filter(move |(given, _)| *given == name).map(|(_, value)| value.clone())
    }
}

impl Reader<'_> {
    pub(super) fn no_flags(&self) -> Result<(), Problem> {
        self.flags(&[]).map(drop)
    }

    pub(super) fn flags(&self, known: &[(&'static str, Kind)]) -> Result<Flags, Problem> {
        let mut flags = Flags::default();
        for flag in &self.node.flags {
            let (name, value) = flag.text.split_once('=').map_or((flag.text.as_str(), None), |(n, v)| (n, Some(v)));
            let bare = name.trim_start_matches("--");
            let Some((known_name, kind)) = known.iter().find(|(known, _)| *known == bare) else {
                let message = format!("unknown flag: {name}");
                let names = known.iter().map(|(name, _)| *name);
                return Err(Problem::new(nearest::suggest(message, bare, names), flag.span));
            };
            if *kind != Kind::List && flags.given.iter().any(|(given, _)| given == known_name) {
                return Err(Problem::new(format!("duplicate flag specified: {name}"), flag.span));
            }
            let text = value_of(*kind, name, value).map_err(|message| Problem::new(message, flag.span))?;
            flags.given.push((known_name, Token::new(text, value_span(flag, name))));
        }
        Ok(flags)
    }
}

fn value_of(kind: Kind, name: &str, value: Option<&str>) -> Result<String, String> {
    match (kind, value) {
        (Kind::Bool, None) => Ok("true".to_string()),
        (Kind::Bool, Some("")) | (Kind::Text | Kind::List, None) => Err(format!("missing a value on flag: {name}")),
        (Kind::Bool, Some(value)) => match value.to_ascii_lowercase().as_str() {
            value @ ("true" | "false") => Ok(value.to_string()),
            _ => Err(format!("expecting boolean value for flag {name}, not: {value}")),
        },
        (Kind::Text | Kind::List, Some(value)) => Ok(value.to_string()),
    }
}

/// Where the value stands: behind the `=`, when the flag is written plainly.
fn value_span(flag: &Token, name: &str) -> Span {
    let plain = (flag.span.end - flag.span.start) as usize == flag.text.len() && flag.text.len() > name.len();
    let start = if plain { flag.span.start + name.len() as u32 + 1 } else { flag.span.start };
    Span { start, end: flag.span.end }
}
