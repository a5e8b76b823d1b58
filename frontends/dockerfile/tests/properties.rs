//! What holds for every text, tried on random ones.

use std::collections::BTreeMap;

use dockerfile::{
    Dockerfile,
    lint::{self, Lint},
    parse::parse,
    shell::{Empty, Pattern, Rules, expand},
    source::{Problem, Span},
    stage,
};
use pintle_sdk::testing::FakeHost;
use proptest::prelude::*;

/// Pieces that Dockerfiles are made of, so that random texts reach deep.
const PIECES: [&str; 44] = [
    "FROM ",
    "alpine",
    " AS a",
    "\n",
    "\n",
    "\n",
    "RUN ",
    "COPY ",
    "ADD ",
    "ENV ",
    "ARG ",
    "LABEL ",
    "ONBUILD ",
    "CMD ",
    "HEALTHCHECK ",
    "--from=a ",
    "--mount=type=cache,target=/c ",
    "--chmod=",
    "--",
    "<<EOF",
    "<<-\"X\"",
    "EOF\n",
    "\tX\n",
    "[\"a\", \"b\"]",
    "[",
    "]",
    "\"",
    "'",
    "\\",
    "\\\n",
    "# escape=`\n",
    "#",
    "`\n",
    "$A",
    "${A:-b}",
    "${",
    "}",
    "=",
    " ",
    "\t",
    "é",
    "\u{feff}",
    "\r\n",
    "a b",
];

fn any_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(PIECES.as_slice()).prop_map(str::to_string),
        1 => any::<String>(),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn check_span(span: Span, source: &str) {
    assert!(span.start <= span.end && span.end as usize <= source.len(), "{span:?} is outside of the source");
    assert!(source.is_char_boundary(span.start as usize), "{span:?} begins inside of a character");
}

fn check_problems(problems: &[Problem], source: &str) {
    for problem in problems {
        check_span(problem.span, source);
        assert!(!problem.message.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Parsing never fails, its tree prints back what it read, and every place is inside of the text.
    #[test]
    fn a_tree_prints_back_what_it_read(source in any_text()) {
        let (tree, mut problems) = parse(&source);
        prop_assert_eq!(tree.to_string(), source.as_str());
        let mut end = 0;
        for item in &tree.items {
            prop_assert_eq!(item.span.start, end);
            end = item.span.end;
        }
        for node in tree.nodes() {
            check_span(node.span, &source);
            check_span(node.keyword.span, &source);
            node.flags.iter().for_each(|flag| check_span(flag.span, &source));
            node.heredocs.iter().for_each(|heredoc| check_span(heredoc.span, &source));
            // A keyword may be cut by a continued line.
            let written = node.keyword.span.of(&source);
            prop_assert!(written == node.keyword.text || written.contains('\n'), "{:?} is not {:?}", written, node.keyword);
        }
        let file = stage::Dockerfile::read(&tree, &mut problems);
        check_problems(&problems, &source);
        lint::check(&tree, &file, &mut Lint::default());
    }

    /// Parsing what was printed gives the same tree.
    #[test]
    fn parsing_again_gives_the_same(source in any_text()) {
        let printed = parse(&source).0.to_string();
        let describe = |text: &str| format!("{:?}", parse(text));
        prop_assert_eq!(describe(&source), describe(&printed));
    }

    /// The whole frontend answers, or says what is wrong with a place in the file; it never panics.
    #[test]
    fn a_build_answers_or_says_where(source in any_text()) {
        let source = format!("FROM alpine\n{source}");
        let config = r#"{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:1"]}}"#;
        let host = FakeHost::new()
            .image("docker.io/library/alpine:latest", "sha256:1", config)
            .file("local://context", ".keep", "")
            .file("local://dockerfile", "Dockerfile", &source);
        if let Err(error) = host.build(&Dockerfile, &[]) {
            prop_assert!(!error.message.is_empty());
            prop_assert!(error.code != "internal" && error.code != "unknown-attr", "{:?}", error);
        }
    }

    /// Text without special characters stays as it is.
    #[test]
    fn plain_text_is_not_changed(text in "[a-zA-Z0-9 /.:_-]*") {
        let expansion = expand(&text, Rules::new('\\'), &Empty).unwrap();
        prop_assert_eq!(&expansion.text, &text);
        prop_assert_eq!(expansion.words, text.split_whitespace().collect::<Vec<_>>());
    }

    /// Expansion against a model that knows each piece's value.
    #[test]
    fn expansion_is_that_of_its_pieces(pieces in prop::collection::vec(piece(), 0..12)) {
        let variables: BTreeMap<String, String> =
            [("A", "one two"), ("E", "")].map(|(name, value)| (name.to_string(), value.to_string())).into();
        let (text, want): (Vec<String>, Vec<String>) = pieces.into_iter().unzip();
        let expansion = expand(&text.concat(), Rules::new('\\'), &variables).unwrap();
        prop_assert_eq!(expansion.text, want.concat());
    }

    /// Random words never panic, whatever the rules.
    #[test]
    fn expansion_never_panics(source in any_text(), flags in any::<[bool; 4]>()) {
        let [keep_quotes, keep_escapes, ignore_quotes, keep_unset] = flags;
        let rules = Rules { keep_quotes, keep_escapes, ignore_quotes, keep_unset, ..Rules::new('\\') };
        let _ = expand(&source, rules, &Empty);
    }

    /// Patterns against a matcher that tries everything.
    #[test]
    fn patterns_match_as_by_trying(pattern in "[ab*?]{0,6}", value in "[abc]{0,8}", longest: bool) {
        let compiled = Pattern::parse(&pattern).unwrap();
        let ends = || (0..=value.len()).filter(|end| glob(pattern.as_bytes(), &value.as_bytes()[..*end]));
        let end = if longest { ends().max() } else { ends().min() };
        prop_assert_eq!(compiled.trim_prefix(&value, longest), &value[end.unwrap_or(0)..]);
        let starts = || (0..=value.len()).filter(|start| glob(pattern.as_bytes(), &value.as_bytes()[*start..]));
        let start = if longest { starts().min() } else { starts().max() };
        prop_assert_eq!(compiled.trim_suffix(&value, longest), &value[..start.unwrap_or(value.len())]);
    }
}

/// No input makes the frontend recurse without bound.
#[test]
fn deep_nesting_is_flat() {
    let deep =
        |piece: &str, inside: &str, end: &str| format!("{}{inside}{}", piece.repeat(100_000), end.repeat(100_000));
    let onbuild = deep("ONBUILD ", "RUN a", "");
    let (tree, mut problems) = parse(&onbuild);
    stage::Dockerfile::read(&tree, &mut problems);
    assert_eq!(tree.to_string(), onbuild);
    assert!(expand(&deep("${A:-", "x", "}"), Rules::new('\\'), &Empty).is_err());
    let json = format!("FROM a\nRUN {}", deep("[", "1", "]"));
    assert!(parse(&json).1.is_empty(), "what is nested this deep is no list, but a line for the shell");
}

/// Replacements inside of replacements multiply, but not without end.
#[test]
fn replacements_are_bounded() {
    let variables: BTreeMap<String, String> = [("A".to_string(), "xxxxxxx".to_string())].into();
    let nested = |depth: usize| format!("{}y{}", "${A//x/".repeat(depth), "}".repeat(depth));
    let small = expand(&nested(5), Rules::new('\\'), &variables).unwrap();
    assert_eq!(small.text.len(), 7usize.pow(5));
    let error = expand(&nested(50), Rules::new('\\'), &variables).unwrap_err();
    assert!(error.ends_with("longer than 1048576 bytes"), "{error}");
}

/// A piece of a word, and what it becomes where A is `one two` and E is empty.
fn piece() -> impl Strategy<Value = (String, String)> {
    let pairs = [
        ("x", "x"),
        (" ", " "),
        ("\\$", "$"),
        ("\\\\", "\\"),
        ("'$A\"'", "$A\""),
        ("\"$A'\"", "one two'"),
        ("${A}", "one two"),
        ("${E}", ""),
        ("${U}", ""),
        ("${A:-x}", "one two"),
        ("${E:-x}", "x"),
        ("${E-x}", ""),
        ("${U-$A}", "one two"),
        ("${A:+${A}}", "one two"),
        ("${E:+x}", ""),
        ("${E+x}", "x"),
        ("${A#one }", "two"),
        ("${A%% *}", "one"),
        ("${A/o/0}", "0ne two"),
        ("${A//o/0}", "0ne tw0"),
        ("${A:?no}", "one two"),
    ];
    prop::sample::select(pairs.to_vec()).prop_map(|(text, want)| (text.to_string(), want.to_string()))
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|skip| glob(rest, &text[skip..])),
        Some((first, rest)) => {
            text.split_first().is_some_and(|(c, text)| (first == c || *first == b'?') && glob(rest, text))
        }
    }
}
