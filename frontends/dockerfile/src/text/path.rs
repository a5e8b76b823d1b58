//! Slash-separated paths, as Go's `path` package treats them.

/// The shortest path that means the same: no `.`, no `//`, and `..` resolved. Empty becomes `.`.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    // Most paths are clean.
    let mut own = path.split('/').skip(usize::from(rooted));
    if own.all(|part| !matches!(part, "" | "." | "..")) {
        return path.to_string();
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_string(),
        (false, false) => joined,
    }
}

/// `path` under `parent`, cleaned; `path` is taken as relative even where it begins with a slash. Empty parts are left out.
pub fn join(parent: &str, path: &str) -> String {
    match (parent, path) {
        ("", "") => String::new(),
        ("", path) => clean(path),
        (parent, "") => clean(parent),
        (parent, path) => clean(&format!("{parent}/{path}")),
    }
}

/// `path` if it is absolute, else `path` under `parent`; cleaned.
pub fn resolve(parent: &str, path: &str) -> String {
    if path.starts_with('/') { clean(path) } else { join(&format!("/{parent}"), path) }
}

/// As [`resolve`], but a slash or `/.` at the end stays: for a copy they mean that the destination is a directory.
pub fn resolve_keeping_slash(parent: &str, path: &str) -> String {
    let mut out = resolve(parent, path);
    if path.ends_with('/') && !out.ends_with('/') {
        out.push('/');
    } else if path.ends_with("/.") {
        if out != "/" {
            out.push('/');
        }
        out.push('.');
    }
    out
}

/// The last part of a path; `.` for an empty one, `/` for the root.
pub fn base(path: &str) -> &str {
    if path.is_empty() {
        return ".";
    }
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() {
        return "/";
    }
    trimmed.rsplit('/').next().unwrap_or(trimmed)
}

/// Whether a path has the special characters of a wildcard pattern.
pub fn has_wildcard(path: &str) -> bool {
    let mut chars = path.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' | '[' => return true,
            '\\' => drop(chars.next()),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning() {
        for (path, want) in [("", "."), ("/", "/"), ("a//b/./c/..", "a/b"), ("/../a", "/a"), ("../../a", "../../a")] {
            assert_eq!(clean(path), want, "{path}");
        }
        assert_eq!(join("/a", "/b"), "/a/b");
        assert_eq!(join("", "b/"), "b");
        assert_eq!(resolve("/w", "../x"), "/x");
        assert_eq!(resolve_keeping_slash("/w", "./"), "/w/");
        assert_eq!(resolve_keeping_slash("/", "."), "/");
        assert_eq!(resolve_keeping_slash("/w", "a/."), "/w/a/.");
        assert_eq!([base(""), base("/"), base("a/b/")], [".", "/", "b"]);
        assert!(has_wildcard("a*") && !has_wildcard("a\\*"));
    }
}
