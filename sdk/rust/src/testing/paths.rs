//! Which files of a scripted source a local source's patterns let through.

/// Whether `path` (relative) is what one of `patterns` names, or below it.
pub(super) fn included(patterns: &[&str], path: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| matches_prefix(clean(pattern), path))
}

/// A path without the slashes and dots around it.
pub(super) fn clean(path: &str) -> &str {
    path.trim_start_matches("./").trim_matches('/')
}

fn matches_prefix(pattern: &str, path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    let pattern: Vec<&str> = pattern.split('/').collect();
    (0..=parts.len()).any(|end| matches_parts(&pattern, &parts[..end]))
}

/// `**` is any number of parts; in a part, `*` is any text and `?` any character.
fn matches_parts(pattern: &[&str], parts: &[&str]) -> bool {
    match (pattern, parts) {
        ([], []) => true,
        (["**", rest @ ..], _) => (0..=parts.len()).any(|skip| matches_parts(rest, &parts[skip..])),
        ([first, rest @ ..], [part, others @ ..]) => {
            glob(first.as_bytes(), part.as_bytes()) && matches_parts(rest, others)
        }
        _ => false,
    }
}

/// Whether a name matches a pattern with `*` and `?`.
pub(super) fn glob(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=name.len()).any(|skip| glob(rest, &name[skip..])),
        ([b'?', rest @ ..], [_, others @ ..]) => glob(rest, others),
        ([want, rest @ ..], [have, others @ ..]) => want == have && glob(rest, others),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_files_and_directories() {
        for (pattern, path, expected) in [
            ("Dockerfile", "Dockerfile", true),
            ("/Dockerfile", "Dockerfile", true),
            ("app", "app/main.c", true),
            ("app", "application", false),
            ("*.c", "main.c", true),
            ("*.c", "src/main.c", false),
            ("**/*.c", "src/main.c", true),
            ("**/*.c", "main.c", true),
            ("a?c", "abc", true),
        ] {
            assert_eq!(included(&[clean(pattern)], path), expected, "{pattern} {path}");
        }
        assert!(included(&[], "anything"));
    }
}
