//! Shell patterns (`*`, `?`, `\x`) as they stand in `${name#pattern}`, `${name%pattern}` and `${name/pattern/text}`.
//!
//! Character classes have no meaning here: `[` and `]` stand for themselves.

use super::MAX_EXPANSION_BYTES;

/// A pattern cut at its stars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// What stands between the stars; never empty. One segment means that there is no star.
    segments: Vec<Vec<Glyph>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Glyph {
    Any,
    Char(char),
}

impl Glyph {
    fn matches(self, c: char) -> bool {
        self == Glyph::Any || self == Glyph::Char(c)
    }
}

impl Pattern {
    /// Reads a pattern. A backslash may stand before `*`, `?`, `\`, `/` and `}`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut segments = vec![Vec::new()];
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let glyph = match c {
                '*' => {
                    segments.push(Vec::new());
                    continue;
                }
                '?' => Glyph::Any,
                '\\' => match chars.next() {
                    Some(c @ ('*' | '?' | '\\' | '/' | '}')) => Glyph::Char(c),
                    Some(c) => return Err(format!("invalid escape '\\{c}'")),
                    None => return Err("it ends with a backslash".to_string()),
                },
                c => Glyph::Char(c),
            };
            if let Some(last) = segments.last_mut() {
                last.push(glyph);
            }
        }
        Ok(Pattern { segments })
    }

    /// `value` without the shortest or the longest prefix that matches.
    pub fn trim_prefix(&self, value: &str, longest: bool) -> String {
        let chars: Vec<char> = value.chars().collect();
        let end = self.match_at(&chars, 0, longest).unwrap_or(0);
        chars[end..].iter().collect()
    }

    /// `value` without the shortest or the longest suffix that matches.
    pub fn trim_suffix(&self, value: &str, longest: bool) -> String {
        let reversed: Vec<char> = value.chars().rev().collect();
        let segments = self.segments.iter().rev().map(|segment| segment.iter().rev().copied().collect()).collect();
        let end = Pattern { segments }.match_at(&reversed, 0, longest).unwrap_or(0);
        reversed[end..].iter().rev().collect()
    }

    /// `value` with the first match, or all of them, replaced. Matches are as long as can be and do not overlap. `None` where it
    /// becomes longer than [`MAX_EXPANSION_BYTES`].
    pub fn replace(&self, value: &str, replacement: &str, all: bool) -> Option<String> {
        let chars: Vec<char> = value.chars().collect();
        let (mut out, mut at, mut last_end) = (String::with_capacity(value.len()), 0, None);
        while at <= chars.len() {
            let Some((start, end)) = self.find(&chars, at) else { break };
            out.extend(&chars[at..start]);
            // An empty match right behind another one does not count.
            if end > start || last_end != Some(start) {
                out.push_str(replacement);
            }
            last_end = Some(end);
            if out.len() > MAX_EXPANSION_BYTES {
                return None;
            }
            at = end;
            if start == end {
                // Nothing was matched: step over a character, or the same nothing is found again.
                out.extend(chars.get(end));
                at += 1;
            }
            if !all {
                break;
            }
        }
        out.extend(&chars[at.min(chars.len())..]);
        Some(out)
    }

    /// The leftmost match at or after `from`, as long as can be.
    fn find(&self, chars: &[char], from: usize) -> Option<(usize, usize)> {
        let first = &self.segments[0];
        let start = (from..=chars.len()).find(|start| fits(first, chars, *start))?;
        // What follows the first segment fits behind its leftmost place if it fits behind any.
        self.match_at(chars, start, true).map(|end| (start, end))
    }

    /// The end of a match that begins at `start`.
    fn match_at(&self, chars: &[char], start: usize, longest: bool) -> Option<usize> {
        let (first, rest) = self.segments.split_first()?;
        let mut end = fits(first, chars, start).then_some(start + first.len())?;
        let Some((last, middle)) = rest.split_last() else { return Some(end) };
        for segment in middle {
            end = (end..=chars.len()).find(|at| fits(segment, chars, *at))? + segment.len();
        }
        let mut places = end..=chars.len();
        let at = if longest {
            places.rev().find(|at| fits(last, chars, *at))
        } else {
            places.find(|at| fits(last, chars, *at))
        };
        at.map(|at| at + last.len())
    }
}

fn fits(segment: &[Glyph], chars: &[char], at: usize) -> bool {
    chars.get(at..at + segment.len()).is_some_and(|part| segment.iter().zip(part).all(|(glyph, c)| glyph.matches(*c)))
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn prefixes_and_suffixes() {
        let pattern = |text| Pattern::parse(text).unwrap();
        assert_eq!(pattern("*/").trim_prefix("a/b/c", false), "b/c");
        assert_eq!(pattern("*/").trim_prefix("a/b/c", true), "c");
        assert_eq!(pattern(".*").trim_suffix("x.tar.gz", false), "x.tar");
        assert_eq!(pattern(".*").trim_suffix("x.tar.gz", true), "x");
        assert_eq!(pattern("a?c").trim_prefix("abcd", false), "d");
        assert_eq!(pattern("\\*").trim_prefix("*x", false), "x");
        assert_eq!(pattern("z").trim_prefix("abc", true), "abc");
        assert!(Pattern::parse("\\q").is_err());
    }

    #[test]
    fn replacements() {
        let replace = |pattern, value, all| Pattern::parse(pattern).unwrap().replace(value, "-", all).unwrap();
        assert_eq!(replace("o", "foo boo", false), "f-o boo");
        assert_eq!(replace("o", "foo boo", true), "f-- b--");
        assert_eq!(replace("b*o", "foo boo", true), "foo -");
        assert_eq!(replace("", "ab", true), "-a-b-");
        assert_eq!(replace("x", "ab", true), "ab");
        assert_eq!([replace("*", "ab", true), replace("b*", "ab", true), replace("*", "", true)], ["-", "a-", "-"]);
    }
}
