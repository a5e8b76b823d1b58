//! Words for the shell as trees. The value of a tree is found without reading any text.

use std::collections::BTreeMap;

use proptest::prelude::*;

/// Variables that are set.
pub fn variables() -> BTreeMap<String, String> {
    let pairs = [("A", "one two"), ("E", ""), ("PATHS", "/usr/lib/x.tar.gz"), ("D", "a$b\\c")];
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

const NAMES: [&str; 5] = ["A", "E", "PATHS", "D", "NOT_SET"];

/// Parts one after the other.
#[derive(Debug, Clone)]
pub struct Word(Vec<Part>);

#[derive(Debug, Clone)]
enum Part {
    /// Characters without a meaning.
    Plain(String),
    /// A character whose meaning is taken away.
    Escaped(char),
    /// `'text'`.
    Single(String),
    /// `"parts"`: no quotes and only escapes that mean something stand inside.
    Double(Vec<Inner>),
    /// A variable.
    Variable(Reference),
}

/// What stands inside of double quotes.
#[derive(Debug, Clone)]
enum Inner {
    Plain(String),
    Escaped(Special),
    Variable(Reference),
}

/// What can be escaped inside of double quotes.
#[derive(Debug, Clone, Copy)]
enum Special {
    Quote,
    Dollar,
    /// The escape character itself.
    Escape,
}

#[derive(Debug, Clone)]
enum Reference {
    /// `$name` and a character that cannot belong to a name.
    Bare { name: &'static str, end: char },
    /// `${name}`.
    Braced(&'static str),
    /// `${name-word}` and its like.
    Conditional { name: &'static str, colon: bool, sign: char, word: Box<Word> },
    /// `${name#pattern}` and its like, with a pattern of letters, `*` and `?`.
    Trim { name: &'static str, sign: char, longest: bool, pattern: String },
    /// `${name/pattern/text}`.
    Replace { name: &'static str, all: bool, pattern: String, text: String },
}

/// Any word.
pub fn word() -> impl Strategy<Value = Word> {
    let leaf = prop::collection::vec(part(reference(None)), 0..4).prop_map(Word).boxed();
    leaf.prop_recursive(3, 24, 4, |inner| prop::collection::vec(part(reference(Some(inner))), 0..5).prop_map(Word))
}

fn part(reference: BoxedStrategy<Reference>) -> impl Strategy<Value = Part> {
    let inner = prop_oneof![
        3 => "[a-z .,/:'#-]{1,4}".prop_map(Inner::Plain),
        1 => prop::sample::select(vec![Special::Quote, Special::Dollar, Special::Escape]).prop_map(Inner::Escaped),
        2 => reference.clone().prop_map(Inner::Variable),
    ];
    prop_oneof![
        4 => "[a-z .,/:=#-]{1,5}".prop_map(Part::Plain),
        1 => "[$'\"a }/]".prop_map(|text| Part::Escaped(text.chars().next().unwrap_or('a'))),
        1 => "[a-z$\"\\\\` ]{0,5}".prop_map(Part::Single),
        2 => prop::collection::vec(inner, 0..4).prop_map(Part::Double),
        3 => reference.prop_map(Part::Variable),
    ]
}

fn reference(word: Option<BoxedStrategy<Word>>) -> BoxedStrategy<Reference> {
    let name = || prop::sample::select(NAMES.to_vec());
    let word = word.unwrap_or_else(|| "[a-z ]{0,4}".prop_map(|text| Word(vec![Part::Plain(text)])).boxed());
    let pattern = || "[a-zA-Z./*?]{1,4}".prop_map(|text| text.replace('/', "o"));
    prop_oneof![
        1 => (name(), prop::sample::select(vec!['.', '/', ' ', ':'])).prop_map(|(name, end)| Reference::Bare { name, end }),
        1 => name().prop_map(Reference::Braced),
        2 => (name(), any::<bool>(), prop::sample::select(vec!['-', '+', '?']), word).prop_map(
            |(name, colon, sign, word)| Reference::Conditional { name, colon, sign, word: Box::new(word) }
        ),
        1 => (name(), prop::sample::select(vec!['#', '%']), any::<bool>(), pattern()).prop_map(
            |(name, sign, longest, pattern)| Reference::Trim { name, sign, longest, pattern }
        ),
        1 => (name(), any::<bool>(), pattern(), "[a-z ]{0,3}").prop_map(
            |(name, all, pattern, text)| Reference::Replace { name, all, pattern, text }
        ),
    ]
    .boxed()
}

impl Word {
    /// As it is written where `escape` is the escape character.
    pub fn print(&self, escape: char) -> String {
        self.0.iter().map(|part| part.print(escape)).collect()
    }

    /// What it resolves to; `None` where that must fail. What fails does so even where its value is not needed.
    pub fn value(&self, escape: char) -> Option<String> {
        self.0.iter().map(|part| part.value(escape)).collect()
    }
}

impl Part {
    fn print(&self, escape: char) -> String {
        match self {
            Part::Plain(text) => text.clone(),
            Part::Escaped(c) => format!("{escape}{c}"),
            Part::Single(text) => format!("'{text}'"),
            Part::Double(parts) => {
                let parts: String = parts.iter().map(|part| part.print(escape)).collect();
                format!("\"{parts}\"")
            }
            Part::Variable(reference) => reference.print(escape),
        }
    }

    fn value(&self, escape: char) -> Option<String> {
        match self {
            Part::Plain(text) | Part::Single(text) => Some(text.clone()),
            Part::Escaped(c) => Some(c.to_string()),
            Part::Double(parts) => parts.iter().map(|part| part.value(escape)).collect(),
            Part::Variable(reference) => reference.value(escape),
        }
    }
}

impl Inner {
    fn print(&self, escape: char) -> String {
        match self {
            Inner::Plain(text) => text.clone(),
            Inner::Escaped(special) => format!("{escape}{}", special.sign(escape)),
            Inner::Variable(reference) => reference.print(escape),
        }
    }

    fn value(&self, escape: char) -> Option<String> {
        match self {
            Inner::Plain(text) => Some(text.clone()),
            Inner::Escaped(special) => Some(special.sign(escape).to_string()),
            Inner::Variable(reference) => reference.value(escape),
        }
    }
}

impl Special {
    fn sign(self, escape: char) -> char {
        match self {
            Special::Quote => '"',
            Special::Dollar => '$',
            Special::Escape => escape,
        }
    }
}

impl Reference {
    fn print(&self, escape: char) -> String {
        let colon = |colon: bool| if colon { ":" } else { "" };
        match self {
            Reference::Bare { name, end } => format!("${name}{end}"),
            Reference::Braced(name) => format!("${{{name}}}"),
            Reference::Conditional { name, colon: with, sign, word } => {
                format!("${{{name}{}{sign}{}}}", colon(*with), word.print(escape))
            }
            Reference::Trim { name, sign, longest, pattern } => {
                let sign = sign.to_string().repeat(if *longest { 2 } else { 1 });
                format!("${{{name}{sign}{pattern}}}")
            }
            Reference::Replace { name, all, pattern, text } => {
                format!("${{{name}{}{pattern}/{text}}}", if *all { "//" } else { "/" })
            }
        }
    }

    fn value(&self, escape: char) -> Option<String> {
        let lookup = |name: &str| variables().remove(name);
        let or_empty = |name: &str| lookup(name).unwrap_or_default();
        match self {
            Reference::Bare { name, end } => Some(format!("{}{end}", or_empty(name))),
            Reference::Braced(name) => Some(or_empty(name)),
            Reference::Conditional { name, colon, sign, word } => {
                let word = word.value(escape)?;
                let usable = lookup(name).filter(|value| !colon || !value.is_empty());
                match (sign, usable) {
                    ('-', None) | ('+', Some(_)) => Some(word),
                    ('+', None) => Some(String::new()),
                    (_, value) => value,
                }
            }
            Reference::Trim { name, sign, longest, pattern } => {
                Some(trim(&or_empty(name), *sign, *longest, pattern.as_bytes()))
            }
            Reference::Replace { name, all, pattern, text } => {
                Some(replace(&or_empty(name), pattern.as_bytes(), text, *all))
            }
        }
    }
}

/// `value` without the longest or shortest start (`#`) or end (`%`) that matches.
fn trim(value: &str, sign: char, longest: bool, pattern: &[u8]) -> String {
    let cuts = 0..=value.len();
    let matching: Vec<usize> = match sign {
        '#' => cuts.filter(|cut| matches(pattern, &value.as_bytes()[..*cut])).collect(),
        _ => cuts.rev().filter(|cut| matches(pattern, &value.as_bytes()[*cut..])).collect(),
    };
    match (if longest { matching.last() } else { matching.first() }, sign) {
        (Some(cut), '#') => value[*cut..].to_owned(),
        (Some(cut), _) => value[..*cut].to_owned(),
        (None, _) => value.to_owned(),
    }
}

/// `value` with the first match, or all, replaced: each begins as far left as it can, and is as long as it can be.
fn replace(value: &str, pattern: &[u8], text: &str, all: bool) -> String {
    let (mut out, mut at, mut last_end) = (String::new(), 0, None);
    while at <= value.len() {
        let end = (at..=value.len()).rev().find(|end| matches(pattern, &value.as_bytes()[at..*end]));
        // An empty match right behind another one does not count.
        if let Some(end) = end.filter(|end| *end > at || last_end != Some(at)) {
            out.push_str(text);
            if !all {
                return out + &value[end..];
            }
            last_end = Some(end);
            if end > at {
                at = end;
                continue;
            }
        }
        out.push_str(value.get(at..=at).unwrap_or_default());
        at += 1;
    }
    out
}

/// By trying everything. Values and patterns are ASCII here.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|skip| matches(rest, &text[skip..])),
        Some((first, rest)) => {
            text.split_first().is_some_and(|(c, text)| (first == c || *first == b'?') && matches(rest, text))
        }
    }
}
