//! Dockerfiles as trees: what stands in them, how it is laid out, and what it must be read as.

use proptest::prelude::*;

/// A Dockerfile.
#[derive(Debug, Clone)]
pub struct File {
    bom: bool,
    crlf: bool,
    backtick: bool,
    items: Vec<Item>,
}

#[derive(Debug, Clone)]
enum Item {
    Blank(&'static str),
    Comment(&'static str),
    Instruction(Instruction),
}

#[derive(Debug, Clone)]
struct Instruction {
    indent: &'static str,
    lower_case: bool,
    keyword: &'static str,
    /// Its words, and what stands in front of each.
    words: Vec<(Gap, String)>,
    heredocs: Vec<Heredoc>,
}

/// What separates two words.
#[derive(Debug, Clone)]
enum Gap {
    Space(&'static str),
    /// The line is continued: space behind the escape character, lines in between that do not count, indent.
    Continued {
        behind: &'static str,
        between: Vec<&'static str>,
        indent: &'static str,
    },
}

#[derive(Debug, Clone)]
struct Heredoc {
    name: &'static str,
    chomp: bool,
    lines: Vec<&'static str>,
}

/// What an instruction must be read as.
#[derive(Debug, PartialEq, Eq)]
pub struct Read {
    pub text: String,
    pub lines: (u32, u32),
    pub heredocs: Vec<String>,
    pub comments: Vec<String>,
}

/// A text as it grows.
struct Printer<'a> {
    file: &'a File,
    text: String,
    line: u32,
}

impl Printer<'_> {
    fn end_line(&mut self) {
        self.text.push_str(if self.file.crlf { "\r\n" } else { "\n" });
        self.line += 1;
    }

    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.end_line();
    }

    fn instruction(&mut self, it: &Instruction) -> Read {
        let escape = if self.file.backtick { '`' } else { '\\' };
        let first = self.line;
        let mut read = if it.lower_case { it.keyword.to_lowercase() } else { it.keyword.to_owned() };
        self.text.push_str(it.indent);
        self.text.push_str(&read);
        for (gap, word) in &it.words {
            match gap {
                Gap::Space(space) => {
                    self.text.push_str(space);
                    read.push_str(space);
                }
                Gap::Continued { behind, between, indent } => {
                    self.line(&format!(" {escape}{behind}"));
                    between.iter().for_each(|line| self.line(line));
                    self.text.push_str(indent);
                    read.push(' ');
                    read.push_str(indent);
                }
            }
            self.text.push_str(word);
            read.push_str(word);
        }
        self.end_line();
        let heredocs = it.heredocs.iter().map(|heredoc| self.heredoc(heredoc)).collect();
        Read { text: read, lines: (first, self.line - 1), heredocs, comments: Vec::new() }
    }

    fn heredoc(&mut self, heredoc: &Heredoc) -> String {
        let start = self.text.len();
        heredoc.lines.iter().for_each(|line| self.line(line));
        let content = self.text[start..].to_owned();
        self.line(&format!("{}{}", if heredoc.chomp { "\t\t" } else { "" }, heredoc.name));
        content
    }
}

impl File {
    /// Its text, and what its instructions must be read as.
    pub fn print(&self) -> (String, Vec<Read>) {
        let mut printer = Printer { file: self, text: String::new(), line: 1 };
        let (mut reads, mut comments) = (Vec::new(), Vec::new());
        if self.bom {
            printer.text.push('\u{feff}');
        }
        if self.backtick {
            printer.line("# escape=`");
        }
        for item in &self.items {
            match item {
                Item::Blank(space) => printer.line(space),
                Item::Comment(text) => {
                    printer.line(&format!("# {text}"));
                    comments.push((*text).to_owned());
                    // A comment that says nothing begins a new description.
                    if text.is_empty() {
                        comments.clear();
                    }
                }
                Item::Instruction(it) => {
                    let read = printer.instruction(it);
                    reads.push(Read { comments: std::mem::take(&mut comments), ..read });
                }
            }
        }
        (printer.text, reads)
    }
}

/// Any Dockerfile that is right.
pub fn file() -> impl Strategy<Value = File> {
    let item = prop_oneof![
        1 => prop::sample::select(vec!["", " ", "\t"]).prop_map(Item::Blank),
        1 => prop::sample::select(vec!["a note", "syntax", "é = x", ""]).prop_map(Item::Comment),
        5 => instruction().prop_map(Item::Instruction),
    ];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (flags, from(), prop::collection::vec(item, 0..8)).prop_map(|((bom, crlf, backtick), from, mut items)| {
        items.insert(0, Item::Instruction(from));
        File { bom, crlf, backtick, items }
    })
}

fn from() -> impl Strategy<Value = Instruction> {
    laid_out("FROM", prop::sample::select(vec![&["alpine"][..], &["scratch"], &["alpine", "AS", "stage"]]))
}

/// Words of an instruction, each with flags in front where it takes some.
const SHAPES: [(&str, &[&[&str]]); 17] = [
    (
        "RUN",
        &[&["make"], &["--mount=type=cache,target=/c", "make", "all"], &["[\"a\",", "\"b c\"]"], &["echo", "'a  b'"]],
    ),
    (
        "COPY",
        &[
            &["a", "/b"],
            &["--link", "--chown=1:2", "a", "b", "/c/"],
            &["[\"a b\",", "\"/c\"]"],
            &["--chmod=u+x", "é", "."],
        ],
    ),
    ("ADD", &[&["a", "/b"], &["--unpack=true", "a.tar", "/"]]),
    ("ENV", &[&["A=1"], &["A=\"b c\"", "B='d'", "C=$A"]]),
    ("ARG", &[&["A"], &["A=1", "B=${A:-x}"]]),
    ("LABEL", &[&["a=b"], &["\"a b\"=c", "d="]]),
    ("CMD", &[&["run", "it"], &["[\"run\"]"]]),
    ("ENTRYPOINT", &[&["[\"run\",", "\"it\"]"], &["run"]]),
    ("EXPOSE", &[&["80", "443/tcp"], &["$A"]]),
    ("HEALTHCHECK", &[&["NONE"], &["--interval=5s", "CMD", "true"]]),
    ("MAINTAINER", &[&["me"]]),
    ("ONBUILD", &[&["RUN", "make"], &["COPY", "a", "/b"]]),
    ("SHELL", &[&["[\"sh\",", "\"-c\"]"]]),
    ("STOPSIGNAL", &[&["SIGTERM"]]),
    ("USER", &[&["me:us"], &["$A"]]),
    ("VOLUME", &[&["/a", "/b"], &["[\"/a\"]"]]),
    ("WORKDIR", &[&["/a"], &["a/b"]]),
];

fn instruction() -> impl Strategy<Value = Instruction> {
    let plain = prop::sample::select(SHAPES.to_vec())
        .prop_flat_map(|(keyword, shapes)| laid_out(keyword, prop::sample::select(shapes.to_vec())));
    prop_oneof![4 => plain, 1 => with_heredocs()]
}

/// An instruction whose words are somehow laid out.
fn laid_out(
    keyword: &'static str,
    words: impl Strategy<Value = &'static [&'static str]>,
) -> impl Strategy<Value = Instruction> {
    words.prop_flat_map(move |words| {
        let gaps = prop::collection::vec(gap(), words.len());
        let indent = prop::sample::select(vec!["", "", "  ", "\t"]);
        (indent, any::<bool>(), gaps).prop_map(move |(indent, lower_case, gaps)| {
            let words = gaps.into_iter().zip(words.iter().map(|word| (*word).to_owned())).collect();
            Instruction { indent, lower_case, keyword, words, heredocs: Vec::new() }
        })
    })
}

fn gap() -> impl Strategy<Value = Gap> {
    let between = prop::sample::select(vec!["# a comment", "  # another", "", "  "]);
    let continued = (
        prop::sample::select(vec!["", " ", " \t"]),
        prop::collection::vec(between, 0..3),
        prop::sample::select(vec!["", "  ", "\t"]),
    );
    prop_oneof![
        3 => prop::sample::select(vec![" ", "  ", "\t"]).prop_map(Gap::Space),
        1 => continued.prop_map(|(behind, between, indent)| Gap::Continued { behind, between, indent }),
    ]
}

fn with_heredocs() -> impl Strategy<Value = Instruction> {
    let line = prop::sample::select(vec!["", "text", "\ttab", "# no comment", "RUN x \\", "é $A", "E O F"]);
    let heredoc = |name| {
        (any::<bool>(), any::<bool>(), prop::collection::vec(line.clone(), 0..4))
            .prop_map(move |(chomp, quoted, lines)| (Heredoc { name, chomp, lines }, quoted))
    };
    let heredocs = prop_oneof![
        heredoc("EOF").prop_map(|one| vec![one]),
        (heredoc("EOF"), heredoc("x2")).prop_map(|(one, two)| vec![one, two]),
    ];
    (any::<bool>(), heredocs).prop_map(|(copy, heredocs)| {
        let opening = |(heredoc, quoted): &(Heredoc, bool)| {
            let quote = if *quoted { "\"" } else { "" };
            format!("<<{}{quote}{}{quote}", if heredoc.chomp { "-" } else { "" }, heredoc.name)
        };
        let mut words: Vec<(Gap, String)> = heredocs.iter().map(|it| (Gap::Space(" "), opening(it))).collect();
        words.extend(copy.then(|| (Gap::Space(" "), "/to/".to_owned())));
        let heredocs = heredocs.into_iter().map(|(heredoc, _)| heredoc).collect();
        Instruction { indent: "", lower_case: false, keyword: if copy { "COPY" } else { "RUN" }, words, heredocs }
    })
}

/// A small change that may make a file wrong.
#[derive(Debug, Clone)]
pub enum Harm {
    /// What stands at some place is taken out: characters from there on.
    Cut(prop::sample::Index, usize),
    /// Something is put in.
    Put(prop::sample::Index, &'static str),
    /// A line is written twice.
    Double(prop::sample::Index),
}

/// Any harm.
pub fn harm() -> impl Strategy<Value = Harm> {
    let put = vec![
        "\\", "`", "\"", "'", "[", "<<E", "\n", "\r", "#", "$", "${", "--", "=", " ", "\u{feff}", "\0", "FROM ",
        "ONBUILD ",
    ];
    prop_oneof![
        (any::<prop::sample::Index>(), 1..4usize).prop_map(|(at, length)| Harm::Cut(at, length)),
        (any::<prop::sample::Index>(), prop::sample::select(put)).prop_map(|(at, text)| Harm::Put(at, text)),
        any::<prop::sample::Index>().prop_map(Harm::Double),
    ]
}

impl Harm {
    /// A text with the harm done.
    pub fn done_to(&self, text: &str) -> String {
        let chars: Vec<char> = text.chars().collect();
        match self {
            Harm::Cut(at, length) => {
                let at = at.index(chars.len() + 1);
                chars[..at].iter().chain(chars.iter().skip(at + length)).collect()
            }
            Harm::Put(at, put) => {
                let at = at.index(chars.len() + 1);
                chars[..at].iter().copied().chain(put.chars()).chain(chars[at..].iter().copied()).collect()
            }
            Harm::Double(at) => {
                let lines: Vec<&str> = text.split_inclusive('\n').collect();
                let at = at.index(lines.len() + 1);
                lines[..at].iter().chain(lines[at.saturating_sub(1)..].iter()).copied().collect()
            }
        }
    }
}
