//! Flags and arguments, each instruction in its own way of cutting them.

use super::{Node, is_space};
use crate::{
    lex::LogicalLine,
    shell,
    source::{Problem, Span, Token},
};

/// The arguments of an instruction.
#[derive(Debug)]
pub enum Arguments {
    /// Nothing stands there.
    None,
    /// `["a", "b"]`.
    Json(Vec<Token>),
    /// Cut at space.
    Words(Vec<Token>),
    /// The rest of the line.
    Text(Token),
    /// `name=value`, or `name value`.
    Pairs(Vec<Pair>),
    /// The first word, and the rest in either form.
    Typed(Token, Box<Arguments>),
    /// The instruction inside an `ONBUILD`.
    Trigger(Box<Node>),
    /// What could not be cut; a problem says why.
    Invalid,
}

/// A name and a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// As it was written.
    pub name: String,
    /// As it was written; quotes and escapes stay.
    pub value: String,
    /// Name and value.
    pub span: Span,
    /// Written without `=`, the old way.
    pub legacy: bool,
}

/// Flags at the front of `line[*at..end]`; moves `at` behind them. `--` ends them.
pub fn flags(line: &LogicalLine, at: &mut usize, end: usize, escape: char) -> Vec<Token> {
    let mut out = Vec::new();
    loop {
        let rest = &line.text[*at..end];
        let start = *at + rest.len() - rest.trim_start().len();
        if !line.text[start..end].starts_with("--") {
            return out;
        }
        let (word, length) = unquoted_word(&line.text[start..end], escape);
        *at = start + length;
        if word == "--" {
            return out;
        }
        out.push(Token::new(word, line.span(start, *at)));
    }
}

/// The word at the front of `text`, without its quotes and escapes, and how many bytes it takes.
fn unquoted_word(text: &str, escape: char) -> (String, usize) {
    let (mut word, mut quote) = (String::new(), None);
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return (word, at),
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ if c == escape => word.extend(chars.next().map(|(_, c)| c)),
            _ => word.push(c),
        }
    }
    (word, text.len())
}

/// Cuts the arguments that stand in `line[start..end]`, which is not empty.
pub struct Reader<'a> {
    pub line: &'a LogicalLine,
    pub escape: char,
    pub start: usize,
    pub end: usize,
}

impl Reader<'_> {
    /// Cut as `keyword`, in upper case, asks for; what has no known keyword is text.
    pub fn read(&self, keyword: &str, problems: &mut Vec<Problem>) -> Arguments {
        match keyword {
            "ADD" | "COPY" | "VOLUME" => self.json(problems).unwrap_or_else(|| self.plain_words()),
            "CMD" | "ENTRYPOINT" | "RUN" | "SHELL" => self.json(problems).unwrap_or_else(|| self.text()),
            "EXPOSE" | "FROM" => self.plain_words(),
            "ARG" => Arguments::Words(self.words().map(|range| self.token(range)).collect()),
            "ENV" | "LABEL" => self.pairs(keyword, problems),
            "HEALTHCHECK" => self.typed(problems),
            _ => self.text(),
        }
    }

    fn content(&self) -> &str {
        &self.line.text[self.start..self.end]
    }

    fn span(&self) -> Span {
        self.line.span(self.start, self.end)
    }

    /// A part of the content.
    fn token(&self, range: shell::Range) -> Token {
        let span = self.line.span(self.start + range.start, self.start + range.end);
        Token::new(&self.content()[range], span)
    }

    fn text(&self) -> Arguments {
        Arguments::Text(Token::new(self.content(), self.span()))
    }

    fn words(&self) -> impl Iterator<Item = shell::Range> {
        shell::words(self.content(), self.escape).into_iter()
    }

    fn plain_words(&self) -> Arguments {
        let content = self.content();
        let offset = |part: &str| part.as_ptr() as usize - content.as_ptr() as usize;
        let words = content.split(is_space).filter(|word| !word.is_empty());
        Arguments::Words(words.map(|word| self.token(offset(word)..offset(word) + word.len())).collect())
    }

    /// `None` where this is not a JSON list: then it is text.
    fn json(&self, problems: &mut Vec<Problem>) -> Option<Arguments> {
        let content = self.content();
        if !content.starts_with('[') {
            return None;
        }
        if let Some(strings) = json_strings(content) {
            let token = |(text, range): (String, shell::Range)| Token { text, ..self.token(range) };
            return Some(Arguments::Json(strings.into_iter().map(token).collect()));
        }
        // A list of other things is a mistake; what is not JSON at all is a command that begins with a bracket.
        serde_json::from_str::<Vec<serde_json::Value>>(content).ok()?;
        problems.push(Problem::new("a JSON list of arguments may hold strings only", self.span()));
        Some(Arguments::Invalid)
    }

    fn pairs(&self, keyword: &str, problems: &mut Vec<Problem>) -> Arguments {
        let content = self.content();
        let mut words = self.words().peekable();
        if words.peek().is_some_and(|first| !content[first.clone()].contains('=')) {
            return self.legacy_pair(keyword, problems);
        }
        let mut pairs = Vec::new();
        for range in words {
            let word = self.token(range);
            match word.text.split_once('=') {
                Some((name, value)) => {
                    pairs.push(Pair { name: name.into(), value: value.into(), span: word.span, legacy: false });
                }
                None => problems.push(Problem::new(
                    format!("can't find = in {:?}: must be of the form name=value", word.text),
                    word.span,
                )),
            }
        }
        Arguments::Pairs(pairs)
    }

    fn legacy_pair(&self, keyword: &str, problems: &mut Vec<Problem>) -> Arguments {
        let Some((name, value)) = self.content().split_once(is_space) else {
            problems.push(Problem::new(format!("{keyword} must have two arguments"), self.span()));
            return Arguments::Invalid;
        };
        let value = value.trim_start_matches(is_space);
        Arguments::Pairs(vec![Pair { name: name.into(), value: value.into(), span: self.span(), legacy: true }])
    }

    fn typed(&self, problems: &mut Vec<Problem>) -> Arguments {
        let content = self.content();
        let length = content.find(char::is_whitespace).unwrap_or(content.len());
        let rest = content[length..].trim_start();
        let inner = Reader { start: self.end - rest.len(), ..*self };
        let arguments = match rest {
            "" => Arguments::None,
            _ => inner.json(problems).unwrap_or_else(|| inner.text()),
        };
        Arguments::Typed(self.token(0..length), Box::new(arguments))
    }
}

/// The strings of a JSON list of strings, and where each stands (quotes included).
fn json_strings(text: &str) -> Option<Vec<(String, shell::Range)>> {
    let space = |at: usize| at + text[at..].len() - text[at..].trim_start_matches([' ', '\t', '\n', '\r']).len();
    let mut out = Vec::new();
    let mut at = space(1);
    if text[at..].starts_with(']') {
        return text[at + 1..].trim().is_empty().then_some(out);
    }
    loop {
        let length = json_string_length(&text[at..])?;
        out.push((serde_json::from_str(&text[at..at + length]).ok()?, at..at + length));
        at = space(at + length);
        match text.as_bytes().get(at)? {
            b',' => at = space(at + 1),
            b']' => return text[at + 1..].trim().is_empty().then_some(out),
            _ => return None,
        }
    }
}

/// How long the string literal at the front is, quotes included.
fn json_string_length(text: &str) -> Option<usize> {
    let mut bytes = text.bytes().enumerate();
    bytes.next().filter(|(_, byte)| *byte == b'"')?;
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Some(at + 1),
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
    None
}
