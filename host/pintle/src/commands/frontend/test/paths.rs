//! Which files of a case a local source's patterns let through.

/// A path without the slashes and dots around it.
pub fn clean(path: &str) -> &str {
    let path = path.trim_start_matches("./").trim_matches('/');
    if path == "." { "" } else { path }
}

/// Whether `path` is what one of `patterns` names, or below it. No patterns let everything through.
pub fn included(patterns: &[String], path: &str) -> bool {
    let below = |pattern: &String| {
        let pattern: Vec<&str> = clean(pattern).split('/').collect();
        let parts: Vec<&str> = path.split('/').collect();
        (1..=parts.len()).any(|end| matches(&pattern, &parts[..end]))
    };
    patterns.is_empty() || patterns.iter().any(|pattern| clean(pattern).is_empty() || below(pattern))
}

/// `**` is any number of parts; in a part, `*` is any text and `?` any character.
fn matches(pattern: &[&str], parts: &[&str]) -> bool {
    match (pattern, parts) {
        ([], []) => true,
        (["**", rest @ ..], _) => (0..=parts.len()).any(|skip| matches(rest, &parts[skip..])),
        ([first, rest @ ..], [part, others @ ..]) => glob(first, part) && matches(rest, others),
        _ => false,
    }
}

/// Whether a name matches a pattern with `*` and `?`.
pub fn glob(pattern: &str, name: &str) -> bool {
    fn bytes(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => (0..=name.len()).any(|skip| bytes(rest, &name[skip..])),
            ([b'?', rest @ ..], [_, others @ ..]) => bytes(rest, others),
            ([want, rest @ ..], [have, others @ ..]) => want == have && bytes(rest, others),
            _ => false,
        }
    }
    bytes(pattern.as_bytes(), name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_files_and_directories() {
        for (pattern, path, expected) in [
            ("Dockerfile", "Dockerfile", true),
            ("/Dockerfile", "Dockerfile", true),
            (".", "a/b", true),
            ("app", "app/main.c", true),
            ("app", "application", false),
            ("*.c", "src/main.c", false),
            ("**/*.c", "src/main.c", true),
            ("**/*.c", "main.c", true),
            ("a?c", "abc", true),
        ] {
            assert_eq!(included(&[pattern.to_owned()], path), expected, "{pattern} {path}");
        }
        assert!(included(&[], "anything"));
    }
}
