//! `.dockerignore`: patterns of what is left out of the build context.

use std::{iter::Peekable, str::Chars};

use crate::text::path;

/// The patterns of a file, as the host takes them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Ignore {
    /// In order; `!` in front takes back what an earlier one leaves out.
    pub patterns: Vec<String>,
}

impl Ignore {
    /// Reads a file.
    ///
    /// # Errors
    /// A lower-case fragment: a `!` with nothing behind it, or a pattern that does not end.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text.lines().filter(|line| !line.starts_with('#')).map(str::trim).filter(|line| !line.is_empty());
        let patterns: Vec<String> = lines.map(pattern).collect();
        if patterns.iter().any(|pattern| pattern == "!" || pattern == "!/") {
            return Err("illegal exclusion pattern: \"!\" takes back nothing".to_string());
        }
        if let Some(bad) = patterns.iter().find(|pattern| glyphs(pattern).is_none()) {
            return Err(format!(
                "syntax error in pattern {bad:?}: want for instance [a-z], or a character after \"\\\""
            ));
        }
        Ok(Ignore { patterns })
    }

    /// Whether a source of a COPY is left out for certain. Where some patterns take back others, nothing is certain.
    pub fn excludes(&self, source: &str) -> bool {
        if self.patterns.iter().any(|pattern| pattern.starts_with('!')) {
            return false;
        }
        let source = path::clean(source);
        if source == "." || source == "/" {
            return self.patterns.iter().any(|pattern| matches!(pattern.as_str(), "*" | "**" | "**/*"));
        }
        let parts: Vec<&str> = source.trim_start_matches('/').split('/').collect();
        self.patterns.iter().any(|pattern| {
            let pattern: Vec<&str> = pattern.split('/').collect();
            // A pattern that matches a directory leaves out what is below it.
            (1..=parts.len()).any(|length| matches(&pattern, &parts[..length]))
        })
    }
}

/// Absolute patterns are below the context, too.
fn pattern(line: &str) -> String {
    let (sign, rest) = line.strip_prefix('!').map_or(("", line), |rest| ("!", rest.trim()));
    if rest.is_empty() {
        return sign.to_string();
    }
    let clean = path::clean(rest);
    let relative = clean.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(&clean);
    format!("{sign}{relative}")
}

/// `**` stands for any number of parts.
fn matches(pattern: &[&str], parts: &[&str]) -> bool {
    wildcard(pattern, parts, |pattern| *pattern == "**", |pattern, part| matches_part(pattern, part))
}

/// Whether a part of a path matches a part of a pattern; none matches what is no pattern.
fn matches_part(pattern: &str, part: &str) -> bool {
    let Some(glyphs) = glyphs(pattern) else { return false };
    let part: Vec<char> = part.chars().collect();
    wildcard(&glyphs, &part, |glyph| *glyph == Glyph::Star, |glyph, c| glyph.fits(*c))
}

#[derive(PartialEq)]
enum Glyph {
    Star,
    Any,
    Char(char),
    /// Whether it is for all other characters, and ranges of characters.
    Class(bool, Vec<(char, char)>),
}

impl Glyph {
    fn fits(&self, c: char) -> bool {
        match self {
            Glyph::Star => false,
            Glyph::Any => true,
            Glyph::Char(own) => *own == c,
            Glyph::Class(others, ranges) => ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *others,
        }
    }
}

/// `*`, `?`, `[a-z]`, `[^a]`, and `\` before a character that means itself; `None` for a pattern that does not end.
fn glyphs(pattern: &str) -> Option<Vec<Glyph>> {
    let mut glyphs = Vec::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        glyphs.push(match c {
            '*' => Glyph::Star,
            '?' => Glyph::Any,
            '\\' => Glyph::Char(chars.next()?),
            '[' => class(&mut chars)?,
            c => Glyph::Char(c),
        });
    }
    Some(glyphs)
}

/// The rest of a class, up to its bracket.
fn class(chars: &mut Peekable<Chars>) -> Option<Glyph> {
    let others = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    while ranges.is_empty() || chars.next_if_eq(&']').is_none() {
        let from = class_character(chars)?;
        let to = if chars.next_if_eq(&'-').is_some() { class_character(chars)? } else { from };
        ranges.push((from, to));
    }
    Some(Glyph::Class(others, ranges))
}

fn class_character(chars: &mut Peekable<Chars>) -> Option<char> {
    match chars.next()? {
        '\\' => chars.next(),
        '-' | ']' => None,
        c => Some(c),
    }
}

/// Whether a pattern with stars, each for any number of items, matches all items. When an item does not fit, the last star takes
/// one more: earlier stars need not be tried again.
fn wildcard<P, I>(pattern: &[P], items: &[I], is_star: impl Fn(&P) -> bool, fits: impl Fn(&P, &I) -> bool) -> bool {
    let (mut p, mut i) = (0, 0);
    let mut last_star = None;
    while i < items.len() {
        if p < pattern.len() && is_star(&pattern[p]) {
            last_star = Some((p, i));
            p += 1;
        } else if p < pattern.len() && fits(&pattern[p], &items[i]) {
            (p, i) = (p + 1, i + 1);
        } else if let Some((star, taken)) = last_star {
            last_star = Some((star, taken + 1));
            (p, i) = (star + 1, taken + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(is_star)
}

#[cfg(test)]
mod tests {
    use super::Ignore;

    #[test]
    fn patterns() {
        let ignore = Ignore::parse("\u{feff}# note\n\n /a/b/ \n! c\n./d\n").unwrap();
        assert_eq!(ignore.patterns, ["a/b", "!c", "d"]);
        for bad in ["a\n!\n", "!/", "[a", "[]", "[]a]", "[a-]", "[^", "a\\"] {
            assert!(Ignore::parse(bad).is_err(), "{bad}");
        }
        assert!(Ignore::parse("[a-c]\n[^d\\]]x\n\\[\n]").is_ok());
    }

    #[test]
    fn exclusion() {
        let ignore = Ignore::parse("node_modules\n*.log\n**/tmp\nx/?\n[a-cz]9[^x]\n").unwrap();
        for source in ["node_modules", "/node_modules/a", "./b.log", "q/w/tmp/z", "x/y", "b9y", "z9-"] {
            assert!(ignore.excludes(source), "{source}");
        }
        for source in ["src", ".", "a/b.log", "x", "x/yy", "d9y", "a9x"] {
            assert!(!ignore.excludes(source), "{source}");
        }
        assert!(Ignore::parse("*").unwrap().excludes("."));
        assert!(!Ignore::parse("a\n!a/b").unwrap().excludes("a"));
    }
}
