//! Patterns of paths as `.dockerignore` has them: the semantics of moby/patternmatcher.
//!
//! Paths are relative, clean and separated by `/`. In a pattern, `*` is any run of bytes but `/`, `?` one character but `/`,
//! `[a-z]` a class, `\` takes the meaning from the next character, `**` any run of whole names, none included. A pattern that
//! begins with `!` takes back what earlier ones matched. A pattern that matches a directory matches all that is below it.

use std::{fmt, path::Path};

use regex::Regex;

/// What makes a path a pattern.
pub(crate) const WILDCARDS: [char; 4] = ['*', '?', '[', '\\'];

/// The longest pattern, in bytes; a longer one is refused.
pub const PATTERN_LEN_MAX: usize = 4096;
/// The most patterns in one list; a longer list is refused.
pub const PATTERNS_MAX: usize = 10_000;

/// A list of patterns, ready to match.
#[derive(Clone, Debug)]
pub struct Matcher {
    patterns: Vec<Pattern>,
}

/// A pattern that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("pattern {pattern:?}: {why}")]
pub struct PatternError {
    /// The pattern, as it was given.
    pub pattern: String,
    why: String,
}

/// What the patterns said of a directory: handed down when a tree is walked, so that no pattern is tried on a parent again.
#[derive(Clone, Debug, Default)]
pub struct State {
    matched: Vec<bool>,
}

#[derive(Clone)]
struct Pattern {
    text: String,
    takes_back: bool,
    whole: Test,
    /// One test a name, for asking whether something below a directory could match; `None` is `**`.
    names: Vec<Option<Test>>,
}

/// A test of a whole path, or of one name.
#[derive(Clone)]
pub(crate) enum Test {
    Exact(String),
    Regex(Regex),
}

impl Matcher {
    /// Reads patterns. Empty ones are skipped; each is made clean (`./a//b/../c` is `a/c`) and relative.
    pub fn new<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Result<Matcher, PatternError> {
        let mut list = Vec::new();
        for text in patterns {
            let text = text.as_ref();
            if let Some(pattern) = Pattern::new(text)? {
                list.push(pattern);
            }
            if list.len() > PATTERNS_MAX {
                return Err(error(text, format!("more than {PATTERNS_MAX} patterns")));
            }
        }
        Ok(Matcher { patterns: list })
    }

    /// A test of one name of a path.
    pub(crate) fn name(pattern: &str) -> Result<Test, PatternError> {
        Test::new(pattern).map_err(|why| error(pattern, why))
    }

    /// Whether there is no pattern, so that nothing matches.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether the list matches `path` or a directory that it lies in.
    pub fn matches(&self, path: &str) -> bool {
        let mut state = State::default();
        let mut matched = false;
        for end in path.match_indices('/').map(|(at, _)| at).chain([path.len()]) {
            (matched, state) = self.visit(&path[..end], &state);
        }
        matched
    }

    /// As [`matches`](Self::matches), for a walk from the top: `parent` is what this answered for the directory of `path`
    /// (`State::default()` at the top). Answers whether it matches, and the state for what lies in it.
    pub fn visit(&self, path: &str, parent: &State) -> (bool, State) {
        let mut matched = false;
        let mut state = State { matched: Vec::with_capacity(self.patterns.len()) };
        for (i, pattern) in self.patterns.iter().enumerate() {
            let hit = parent.matched.get(i).copied().unwrap_or(false) || pattern.whole.is_match(path);
            state.matched.push(hit);
            if hit {
                matched = !pattern.takes_back;
            }
        }
        (matched, state)
    }

    /// Whether something below directory `dir` could match a pattern that does not match `dir` itself.
    pub fn may_match_below(&self, dir: &str) -> bool {
        self.patterns.iter().any(|pattern| !pattern.takes_back && pattern.may_match_below(dir))
    }

    /// Whether something below directory `dir`, which matches, could be taken back by a `!` pattern.
    pub fn may_take_back_below(&self, dir: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.takes_back && pattern.may_match_below(dir))
    }
}

impl Pattern {
    fn new(given: &str) -> Result<Option<Pattern>, PatternError> {
        if given.len() > PATTERN_LEN_MAX {
            let start: String = given.chars().take(40).collect();
            return Err(error(&start, format!("longer than {PATTERN_LEN_MAX} bytes")));
        }
        let trimmed = given.trim();
        let (takes_back, rest) = match trimmed.strip_prefix('!') {
            Some(rest) => (true, rest.trim_start()),
            None => (false, trimmed),
        };
        if rest.is_empty() {
            return if takes_back { Err(error(given, "nothing follows the \"!\"".to_owned())) } else { Ok(None) };
        }
        let text = clean(rest);
        let whole = Test::new(&text).map_err(|why| error(given, why))?;
        let names = text
            .split('/')
            .map(|name| if name.contains("**") { Ok(None) } else { Test::new(name).map(Some) })
            .collect::<Result<_, _>>()
            // A class may hold a `/`, and then the names are no patterns: match anything below.
            .unwrap_or_else(|_| vec![None]);
        Ok(Some(Pattern { text, takes_back, whole, names }))
    }

    fn may_match_below(&self, dir: &str) -> bool {
        if dir.is_empty() || dir == "." {
            return true;
        }
        let mut names = self.names.iter();
        for part in dir.split('/') {
            match names.next() {
                None => return false,
                Some(None) => return true,
                Some(Some(test)) if !test.is_match(part) => return false,
                Some(Some(_)) => {}
            }
        }
        names.next().is_some()
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.takes_back { "!" } else { "" }, self.text)
    }
}

impl Test {
    fn new(text: &str) -> Result<Test, String> {
        if !text.contains(WILDCARDS) {
            return Ok(Test::Exact(text.to_owned()));
        }
        let regex = Regex::new(&to_regex(text)?).map_err(|_| "a class in brackets is not well formed".to_owned())?;
        Ok(Test::Regex(regex))
    }

    pub(crate) fn is_match(&self, path: &str) -> bool {
        match self {
            Test::Exact(text) => text == path,
            Test::Regex(regex) => regex.is_match(path),
        }
    }
}

fn to_regex(text: &str) -> Result<String, String> {
    let mut regex = String::from("(?s)^");
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '*' if chars.next_if_eq(&'*').is_some() => {
                while chars.next_if_eq(&'*').is_some() {}
                chars.next_if_eq(&'/');
                regex.push_str(if chars.peek().is_none() { ".*" } else { "(.*/)?" });
            }
            '*' => regex.push_str("[^/]*"),
            '?' => regex.push_str("[^/]"),
            '[' => push_class(&mut chars, &mut regex)?,
            '\\' => {
                let next = chars.next().ok_or("it ends in a backslash")?;
                regex.push_str(&regex::escape(next.encode_utf8(&mut [0; 4])));
            }
            plain => regex.push_str(&regex::escape(plain.encode_utf8(&mut [0; 4]))),
        }
    }
    regex.push('$');
    Ok(regex)
}

/// `[a-c]`, `[^a]`; a `]` that stands first is one of the class.
fn push_class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, regex: &mut String) -> Result<(), String> {
    regex.push('[');
    if chars.next_if_eq(&'^').is_some() {
        regex.push('^');
    }
    let mut empty = true;
    loop {
        match chars.next().ok_or("a \"[\" has no \"]\"")? {
            ']' if !empty => break,
            '-' if !empty && chars.peek() != Some(&']') => regex.push('-'),
            '\\' => regex.push_str(&format!(r"\u{{{:x}}}", chars.next().ok_or("it ends in a backslash")? as u32)),
            plain => regex.push_str(&format!(r"\u{{{:x}}}", plain as u32)),
        }
        empty = false;
    }
    regex.push(']');
    Ok(())
}

/// The path without `.`, `..`, double, leading and trailing slashes; `..` does not go above the top. `.` for the top itself.
pub fn clean(path: &str) -> String {
    let mut names = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    if names.is_empty() { ".".to_owned() } else { names.join("/") }
}

fn error(pattern: &str, why: String) -> PatternError {
    PatternError { pattern: pattern.to_owned(), why }
}

/// The patterns of a `.dockerignore` file: one a line; lines that begin with `#` and empty ones left out. A byte order mark is skipped.
pub fn parse_ignore_file(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().filter(|line| !line.starts_with('#')).map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| match line.strip_prefix('!') {
            Some(rest) if rest.trim().is_empty() => line.to_owned(),
            Some(rest) => format!("!{}", clean(rest.trim())),
            None => clean(line),
        })
        .collect()
}

/// Include and exclude patterns together, as a walk of a tree asks them. Without include patterns, all is included.
#[derive(Clone, Debug)]
pub struct Filter {
    include: Option<Matcher>,
    exclude: Matcher,
}

/// What a [`Filter`] said of a directory; see [`State`].
#[derive(Clone, Debug, Default)]
pub struct FilterState {
    include: State,
    exclude: State,
}

/// What a [`Filter`] says of one path.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// It belongs to the selection.
    pub selected: bool,
    /// For a directory: something below it may belong to the selection. A directory that is not selected but has selected
    /// files below it comes along as their parent.
    pub descend: bool,
    /// For what lies in it.
    pub state: FilterState,
}

impl Filter {
    /// Reads both lists.
    pub fn new<S: AsRef<str>>(include: &[S], exclude: &[S]) -> Result<Filter, PatternError> {
        let include = Matcher::new(include)?;
        let include = (!include.is_empty()).then_some(include);
        Ok(Filter { include, exclude: Matcher::new(exclude)? })
    }

    /// Whether it selects everything.
    pub fn is_all(&self) -> bool {
        self.include.is_none() && self.exclude.is_empty()
    }

    /// Judges `path`; `parent` is the state of its directory (`FilterState::default()` at the top).
    pub fn visit(&self, path: &str, parent: &FilterState) -> Verdict {
        let (excluded, exclude) = self.exclude.visit(path, &parent.exclude);
        let (included, include) = match &self.include {
            Some(matcher) => matcher.visit(path, &parent.include),
            None => (true, State::default()),
        };
        let may_include = included || self.include.as_ref().is_some_and(|matcher| matcher.may_match_below(path));
        let may_keep = !excluded || self.exclude.may_take_back_below(path);
        Verdict {
            selected: included && !excluded,
            descend: may_include && may_keep,
            state: FilterState { include, exclude },
        }
    }

    /// Whether one path, judged from the top, belongs to the selection.
    pub fn selects(&self, path: &Path) -> bool {
        let path = path.to_string_lossy();
        self.include.as_ref().is_none_or(|matcher| matcher.matches(&path)) && !self.exclude.matches(&path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `patterns | paths that match | paths that do not`
    const CASES: &str = "
        **            | file file/ dir/file .f        |
        **/           | file dir/file                 |
        **/**         | dir/file dir/dir/file         |
        dir/**        | dir/file dir/dir/file dir/.x  | dir di
        **/dir        | dir dir/file a/dir a/b/dir/f  | dirs adir
        **/dir2/*     | dir/dir2/file dir/dir2/a/b    | dir2 dir2x/file
        **/dir2/**    | dir/dir2/file dir/dir2/a/b    | dir/dir2
        **file        | file dir/file dir/a/file      | dir/file.txt
        **/file       | file dir/file                 | dir/afile
        a**b          | ab a/b a/x/b                  | a xb
        abc           | abc abc/d                     | abcd ab x/abc
        a*            | a abc a/b/c                   | ba x/a
        *.go          | a.go .go a.go/x               | a/b.go ago
        a?c           | abc aéc                       | a/c ac abbc
        a[b-d]e       | ace ade                       | aae afe a[b-d]e
        a[^b]c        | adc                           | abc
        a[]]c         | a]c                           | abc
        a[-]c         | a-c                           | abc
        a\\*c         | a*c                           | abc
        a.c+(d)|$e    | a.c+(d)|$e                    | abc+(d)|$e
        /abc/         | abc abc/d                     | x/abc
        ./a//b/../c   | a/c                           | a/b
        *, !a/b       | a b a/c                       | a/b a/b/c
        a, !a/b, a/b/c | a a/b/c                      | a/b a/b/d
        !x, x         | x                             | y
        **/*.md, !README.md | a.md a/README.md        | README.md
        util/docker/* | util/docker/a                 | util/docker utils/docker/a
    ";

    fn cases() -> impl Iterator<Item = (Matcher, Vec<&'static str>, Vec<&'static str>)> {
        CASES.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| {
            let (patterns, rest) = line.split_once(" |").unwrap();
            let (hits, misses) = rest.rsplit_once("|").unwrap();
            let (hits, misses) =
                if misses.trim_start().starts_with("$e") { rest.split_once("  | ").unwrap() } else { (hits, misses) };
            let matcher = Matcher::new(patterns.split(", ").map(str::trim)).unwrap();
            (matcher, hits.split_whitespace().collect(), misses.split_whitespace().collect())
        })
    }

    #[test]
    fn patterns_match_what_they_should() {
        for (matcher, hits, misses) in cases() {
            for hit in hits {
                assert!(matcher.matches(hit.trim_end_matches('/')), "{matcher:?} must match {hit}");
            }
            for miss in misses {
                assert!(!matcher.matches(miss), "{matcher:?} must not match {miss}");
            }
        }
    }

    /// A walk that goes down only where a pattern may match sees every match.
    #[test]
    fn nothing_that_matches_lies_below_what_is_skipped() {
        for (matcher, hits, _) in cases() {
            for hit in hits {
                let hit = hit.trim_end_matches('/');
                for (at, _) in hit.match_indices('/') {
                    let dir = &hit[..at];
                    assert!(matcher.matches(dir) || matcher.may_match_below(dir), "{matcher:?}: {hit} below {dir}");
                }
            }
        }
    }

    #[test]
    fn malformed_patterns_are_refused() {
        let long = "a".repeat(PATTERN_LEN_MAX + 1);
        for bad in ["!", " ! ", "a[", "[]a", "a\\", "[^]", "[z-a]", &long] {
            assert!(Matcher::new([bad]).is_err(), "{bad:?}");
        }
        assert!(Matcher::new(vec!["a"; PATTERNS_MAX + 1]).is_err());
    }

    #[test]
    fn ignore_files_are_read_line_by_line() {
        let text = "\u{feff}# comment\n\n/a/\n  b  \r\n!/c/./d\n ! e\n#x\n..\n";
        assert_eq!(parse_ignore_file(text), ["a", "b", "!c/d", "!e", "."]);
    }

    #[test]
    fn filters_walk_into_what_may_hold_a_selected_file() {
        let filter = Filter::new(&["src/*.rs", "docs"], &["docs/private", "!docs/private/index", "**/gen"]).unwrap();
        let top = FilterState::default();
        let judge = |path: &str| {
            let mut verdict = None;
            let mut state = top.clone();
            for end in path.match_indices('/').map(|(at, _)| at).chain([path.len()]) {
                let answer = filter.visit(&path[..end], &state);
                state = answer.state.clone();
                verdict = Some((answer.selected, answer.descend));
            }
            verdict.unwrap()
        };
        assert_eq!(judge("src"), (false, true));
        assert_eq!(judge("src/main.rs"), (true, true));
        assert_eq!(judge("src/deep"), (false, false));
        assert_eq!(judge("docs"), (true, true));
        assert_eq!(judge("docs/private"), (false, true));
        assert_eq!(judge("docs/private/index"), (true, true));
        assert_eq!(judge("docs/private/a"), (false, false));
        assert_eq!(judge("docs/gen"), (false, false));
        assert_eq!(judge("target"), (false, false));
        assert!(filter.selects(Path::new("docs/a")) && !filter.selects(Path::new("docs/gen/a")));
    }
}
