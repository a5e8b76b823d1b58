//! One vocabulary for the SDKs of all languages: `sdk/vocabulary.md` says what each calls what, and here it is held to their code.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What an SDK exports: functions, and members of types, each with its parameters.
type Names = BTreeMap<String, String>;

/// A language: the title of its column, where its SDK is, what between the name of a type and that of a member, and how it is read.
struct Language {
    title: &'static str,
    sources: &'static str,
    extension: &'static str,
    separator: &'static str,
    read: fn(&str, &mut Names),
}

const LANGUAGES: [Language; 4] = [
    Language { title: "Rust", sources: "sdk/rust/src", extension: "rs", separator: "::", read: rust },
    Language { title: "JavaScript", sources: "sdk/js/src", extension: "ts", separator: ".", read: javascript },
    Language { title: "Python", sources: "sdk/python/src/pintle", extension: "py", separator: ".", read: python },
    Language { title: "Go", sources: "sdk/go", extension: "go", separator: ".", read: go },
];

/// Files that authors do not write against: what crosses the interface.
const INSIDE: [&str; 8] =
    ["bindings.rs", "calls.rs", "guest.rs", "wit.d.ts", "_types.py", "_wit.py", "calls.go", "guest_wasm.go"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

impl Language {
    fn names(&self) -> Names {
        let mut names = Names::new();
        self.texts().iter().for_each(|text| (self.read)(text, &mut names));
        names
    }

    /// The sources that authors write against.
    fn texts(&self) -> Vec<String> {
        let mut texts = Vec::new();
        for entry in fs::read_dir(root().join(self.sources)).expect("the SDK is there") {
            let path = entry.expect("it can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_source = path.extension().is_some_and(|extension| extension == self.extension);
            if is_source && !INSIDE.contains(&name.as_str()) && !name.ends_with("_test.go") {
                texts.push(fs::read_to_string(&path).expect("a source is text"));
            }
        }
        texts
    }
}

/// The name at the beginning of a text; none where there is none.
fn name(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    Some(&text[..end]).filter(|name| !name.is_empty())
}

/// What follows one of `words` at the beginning of a line.
fn after<'a>(line: &'a str, words: &[&str]) -> Option<&'a str> {
    words.iter().find_map(|word| line.strip_prefix(word))
}

/// What is between the first parentheses of a text.
fn parameters(text: &str) -> String {
    let mut depth = 0;
    let mut inside = String::new();
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => break,
            ')' => depth -= 1,
            '{' | '\n' if depth == 0 => break,
            _ => {}
        }
        if depth > 0 {
            inside.push(c);
        }
    }
    inside
}

/// The lines of a text, each with all that follows it.
fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
    starts.map(|at| (text[at..].lines().next().unwrap_or_default(), &text[at..]))
}

fn add(names: &mut Names, owner: &str, separator: &str, member: &str, rest: &str) {
    let full = if owner.is_empty() { member.to_owned() } else { format!("{owner}{separator}{member}") };
    names.entry(full).or_default().push_str(&parameters(rest));
}

/// Methods and fields of types, and the setters that a macro makes: `kind name = "word";`.
fn rust(text: &str, names: &mut Names) {
    let mut owner = "";
    for (line, rest) in lines(text) {
        let begins = ["impl ", "pub trait ", "pub struct ", "pub enum ", "setters!("];
        if let Some(head) = after(line, &begins) {
            owner = if line.starts_with("impl ") && line.contains(" for ") { "" } else { name(head).unwrap_or("") };
        } else if let Some(member) = line.strip_prefix("    ").filter(|_| !owner.is_empty()) {
            let setter = member.split_once(' ').filter(|_| member.contains(" = \"")).map(|(_, setter)| setter);
            let field = member.strip_prefix("pub ").filter(|field| field.contains(": "));
            if let Some(found) = after(member, &["pub fn ", "fn "]).or(setter).or(field).and_then(name) {
                add(names, owner, "::", found, rest);
            }
        } else if line == "}" {
            owner = "";
        }
    }
}

/// Members of classes and interfaces, and functions.
fn javascript(text: &str, names: &mut Names) {
    let mut owner = "";
    for (line, rest) in lines(text) {
        if let Some(function) = line.strip_prefix("export function ").and_then(name) {
            add(names, "", ".", function, rest);
        } else if let Some(head) = after(line, &["export class ", "export interface "]) {
            owner = name(head).unwrap_or("");
        } else if let Some(head) = line.strip_prefix("export type ") {
            for (at, _) in head.match_indices(": ") {
                let before = head[..at].trim_end_matches('?');
                let start = before.rfind(|c: char| !c.is_alphanumeric()).map_or(0, |at| at + 1);
                add(names, name(head).unwrap_or(""), ".", &before[start..], "");
            }
        } else if let Some(member) = line.strip_prefix("  ").filter(|_| !owner.is_empty()) {
            let member = member.strip_prefix("readonly ").unwrap_or(member);
            if let Some(found) = name(member).filter(|found| member[found.len()..].starts_with(['(', ':', '?'])) {
                add(names, owner, ".", found, rest);
            }
        } else if line == "}" {
            owner = "";
        }
    }
}

/// Attributes and methods of classes, and functions.
fn python(text: &str, names: &mut Names) {
    let mut owner = "";
    for (line, rest) in lines(text) {
        let member = after(line, &["    def ", "        self.", "    "]).filter(|_| !owner.is_empty());
        if let Some(function) = line.strip_prefix("def ").and_then(name) {
            owner = "";
            add(names, "", ".", function, rest);
        } else if let Some(head) = line.strip_prefix("class ") {
            owner = name(head).unwrap_or("");
        } else if let Some(member) = member
            && let Some(found) = name(member).filter(|found| !found.starts_with('_'))
            && (line.starts_with("    def ") || after(&member[found.len()..], &[": ", " = "]).is_some())
        {
            add(names, owner, ".", found, rest);
        }
    }
}

/// Exported functions, methods, and fields of structs.
fn go(text: &str, names: &mut Names) {
    let is_exported = |name: &&str| name.starts_with(|c: char| c.is_ascii_uppercase());
    let mut owner = "";
    for (line, rest) in lines(text) {
        if let Some(function) = line.strip_prefix("func ") {
            let method = function.strip_prefix('(').and_then(|receiver| receiver.split_once(") "));
            let (receiver, function) = method.unwrap_or(("", function));
            let receiver = receiver.rsplit([' ', '*']).next().unwrap_or("");
            if let Some(found) = name(function).filter(is_exported) {
                add(names, receiver, ".", found, &rest[rest.find(function).unwrap_or(0)..]);
            }
        } else if let Some(head) = line.strip_prefix("type ") {
            owner = name(head).unwrap_or("");
        } else if let Some(member) = line.strip_prefix('\t').filter(|_| !owner.is_empty()) {
            for found in member.split(", ").map_while(name).filter(is_exported) {
                add(names, owner, ".", found, rest);
            }
        } else if line == "}" {
            owner = "";
        }
    }
}

/// The rows of the tables in a file of Markdown.
fn rows(path: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join(path)).expect("the table is there");
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    rows.map(cells).collect()
}

/// What stands between backquotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The names that the table has for each language, with the words that their parameters are to have.
fn table() -> Vec<(String, [Vec<(String, Vec<String>)>; 4])> {
    let entry = |quoted: &str| {
        let (name, words) = quoted.split_once('(').unwrap_or((quoted, ""));
        let words = words.trim_end_matches(')').split(',').filter(|word| !word.is_empty());
        (name.to_owned(), words.map(str::to_owned).collect())
    };
    let rows = rows("sdk/vocabulary.md").into_iter().filter(|row| row[1] != "Rust");
    let row = |row: Vec<String>| (row[0].clone(), std::array::from_fn(|at| quoted(&row[at + 1]).map(entry).collect()));
    rows.map(row).collect()
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word)
}

#[test]
fn every_name_is_in_its_sdk() {
    let mut wrong = Vec::new();
    for (at, language) in LANGUAGES.iter().enumerate() {
        let names = language.names();
        assert!(names.len() > 100, "{} has only {} names", language.title, names.len());
        for (what, cells) in table() {
            for (name, words) in &cells[at] {
                let is_there = names.get(name).is_some_and(|found| words.iter().all(|word| has_word(found, word)));
                if !is_there {
                    wrong.push(format!("{}: {what}: {name}", language.title));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "not in the SDKs:\n{}", wrong.join("\n"));
}

/// All but what is there for one language has a name in each.
#[test]
fn no_language_lacks_a_name() {
    let lacking = table().into_iter().filter(|(_, cells)| {
        let with = cells.iter().filter(|cell| !cell.is_empty()).count();
        with != 1 && with != LANGUAGES.len()
    });
    let lacking: Vec<_> = lacking.map(|(what, _)| what).collect();
    assert!(lacking.is_empty(), "some languages have no name for {lacking:?}");
}

#[test]
fn every_word_has_a_row() {
    let words = rows("wit/v0.1/attributes.md").into_iter().filter(|row| row[0] != "On" && !row[1].is_empty());
    // Those of operations are given as they are.
    let words = words.filter(|row| !row[0].starts_with("op.")).map(|row| format!("`{}.{}`", row[0], row[1]));
    let known: BTreeSet<_> = table().into_iter().map(|(what, _)| what).collect();
    let missing: Vec<_> = words.filter(|word| !known.contains(word)).collect();
    assert!(missing.is_empty(), "words of attributes.md without a row: {missing:?}");
}

/// The members of types that the table knows are all in it.
#[test]
fn nothing_is_there_that_the_table_does_not_have() {
    let mut missing = Vec::new();
    for (at, language) in LANGUAGES.iter().enumerate() {
        let known: BTreeSet<_> =
            table().into_iter().flat_map(|(_, cells)| cells[at].clone()).map(|(name, _)| name).collect();
        let owners: BTreeSet<_> =
            known.iter().filter_map(|name| Some(name.split_once(language.separator)?.0)).collect();
        for name in language.names().into_keys().filter(|name| !known.contains(name)) {
            if name.split_once(language.separator).is_some_and(|(owner, _)| owners.contains(owner)) {
                missing.push(format!("{}: {name}", language.title));
            }
        }
    }
    assert!(missing.is_empty(), "names without a row in sdk/vocabulary.md:\n{}", missing.join("\n"));
}

/// The options of a source in JavaScript, Python or Go, and whether an editor or a viewer of docs says what each means: above it, or, in
/// Python, in the list of the function that takes it.
fn options(text: &str) -> Vec<(String, bool)> {
    let (mut owner, mut before) = ("", "");
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(head) = after(line, &["export interface ", "class "]) {
            owner = name(head).filter(|name| name.ends_with("Options")).unwrap_or("");
        } else if line.contains(") Option {")
            && line.strip_prefix("func ").is_some_and(|rest| rest.starts_with(char::is_uppercase))
        {
            found.push((line.to_owned(), before.starts_with("//")));
        } else if !line.starts_with(' ') && !line.is_empty() {
            owner = "";
        } else if let Some((option, _)) = line.trim().split_once(": ").filter(|_| !owner.is_empty()) {
            let option = option.trim_end_matches('?');
            if name(option) == Some(option) {
                let is_listed = text.contains(&format!("    - {option}: "));
                found.push((format!("{owner}.{option}"), before.ends_with("*/") || is_listed));
            }
        }
        before = line;
    }
    found
}

/// Rust's are held to this by the compiler.
#[test]
fn each_option_is_described_where_an_author_looks() {
    for language in LANGUAGES.iter().filter(|language| language.title != "Rust") {
        let all: Vec<_> = language.texts().iter().flat_map(|text| options(text)).collect();
        assert!(all.len() > 50, "{} has only {} options", language.title, all.len());
        let silent: Vec<_> = all.iter().filter(|(_, described)| !described).map(|(option, _)| option).collect();
        assert!(silent.is_empty(), "{}: nothing says what these mean: {silent:?}", language.title);
    }
}
