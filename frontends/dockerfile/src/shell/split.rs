//! Cutting a line into words without resolving them.

/// A range of bytes.
pub type Range = std::ops::Range<usize>;

/// The words of `text`, cut at space outside of quotes; quotes and escapes stay. An escape character at the very end is left out.
pub fn words(text: &str, escape: char) -> Vec<Range> {
    let mut out = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c.is_whitespace() && quote.is_none() {
            out.extend(start.take().map(|start| start..at));
            continue;
        }
        start.get_or_insert(at);
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '\'' || c == '"' => quote = Some(c),
            _ => {}
        }
        if c == escape && quote != Some('\'') && chars.next().is_none() {
            out.extend(start.take().filter(|start| *start < at).map(|start| start..at));
        }
    }
    out.extend(start.map(|start| start..text.len()));
    out
}

#[cfg(test)]
mod tests {
    use super::words;

    fn split(text: &str) -> Vec<&str> {
        words(text, '\\').into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(split(" a 'b c'd \"e \\\" f\" "), ["a", "'b c'd", "\"e \\\" f\""]);
        assert_eq!(split("a\\ b \\\"c d"), ["a\\ b", "\\\"c", "d"]);
        assert_eq!(split("''"), ["''"]);
        assert_eq!(split("'a b"), ["'a b"]);
        assert_eq!(split("a\\"), ["a"]);
        assert!(split("\\").is_empty());
        assert!(split("").is_empty());
    }
}
