//! `.dockerignore`: patterns of what is left out of the build context.

use crate::text::path;

/// The patterns of a file, as the host takes them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Ignore {
    /// In order; `!` in front takes back what an earlier one leaves out.
    pub patterns: Vec<String>,
}

impl Ignore {
    /// Reads a file.
    pub fn parse(text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text.lines().filter(|line| !line.starts_with('#')).map(str::trim).filter(|line| !line.is_empty());
        Ignore { patterns: lines.map(pattern).collect() }
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
    match (pattern, parts) {
        ([], []) => true,
        (["**", rest @ ..], parts) => (0..=parts.len()).any(|skip| matches(rest, &parts[skip..])),
        ([first, rest @ ..], [part, parts @ ..]) => matches_part(first, part) && matches(rest, parts),
        _ => false,
    }
}

/// `*`, `?`, and `\` before a character that means itself.
fn matches_part(pattern: &str, part: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => part.is_empty(),
        Some('*') => {
            part.char_indices().map(|(at, _)| at).chain([part.len()]).any(|at| matches_part(rest.as_str(), &part[at..]))
        }
        Some('?') => part.chars().next().is_some_and(|c| matches_part(rest.as_str(), &part[c.len_utf8()..])),
        Some('\\') => match rest.next() {
            Some(c) => part.strip_prefix(c).is_some_and(|part| matches_part(rest.as_str(), part)),
            None => false,
        },
        Some(c) => part.strip_prefix(c).is_some_and(|part| matches_part(rest.as_str(), part)),
    }
}

#[cfg(test)]
mod tests {
    use super::Ignore;

    #[test]
    fn patterns() {
        let ignore = Ignore::parse("\u{feff}# note\n\n /a/b/ \n! c\n./d\n");
        assert_eq!(ignore.patterns, ["a/b", "!c", "d"]);
    }

    #[test]
    fn exclusion() {
        let ignore = Ignore::parse("node_modules\n*.log\n**/tmp\nx/?\n");
        for source in ["node_modules", "/node_modules/a", "./b.log", "q/w/tmp/z", "x/y"] {
            assert!(ignore.excludes(source), "{source}");
        }
        for source in ["src", ".", "a/b.log", "x", "x/yy"] {
            assert!(!ignore.excludes(source), "{source}");
        }
        assert!(Ignore::parse("*").excludes("."));
        assert!(!Ignore::parse("a\n!a/b").excludes("a"));
    }
}
