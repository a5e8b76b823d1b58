//! Expected text with holes: `[..]` is anything within a line, a line `...` any number of lines.

/// Why `actual` is not as `expected` says, or `None` when it is.
pub fn difference(expected: &str, actual: &str) -> Option<String> {
    let expected: Vec<&str> = expected.lines().collect();
    let actual: Vec<&str> = actual.lines().collect();
    if lines_match(&expected, &actual) {
        return None;
    }
    let missing =
        expected.iter().find(|line| **line != "..." && !actual.iter().any(|actual| line_matches(line, actual)));
    let hint = missing.map_or(String::new(), |line| format!("\nno line is like: {line}"));
    Some(format!("expected:\n{}\n\nactual:\n{}\n{hint}", expected.join("\n"), actual.join("\n")))
}

fn lines_match(expected: &[&str], actual: &[&str]) -> bool {
    // reach[a]: the expected lines so far can have taken the first `a` actual ones.
    let mut reach = vec![false; actual.len() + 1];
    reach[0] = true;
    for line in expected {
        let mut next = vec![false; actual.len() + 1];
        for at in 0..=actual.len() {
            if *line == "..." {
                next[at] = reach[at] || (at > 0 && next[at - 1]);
            } else if at > 0 && reach[at - 1] {
                next[at] = line_matches(line, actual[at - 1]);
            }
        }
        reach = next;
    }
    reach[actual.len()]
}

/// Whether `line` is `pattern`, where `[..]` stands for anything.
pub fn line_matches(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split("[..]");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes() {
        assert!(line_matches("a[..]c", "abc") && line_matches("[..]", "") && line_matches("x[..]y[..]z", "x1y2y3z"));
        assert!(!line_matches("a[..]c", "ab") && !line_matches("ab", "abc") && !line_matches("ab[..]b", "ab"));
        assert_eq!(difference("a\n...\nz", "a\nb\nc\nz"), None);
        assert_eq!(difference("...\nb", "a\nb"), None);
        assert!(difference("a\nb", "a\nc").is_some_and(|text| text.contains("no line is like: b")));
        assert!(difference("...\na", "a\nb").is_some());
    }
}
