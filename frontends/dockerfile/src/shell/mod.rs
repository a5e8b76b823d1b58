//! Shell words: quotes, escapes and variables.

mod pattern;
mod split;

use std::collections::BTreeSet;

pub use pattern::Pattern;
pub use split::{Range, words};

/// Where the values of variables come from.
pub trait Variables {
    /// The value of a variable; `None` where it is not set.
    fn get(&self, name: &str) -> Option<&str>;
}

/// No variables at all.
pub struct Empty;

impl Variables for Empty {
    fn get(&self, _: &str) -> Option<&str> {
        None
    }
}

impl Variables for std::collections::BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<&str> {
        self.get(name).map(String::as_str)
    }
}

/// How words are read.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Takes the special meaning from the next character.
    pub escape: char,
    /// Leave quotes where they are.
    pub keep_quotes: bool,
    /// Leave escape characters where they are.
    pub keep_escapes: bool,
    /// Quotes have no meaning.
    pub ignore_quotes: bool,
    /// Leave references to variables that are not set as they are.
    pub keep_unset: bool,
}

impl Rules {
    /// The rules of arguments: all is resolved.
    pub fn new(escape: char) -> Self {
        Rules { escape, keep_quotes: false, keep_escapes: false, ignore_quotes: false, keep_unset: false }
    }
}

/// What an expansion gave.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expansion {
    /// The text as a whole.
    pub text: String,
    /// The text cut at space that was not quoted.
    pub words: Vec<String>,
    /// Variables that were asked for and are set.
    pub used: BTreeSet<String>,
    /// Variables that were asked for and are not set.
    pub unset: BTreeSet<String>,
}

/// `${a:-${b:-...}}` may be this deep.
pub const MAX_NESTING: usize = 100;

/// So much text may take the place of variables, what stands inside of other replacements included: more than any variable of
/// a process may hold. Replacements inside of replacements would grow without end.
pub const MAX_EXPANSION_BYTES: usize = 1 << 20;

/// Resolves quotes, escapes and variables in `source`. Errors are lower-case fragments.
pub fn expand(source: &str, rules: Rules, variables: &dyn Variables) -> Result<Expansion, String> {
    resolve(source, rules, variables, true)
}

/// As [`expand`], but without [`Expansion::words`], which few ask for.
pub fn expand_text(source: &str, rules: Rules, variables: &dyn Variables) -> Result<Expansion, String> {
    resolve(source, rules, variables, false)
}

fn resolve(source: &str, rules: Rules, variables: &dyn Variables, split: bool) -> Result<Expansion, String> {
    let has_meaning = |c: char| matches!(c, '$' | '\'' | '"' | '<') || c == rules.escape || split && c.is_whitespace();
    if !source.contains(has_meaning) {
        let words = if split && !source.is_empty() { vec![source.to_string()] } else { Vec::new() };
        return Ok(Expansion { text: source.to_string(), words, ..Default::default() });
    }
    let mut expander = Expander {
        rest: source,
        rules,
        variables,
        depth: 0,
        in_pattern: false,
        replaced: 0,
        used: BTreeSet::new(),
        unset: BTreeSet::new(),
    };
    let out = expander.until(None, split).map_err(|error| format!("failed to process {source:?}: {error}"))?;
    Ok(Expansion { text: out.text, words: out.words, used: expander.used, unset: expander.unset })
}

struct Expander<'a> {
    rest: &'a str,
    rules: Rules,
    variables: &'a dyn Variables,
    depth: usize,
    /// What is read is a pattern, which is read once more: escape characters in its quotes must be doubled.
    in_pattern: bool,
    /// Bytes that took the place of variables so far.
    replaced: usize,
    used: BTreeSet<String>,
    unset: BTreeSet<String>,
}

/// The text made so far, whole and, where `split`, cut into words.
#[derive(Default)]
struct Output {
    split: bool,
    text: String,
    words: Vec<String>,
    word: String,
}

impl Output {
    /// Adds text in which space ends a word.
    fn push_split(&mut self, text: &str) {
        self.text.push_str(text);
        if !self.split {
            return;
        }
        let mut parts = text.split(char::is_whitespace);
        self.word.push_str(parts.next().unwrap_or_default());
        for part in parts {
            self.end_word();
            self.word.push_str(part);
        }
    }

    /// Adds text in which space has no meaning.
    fn push_whole(&mut self, text: &str) {
        self.text.push_str(text);
        if self.split {
            self.word.push_str(text);
        }
    }

    fn push_char(&mut self, c: char) {
        self.push_whole(c.encode_utf8(&mut [0; 4]));
    }

    fn end_word(&mut self) {
        if !self.word.is_empty() {
            self.words.push(std::mem::take(&mut self.word));
        }
    }
}

const MISSING_BRACE: &str = "syntax error: missing '}'";

impl Expander<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    /// Reads up to `stop` (which is taken) or the end.
    fn until(&mut self, stop: Option<char>, split: bool) -> Result<Output, String> {
        let mut out = Output { split, ..Output::default() };
        loop {
            let Some(c) = self.peek() else {
                if let Some(stop) = stop {
                    return Err(format!("unexpected end of statement while looking for matching {stop}"));
                }
                break;
            };
            if Some(c) == stop {
                self.next();
                break;
            }
            match c {
                '$' => out.push_split(&self.dollar()?),
                '<' => out.push_whole(&self.angle()),
                '\'' if !self.rules.ignore_quotes => out.push_whole(&self.single_quoted()?),
                '"' if !self.rules.ignore_quotes => out.push_whole(&self.double_quoted()?),
                c if c == self.rules.escape => self.escaped(&mut out),
                _ => out.push_split(self.plain(stop)),
            }
        }
        out.end_word();
        Ok(out)
    }

    /// The text up to the next character that may have a meaning; at least one character.
    fn plain(&mut self, stop: Option<char>) -> &str {
        let special = |c: char| matches!(c, '$' | '<' | '\'' | '"') || c == self.rules.escape || Some(c) == stop;
        let first = self.peek().map_or(0, char::len_utf8);
        let end = self.rest[first..].find(special).map_or(self.rest.len(), |at| first + at);
        let (plain, rest) = self.rest.split_at(end);
        self.rest = rest;
        plain
    }

    fn escaped(&mut self, out: &mut Output) {
        self.next();
        if self.rules.keep_escapes {
            out.push_char(self.rules.escape);
        }
        if let Some(c) = self.next() {
            out.push_char(c);
        }
    }

    /// `<<` keeps the space that follows it in the word: a heredoc's name may stand apart.
    fn angle(&mut self) -> String {
        self.next();
        if self.peek() != Some('<') {
            return "<".to_string();
        }
        self.next();
        let name = self.rest.trim_start_matches([' ', '\t', '\r']);
        let space = &self.rest[..self.rest.len() - name.len()];
        self.rest = name;
        format!("<<{space}")
    }

    fn single_quoted(&mut self) -> Result<String, String> {
        self.next();
        let (inside, rest) =
            self.rest.split_once('\'').ok_or("unexpected end of statement while looking for matching single-quote")?;
        self.rest = rest;
        let escape = self.rules.escape;
        let inside =
            if self.in_pattern { inside.replace(escape, &format!("{escape}{escape}")) } else { inside.to_string() };
        Ok(if self.rules.keep_quotes { format!("'{inside}'") } else { inside })
    }

    fn double_quoted(&mut self) -> Result<String, String> {
        self.next();
        let mut out = String::new();
        let quote = if self.rules.keep_quotes { "\"" } else { "" };
        out.push_str(quote);
        loop {
            match self.peek() {
                None => return Err("unexpected end of statement while looking for matching double-quote".to_string()),
                Some('"') => {
                    self.next();
                    out.push_str(quote);
                    return Ok(out);
                }
                Some('$') => out.push_str(&self.dollar()?),
                Some(c) if c == self.rules.escape => self.escaped_in_quotes(&mut out),
                Some(c) => {
                    self.next();
                    out.push(c);
                }
            }
        }
    }

    /// Inside double quotes only a quote, a dollar sign and the escape character itself can be escaped.
    fn escaped_in_quotes(&mut self, out: &mut String) {
        self.next();
        let Rules { escape, keep_escapes, keep_quotes, .. } = self.rules;
        match self.peek() {
            None => {}
            Some(c) if c == '"' || c == '$' || c == escape => {
                self.next();
                out.extend(keep_escapes.then_some(escape));
                out.push(c);
            }
            Some(_) => {
                out.extend((keep_escapes && (!keep_quotes || self.in_pattern)).then_some(escape));
                out.push(escape);
            }
        }
    }

    /// What takes the place of a variable.
    fn dollar(&mut self) -> Result<String, String> {
        let value = self.reference()?;
        self.replaced += value.len();
        if self.replaced <= MAX_EXPANSION_BYTES { Ok(value) } else { Err(too_long()) }
    }

    fn reference(&mut self) -> Result<String, String> {
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_string());
            }
            let value = self.lookup(&name);
            return Ok(match value {
                None if self.rules.keep_unset => format!("${name}"),
                value => value.unwrap_or_default(),
            });
        }
        self.next();
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return Err(format!("variables are nested more than {MAX_NESTING} deep"));
        }
        let value = self.braces();
        self.depth -= 1;
        value
    }

    /// What follows `${`.
    fn braces(&mut self) -> Result<String, String> {
        match self.peek() {
            None => return Err(MISSING_BRACE.to_string()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".to_string()),
            Some(_) => {}
        }
        let name = self.name();
        match self.next() {
            None => Err(MISSING_BRACE.to_string()),
            Some('}') => Ok(match self.lookup(&name) {
                None if self.rules.keep_unset => format!("${{{name}}}"),
                value => value.unwrap_or_default(),
            }),
            Some(':') => match self.next() {
                Some(c @ ('-' | '+' | '?')) => self.conditional(&name, c, true),
                Some(c) => Err(format!("unsupported modifier (:{c}) in substitution")),
                None => Err(MISSING_BRACE.to_string()),
            },
            Some(c @ ('-' | '+' | '?')) => self.conditional(&name, c, false),
            Some(c @ ('#' | '%')) => self.trim(&name, c),
            Some('/') => self.replace(&name),
            Some(c) => Err(format!("unsupported modifier ({c}) in substitution")),
        }
    }

    fn operand(&mut self, stop: char, keep_escapes: bool, pattern: bool) -> Result<String, String> {
        let escapes = std::mem::replace(&mut self.rules.keep_escapes, keep_escapes);
        let in_pattern = std::mem::replace(&mut self.in_pattern, pattern);
        let out = self.until(Some(stop), false);
        (self.rules.keep_escapes, self.in_pattern) = (escapes, in_pattern);
        match out {
            Ok(out) => Ok(out.text),
            Err(_) if self.rest.is_empty() && stop == '/' => Err("syntax error: missing '/' in ${}".to_string()),
            Err(_) if self.rest.is_empty() => Err(MISSING_BRACE.to_string()),
            Err(error) => Err(error),
        }
    }

    /// `${name-word}`, `${name:-word}` and their like. With a colon, empty counts as not set.
    fn conditional(&mut self, name: &str, modifier: char, colon: bool) -> Result<String, String> {
        let word = self.operand('}', false, false)?;
        let value = self.lookup(name);
        if value.is_none() && self.rules.keep_unset {
            let colon = if colon { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{modifier}{word}}}"));
        }
        let usable = value.as_ref().is_some_and(|value| !colon || !value.is_empty());
        match modifier {
            '-' if !usable => Ok(word),
            '+' => Ok(if usable { word } else { String::new() }),
            '?' if !usable => {
                let state = if value.is_none() { "unset" } else { "empty" };
                let message = if word.is_empty() { format!("is not allowed to be {state}") } else { word };
                Err(format!("{name}: {message}"))
            }
            _ => Ok(value.unwrap_or_default()),
        }
    }

    /// `${name#pattern}`, `${name%pattern}`; doubled, the longest match is taken.
    fn trim(&mut self, name: &str, modifier: char) -> Result<String, String> {
        let word = self.operand('}', true, true)?;
        let value = match self.lookup(name) {
            None if self.rules.keep_unset => return Ok(format!("${{{name}{modifier}{word}}}")),
            value => value.unwrap_or_default(),
        };
        let (pattern, longest) = word.strip_prefix(modifier).map_or((word.as_str(), false), |rest| (rest, true));
        let pattern = parse_pattern(pattern)?;
        Ok(match modifier {
            '#' => pattern.trim_prefix(&value, longest),
            _ => pattern.trim_suffix(&value, longest),
        })
    }

    /// `${name/pattern/text}`, and `${name//pattern/text}` for all matches.
    fn replace(&mut self, name: &str) -> Result<String, String> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let word = self.operand('/', true, true)?;
        let replacement = self.operand('}', true, false)?;
        let value = match self.lookup(name) {
            None if self.rules.keep_unset => return Ok(format!("${{{name}/{word}/{replacement}}}")),
            value => value.unwrap_or_default(),
        };
        parse_pattern(&word)?.replace(&value, &replacement, all).ok_or_else(too_long)
    }

    /// A variable's name: letters, digits and `_`; or digits alone; or one of the shell's special signs.
    fn name(&mut self) -> String {
        let Some(first) = self.peek() else { return String::new() };
        if matches!(first, '@' | '*' | '#' | '?' | '-' | '$' | '!') {
            self.next();
            return first.to_string();
        }
        let end = if first.is_ascii_digit() {
            self.rest.find(|c: char| !c.is_ascii_digit())
        } else {
            self.rest.find(|c: char| !c.is_alphanumeric() && c != '_')
        };
        let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        name.to_string()
    }

    fn lookup(&mut self, name: &str) -> Option<String> {
        let value = self.variables.get(name);
        if value.is_some() { &mut self.used } else { &mut self.unset }.insert(name.to_string());
        value.map(str::to_string)
    }
}

fn too_long() -> String {
    format!("the text becomes longer than {MAX_EXPANSION_BYTES} bytes")
}

fn parse_pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|error| format!("invalid pattern ({text}) in substitution: {error}"))
}
