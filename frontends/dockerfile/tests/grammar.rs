//! Dockerfiles made from a grammar, with what each must be read as; and words whose value is known by how they were made.

#[path = "grammar/file.rs"]
mod file;
#[path = "grammar/word.rs"]
mod word;

use dockerfile::{
    Dockerfile,
    parse::{Node, parse},
    shell::{Rules, expand},
    stage,
};
use pintle_sdk::testing::FakeHost;
use proptest::prelude::*;

/// What the reader makes of an instruction, in the generator's terms.
fn read(node: &Node) -> file::Read {
    file::Read {
        text: node.text.to_string(),
        lines: (node.lines.first, node.lines.last),
        heredocs: node.heredocs.iter().map(|heredoc| heredoc.content.clone()).collect(),
        comments: node.comments.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// A file that is right is read as it was meant, without a problem, and printed back to the byte.
    #[test]
    fn right_files_are_read_as_they_are_meant(file in file::file()) {
        let (text, meant) = file.print();
        let (tree, mut problems) = parse(&text);
        prop_assert_eq!(tree.to_string(), text.as_str());
        prop_assert_eq!(tree.nodes().map(read).collect::<Vec<_>>(), meant);
        stage::Dockerfile::read(&tree, &mut problems);
        prop_assert!(problems.is_empty(), "{:?}\n{}", problems, text);
    }

    /// A file that is slightly wrong is printed back to the byte too, reads as itself again, and is built or refused.
    #[test]
    fn wrong_files_are_printed_back(file in file::file(), harm in prop::collection::vec(file::harm(), 1..4)) {
        let text = harm.iter().fold(file.print().0, |text, harm| harm.done_to(&text));
        let (tree, _) = parse(&text);
        prop_assert_eq!(tree.to_string(), text.as_str());
        let again = tree.to_string();
        prop_assert_eq!(format!("{:?}", parse(&again)), format!("{:?}", parse(&text)));
        let host = FakeHost::new()
            .image("docker.io/library/alpine:latest", "sha256:1", r#"{"architecture":"amd64","os":"linux","config":{}}"#)
            .file("local://context", ".keep", "")
            .file("local://dockerfile", "Dockerfile", &text);
        if let Err(error) = host.build(&Dockerfile, &[]) {
            prop_assert!(!error.message.is_empty());
            prop_assert!(!["internal", "unknown-attr", "unknown-kind"].contains(&error.code.as_str()), "{:?}", error);
        }
    }

    /// A word has the value that its parts have.
    #[test]
    fn words_have_the_value_of_their_parts(word in word::word(), backtick: bool) {
        let escape = if backtick { '`' } else { '\\' };
        let text = word.print(escape);
        match (expand(&text, Rules::new(escape), &word::variables()), word.value(escape)) {
            (Ok(expansion), Some(value)) => prop_assert_eq!(expansion.text, value, "{}", text),
            (Err(_), None) => {}
            (got, want) => prop_assert!(false, "{}: {:?} instead of {:?}", text, got, want),
        }
    }
}
