//! Lines cover the whole text, and what they say of places is true.
#![no_main]

use dockerfile::{
    lex::{Lexer, Line},
    source::Span,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|source: &str| {
    let (mut lexer, mut problems) = (Lexer::new(source, None), Vec::new());
    loop {
        let before = lexer.offset();
        let Some(line) = lexer.next_line(&mut problems) else { break };
        assert!(lexer.offset() > before, "the lexer stands still");
        if let Line::Logical(line) = line {
            assert!(line.lines.first >= 1 && line.lines.first <= line.lines.last && line.lines.last <= lexer.line());
            for (at, c) in line.text.char_indices().step_by(7) {
                let span = line.span(at, at + c.len_utf8());
                assert_eq!(span.of(source), c.to_string(), "the place of a character");
            }
        }
    }
    assert_eq!(lexer.offset(), source.len());
    let within = |span: Span| span.start <= span.end && span.end as usize <= source.len();
    assert!(problems.iter().all(|problem| within(problem.span)));
});
