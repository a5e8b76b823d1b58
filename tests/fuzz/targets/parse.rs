//! A tree prints back what it read, reading it again gives the same tree, and no text makes reading or checking panic.
#![no_main]

use dockerfile::{
    lint::{self, Lint},
    parse::parse,
    stage,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|source: &str| {
    let (tree, mut problems) = parse(source);
    let printed = tree.to_string();
    assert_eq!(printed, source);
    assert_eq!(format!("{:?}", parse(&printed).0.items), format!("{:?}", tree.items));
    let file = stage::Dockerfile::read(&tree, &mut problems);
    lint::check(&tree, &file, &mut Lint::default());
    for problem in &problems {
        assert!(problem.span.start <= problem.span.end && problem.span.end as usize <= source.len());
        assert!(!problem.message.is_empty());
    }
});
