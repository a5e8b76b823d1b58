//! The words of attribute lists, and lists that were checked against them.

use std::{collections::HashMap, str::FromStr, sync::LazyLock};

const TEXT: &str = include_str!("../../../wit/v0.1/attributes.md");

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::parse(TEXT));

/// The table `wit/v0.1/attributes.md`.
pub(crate) struct Table {
    /// By what an attribute is on.
    words: HashMap<&'static str, Vec<Word>>,
}

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Word {
    word: &'static str,
    kind: Kind,
    /// BuildKit's name of a source attribute.
    wire: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Bool,
    U32,
    I32,
    U64,
    I64,
    Octal,
    Mode,
    Owner,
    Platform,
    Text,
    List,
    /// One of the words between slashes.
    Choice(&'static str),
}

/// Why a list is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs)]
pub(crate) enum WordError {
    #[error("unknown attribute {0:?} of {1}")]
    Unknown(String, String),
    #[error("attribute {0:?} is given twice")]
    Twice(String),
    #[error("attribute {word:?}: want {want}, got {got:?}")]
    Value { word: String, want: &'static str, got: String },
    #[error("attribute {0:?} is needed")]
    Missing(&'static str),
}

impl Table {
    pub(crate) fn get() -> &'static Table {
        &TABLE
    }

    fn parse(text: &'static str) -> Table {
        let mut words: HashMap<&str, Vec<Word>> = HashMap::new();
        for row in text.lines().filter_map(|line| line.strip_prefix("| ")) {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let &[on, word, kind, _default, _meaning, wire, ..] = cells.as_slice() else { continue };
            if on == "On" {
                continue;
            }
            let row = words.entry(on).or_default();
            if !word.is_empty() {
                row.push(Word { word, kind: Kind::parse(kind), wire });
            }
        }
        Table { words }
    }

    /// Whether a dotted word is in the table: what attributes are on, alone or with one of them.
    pub(crate) fn supports(&self, feature: &str) -> bool {
        let is_on = self.words.contains_key(feature);
        is_on
            || feature.match_indices('.').any(|(dot, _)| {
                let word = &feature[dot + 1..];
                self.find(&[&feature[..dot]], word).is_some()
            })
    }

    /// The words that may stand on these, as the table has them.
    #[cfg(feature = "testing")]
    pub(crate) fn words(&self, on: &[&str]) -> Vec<&'static str> {
        on.iter().filter_map(|on| self.words.get(on)).flatten().map(|row| row.word).collect()
    }

    /// The values that attributes with a choice have.
    #[cfg(feature = "testing")]
    pub(crate) fn choices(&self) -> &'static [&'static str] {
        static CHOICES: LazyLock<Vec<&str>> = LazyLock::new(|| {
            let kinds = TABLE.words.values().flatten().map(|row| row.kind);
            let choices = kinds.filter_map(|kind| if let Kind::Choice(choice) = kind { Some(choice) } else { None });
            let all: std::collections::BTreeSet<&str> = choices.flat_map(|choice| choice.split('/')).collect();
            all.into_iter().collect()
        });
        &CHOICES
    }

    fn find<'t>(&'t self, on: &[&str], word: &str) -> Option<&'t Word> {
        let mut rows =
            on.iter().filter_map(|on| self.words.get(*on)).map(|rows| rows.iter().find(|row| row.takes(word)));
        rows.find(Option::is_some).flatten()
    }

    /// Checks a list against the rows of `on`.
    pub(crate) fn check<'a>(&self, on: &[&str], list: &'a [(String, String)]) -> Result<Attrs<'a>, WordError> {
        let mut attrs: Vec<Attr<'a>> = Vec::with_capacity(list.len());
        for (word, value) in list {
            let (hint, name) = word.strip_prefix('?').map_or((false, word.as_str()), |name| (true, name));
            let Some(row) = self.find(on, name) else {
                if hint {
                    continue;
                }
                let on = on.last().copied().unwrap_or_default();
                return Err(WordError::Unknown(word.clone(), on.to_owned()));
            };
            if !row.kind.allows(value) {
                return Err(WordError::Value { word: name.to_owned(), want: row.kind.want(), got: shortened(value) });
            }
            attrs.push(Attr { wire: row.wire, kind: row.kind, name, value });
        }
        let mut single: Vec<&str> = attrs.iter().filter(|attr| attr.kind != Kind::List).map(|attr| attr.name).collect();
        single.sort_unstable();
        match single.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(WordError::Twice(pair[0].to_owned())),
            None => Ok(Attrs { attrs }),
        }
    }
}

impl Word {
    fn takes(&self, word: &str) -> bool {
        match self.word.strip_suffix('*') {
            Some(family) => word.len() > family.len() && word.starts_with(family),
            None => self.word == word,
        }
    }
}

impl Kind {
    fn parse(kind: &'static str) -> Kind {
        match kind {
            "bool" => Kind::Bool,
            "u32" => Kind::U32,
            "i32" => Kind::I32,
            "u64" => Kind::U64,
            "i64" | "time" => Kind::I64,
            "octal" => Kind::Octal,
            "mode" => Kind::Mode,
            "owner" => Kind::Owner,
            "platform" => Kind::Platform,
            "list" => Kind::List,
            choice if choice.contains('/') => Kind::Choice(choice),
            _ => Kind::Text,
        }
    }

    fn want(self) -> &'static str {
        match self {
            Kind::Bool => "true or false",
            Kind::U32 => "a number from 0 to 4294967295",
            Kind::I32 => "a number of 32 bits",
            Kind::U64 => "a number that is not negative",
            Kind::I64 => "a number",
            Kind::Octal => "a file mode in octal digits, at most 7777",
            Kind::Mode => "a file mode, octal or as u+x,go-w",
            Kind::Owner => "user[:group]",
            Kind::Platform => "os/arch[/variant]",
            Kind::Text | Kind::List => "text",
            Kind::Choice(words) => words,
        }
    }

    fn allows(self, value: &str) -> bool {
        match self {
            Kind::Bool => matches!(value, "true" | "false"),
            Kind::U32 => decimal::<u32>(value),
            Kind::I32 => decimal::<i32>(value),
            Kind::U64 => decimal::<u64>(value),
            Kind::I64 => decimal::<i64>(value),
            Kind::Octal => octal(value).is_some(),
            Kind::Mode => octal(value).is_some() || is_symbolic_mode(value),
            Kind::Owner => owner_parts(value).is_some(),
            Kind::Platform => platform(value).is_some(),
            Kind::Text | Kind::List => !value.contains('\0'),
            Kind::Choice(words) => words.split('/').any(|word| word == value),
        }
    }
}

/// A decimal number and no other spelling of it: no plus sign, no leading zeros.
fn decimal<T: FromStr + ToString>(value: &str) -> bool {
    value.parse::<T>().is_ok_and(|number| number.to_string() == value)
}

/// A file mode.
pub(crate) fn octal(value: &str) -> Option<u32> {
    let digits = !value.is_empty() && value.len() <= 8 && value.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    u32::from_str_radix(value, 8).ok().filter(|mode| digits && *mode <= 0o7777)
}

/// `[ugoa...]OP[rwxXst...|u|g|o]`, one or more separated by commas, as chmod(1) takes it.
fn is_symbolic_mode(value: &str) -> bool {
    value.split(',').all(|clause| {
        let rest = clause.trim_start_matches(['u', 'g', 'o', 'a']);
        let mut changes = rest.split(['+', '-', '=']);
        changes.next() == Some("")
            && !rest.is_empty()
            && changes.all(|bits| matches!(bits, "u" | "g" | "o") || bits.chars().all(|bit| "rwxXst".contains(bit)))
    })
}

/// user[:group]; neither is empty.
pub(crate) fn owner_parts(value: &str) -> Option<(&str, Option<&str>)> {
    let (user, group) = value.split_once(':').map_or((value, None), |(user, group)| (user, Some(group)));
    let valid = |name: &str| !name.is_empty() && !name.contains([':', '\0', '\n']);
    (valid(user) && group.is_none_or(valid)).then_some((user, group))
}

/// os/arch[/variant].
pub(crate) fn platform(value: &str) -> Option<llb::Platform> {
    let valid =
        |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    let parts: Vec<&str> = value.split('/').collect();
    let (os, architecture, variant) = match parts.as_slice() {
        [os, architecture] => (*os, *architecture, ""),
        [os, architecture, variant] => (*os, *architecture, *variant),
        _ => return None,
    };
    parts.iter().all(valid).then(|| llb::Platform {
        os: os.to_owned(),
        architecture: architecture.to_owned(),
        variant: variant.to_owned(),
        ..llb::Platform::default()
    })
}

/// A value for a message.
fn shortened(value: &str) -> String {
    const CHARS: usize = 80;
    match value.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}...", &value[..end]),
        None => value.to_owned(),
    }
}

/// A checked list.
pub(crate) struct Attrs<'a> {
    attrs: Vec<Attr<'a>>,
}

struct Attr<'a> {
    wire: &'static str,
    kind: Kind,
    name: &'a str,
    value: &'a str,
}

impl<'a> Attrs<'a> {
    /// A value as it was given.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.attrs.iter().find(|attr| attr.name == name).map(|attr| attr.value)
    }

    /// A value that must be there.
    pub(crate) fn needed(&self, name: &'static str) -> Result<&'a str, WordError> {
        self.get(name).ok_or(WordError::Missing(name))
    }

    /// A value, or the empty text.
    pub(crate) fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_default().to_owned()
    }

    /// A switch that is off unless it is said to be on.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }

    /// A number; its type was checked to be this one.
    pub(crate) fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.parse().ok()
    }

    /// A file mode.
    pub(crate) fn mode(&self, name: &str) -> Option<u32> {
        octal(self.get(name)?)
    }

    /// All values of a list.
    pub(crate) fn list(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.attrs.iter().filter(move |attr| attr.name == name).map(|attr| attr.value)
    }

    /// All values of a list as owned texts.
    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        self.list(name).map(str::to_owned).collect()
    }

    /// A family's members: what follows the dot, and the value.
    pub(crate) fn family(&self, family: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.attrs.iter().filter_map(move |attr| Some((attr.name.strip_prefix(family)?, attr.value)))
    }

    /// The source attributes in BuildKit's spelling: a list is JSON, a mode has a leading zero, what is off is left out.
    pub(crate) fn wire(&self) -> std::collections::BTreeMap<String, String> {
        let mut wire = std::collections::BTreeMap::new();
        for attr in self.attrs.iter().filter(|attr| !attr.wire.is_empty()) {
            let name = match attr.wire.strip_suffix('*') {
                Some(family) => format!("{family}{}", attr.name.split_once('.').map_or("", |(_, rest)| rest)),
                None => attr.wire.to_owned(),
            };
            let value = match attr.kind {
                // The first of a list stands for all.
                Kind::List if wire.contains_key(&name) => continue,
                Kind::List => {
                    let list = serde_json::json!(self.list(attr.name).collect::<Vec<_>>());
                    llb::wire::as_go_writes(&list.to_string())
                }
                Kind::Octal => format!("0{:o}", octal(attr.value).unwrap_or_default()),
                Kind::Bool if attr.value == "false" => continue,
                _ => attr.value.to_owned(),
            };
            wire.insert(name, value);
        }
        wire
    }
}

/// The words of `on` for BuildKit's spelling of source attributes, where there are such words: the reverse of [`Attrs::wire`].
pub(crate) fn from_wire(on: &str, wire: &std::collections::BTreeMap<String, String>) -> Vec<(String, String)> {
    let rows = TABLE.words.get(on).map_or(&[][..], Vec::as_slice);
    let mut words = Vec::new();
    for (name, value) in wire {
        for row in rows {
            let word = match row.wire.strip_suffix('*') {
                Some(family) => name.strip_prefix(family).map(|rest| row.word.replace('*', rest)),
                None => (row.wire == name).then(|| row.word.to_owned()),
            };
            let Some(word) = word else { continue };
            match row.kind {
                Kind::List => {
                    let values: Vec<String> = serde_json::from_str(value).unwrap_or_default();
                    words.extend(values.into_iter().map(|value| (word.clone(), value)));
                }
                _ => words.push((word, value.clone())),
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(word, value)| ((*word).to_owned(), (*value).to_owned())).collect()
    }

    #[track_caller]
    fn check(on: &[&str], pairs: &[(&str, &str)], expected: Result<(), &str>) {
        let pairs = list(pairs);
        let outcome = Table::get().check(on, &pairs).map(|_| ()).map_err(|error| error.to_string());
        assert_eq!(outcome, expected.map_err(str::to_owned));
    }

    #[test]
    fn values_are_checked_by_type() {
        let accepted: &[(&str, &str, &str)] = &[
            ("exec", "network", "host"),
            ("vertex", "platform", "linux/arm/v7"),
            ("file.copy", "mode", "755"),
            ("file.copy", "mode", "u=rwX,go+rX-w,a=g"),
            ("file.copy", "owner", "1000:staff"),
            ("file.copy", "created", "-1"),
            ("mount.secret", "uid", "4294967295"),
            ("vertex", "description.any", "thing"),
        ];
        for (on, word, value) in accepted {
            check(&[on], &[(word, value)], Ok(()));
        }
        let refused: &[(&str, &str, &str)] = &[
            ("exec", "network", "none "),
            ("exec", "readonly-root", "1"),
            ("vertex", "platform", "linux"),
            ("vertex", "platform", "linux//v7"),
            ("vertex", "platform", "li nux/x"),
            ("file.copy", "mode", "888"),
            ("file.copy", "mode", "10000"),
            ("file.copy", "mode", "u+z"),
            ("file.copy", "mode", "u"),
            ("file.copy", "mode", ""),
            ("file.copy", "owner", ":staff"),
            ("file.copy", "owner", "a:b:c"),
            ("file.copy", "src", "a\0b"),
            ("mount.secret", "uid", "4294967296"),
            ("mount.secret", "uid", "+1"),
            ("mount.secret", "uid", "01"),
            ("mount.tmpfs", "size", "1e9"),
        ];
        for (on, word, value) in refused {
            let error = Table::get().check(&[on], &list(&[(word, value)])).err();
            assert!(matches!(error, Some(WordError::Value { .. })), "{on} {word} {value:?}");
        }
    }

    #[test]
    fn words_are_checked_by_place() {
        check(&["vertex", "exec"], &[("name", "a"), ("cwd", "/")], Ok(()));
        check(&["vertex", "exec"], &[("hostnam", "a")], Err("unknown attribute \"hostnam\" of exec"));
        check(&["vertex", "exec"], &[("?hostnam", "a"), ("?cwd", "/")], Ok(()));
        check(&["vertex", "exec"], &[("cwd", "/"), ("cwd", "/")], Err("attribute \"cwd\" is given twice"));
        check(&["vertex", "exec"], &[("device", "a"), ("device", "a")], Ok(()));
        check(&["vertex"], &[("cap.", "true")], Err("unknown attribute \"cap.\" of vertex"));
        check(&["exec"], &[("security", "root")], Err("attribute \"security\": want sandbox/insecure, got \"root\""));
    }

    #[test]
    fn source_attributes_have_wire_names() {
        let pairs = list(&[("include", "a"), ("include", "b"), ("metadata-only", "false"), ("shared-key", "k")]);
        let wire = Table::get().check(&["vertex", "source.local"], &pairs).expect("it is well formed").wire();
        let expected = [("local.includepattern", r#"["a","b"]"#), ("local.sharedkeyhint", "k")];
        assert_eq!(wire.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>(), expected);
        let words = list(&[("include", "a"), ("include", "b"), ("shared-key", "k")]);
        assert_eq!(from_wire("source.local", &wire), words);

        let pairs = list(&[("follow", "a<b>&c")]);
        let wire = Table::get().check(&["source.local"], &pairs).expect("it is well formed").wire();
        assert_eq!(wire["local.followpaths"], r#"["a\u003cb\u003e\u0026c"]"#);
        assert_eq!(from_wire("source.local", &wire), pairs);

        let pairs = list(&[("mode", "644"), ("header.accept", "x")]);
        let wire = Table::get().check(&["source.http"], &pairs).expect("it is well formed").wire();
        assert_eq!(wire["http.perm"], "0644");
        assert_eq!(wire["http.header.accept"], "x");
        assert_eq!(from_wire("source.http", &wire), list(&[("header.accept", "x"), ("mode", "0644")]));
    }

    /// Each of these would take hours if it took the square of its length.
    #[test]
    fn lists_may_be_long() {
        const LENGTH: usize = 200_000;
        let pairs: Vec<_> = (0..LENGTH).map(|at| ("include".to_owned(), at.to_string())).collect();
        let wire = Table::get().check(&["vertex", "source.local"], &pairs).expect("it is well formed").wire();
        assert_eq!(wire["local.includepattern"].matches(',').count(), LENGTH - 1);
        let pairs: Vec<_> = (0..LENGTH).map(|at| (format!("description.{at}"), String::new())).collect();
        let attrs = Table::get().check(&["vertex"], &pairs).expect("it is well formed");
        assert_eq!(attrs.family("description.").count(), LENGTH);
    }

    #[test]
    fn supported_words() {
        for known in ["op.diff", "mount.ssh", "exec.hostname", "source.http.header.x", "source.docker-image+blob.uid"] {
            assert!(Table::get().supports(known), "{known}");
        }
        for unknown in ["", ".", "op.fold", "exec.", "exec", "mount.ssh.sharing", "vertex.cap."] {
            assert_eq!(Table::get().supports(unknown), unknown == "exec", "{unknown}");
        }
    }
}
