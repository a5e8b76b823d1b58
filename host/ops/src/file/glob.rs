//! Shell patterns for one path component, as Go's `path/filepath.Match`: `*`, `?`, `[a-z]`, `[^a]` and `\` before a literal.

/// Whether `text` holds a character with a meaning in a pattern.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

/// Whether the whole of `name` matches `pattern`. A malformed pattern is an error that names it.
pub fn matches(pattern: &str, name: &str) -> anyhow::Result<bool> {
    let pattern = parse(pattern)?;
    let name: Vec<char> = name.chars().collect();
    Ok(run(&pattern, &name))
}

enum Token {
    Star,
    Any,
    Literal(char),
    Class { negated: bool, ranges: Vec<(char, char)> },
}

fn parse(pattern: &str) -> anyhow::Result<Vec<Token>> {
    let malformed = || anyhow::anyhow!("malformed pattern {pattern:?}: a bracket or a backslash is left open");
    let mut chars = pattern.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Token::Star,
            '?' => Token::Any,
            '\\' => Token::Literal(chars.next().ok_or_else(malformed)?),
            '[' => {
                let negated = chars.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                loop {
                    let low = match chars.next().ok_or_else(malformed)? {
                        ']' if !ranges.is_empty() => break,
                        '\\' => chars.next().ok_or_else(malformed)?,
                        c => c,
                    };
                    let high = if chars.next_if_eq(&'-').is_some() { chars.next().ok_or_else(malformed)? } else { low };
                    ranges.push((low, high));
                }
                Token::Class { negated, ranges }
            }
            c => Token::Literal(c),
        });
    }
    Ok(tokens)
}

/// Greedy with one point to come back to, so the time is at most pattern length times name length.
fn run(pattern: &[Token], name: &[char]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        let here = match pattern.get(p) {
            Some(Token::Star) => {
                star = Some((p + 1, n));
                p += 1;
                continue;
            }
            Some(Token::Any) => true,
            Some(Token::Literal(c)) => *c == name[n],
            Some(Token::Class { negated, ranges }) => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&name[n])) != *negated
            }
            None => false,
        };
        if here {
            (p, n) = (p + 1, n + 1);
        } else if let Some((after, from)) = star {
            star = Some((after, from + 1));
            (p, n) = (after, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|token| matches!(token, Token::Star))
}

#[cfg(test)]
mod tests {
    #[test]
    fn table() {
        let cases = [
            ("*", "abc", true),
            ("*.go", "main.go", true),
            ("*.go", "main.rs", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXc", false),
            ("?.t", "é.t", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[]a]", "]", true),
            (r"\*", "*", true),
            (r"\*", "a", false),
            ("", "", true),
            ("", "a", false),
        ];
        for (pattern, name, want) in cases {
            assert_eq!(super::matches(pattern, name).unwrap(), want, "{pattern:?} on {name:?}");
        }
        for bad in ["[", "[a", "\\", "[a-"] {
            assert!(super::matches(bad, "a").is_err(), "{bad:?} is malformed");
        }
    }
}
