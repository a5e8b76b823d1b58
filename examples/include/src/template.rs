//! Placeholders of an included file: `{{NAME}}`, or `{{NAME:-OTHER}}` with what it is when no value is given.

use std::collections::{BTreeMap, BTreeSet};

/// The text with values in the place of placeholders. What stands in braces and is no placeholder stays.
///
/// # Errors
/// A value that is missing, or that no placeholder asks for.
pub fn fill(text: &str, values: &BTreeMap<String, String>) -> Result<String, String> {
    let mut used = BTreeSet::new();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let Some((name, other, behind)) = placeholder(after) else {
            out.push_str("{{");
            rest = after;
            continue;
        };
        match (values.get(name), other) {
            (Some(value), _) => out.push_str(value),
            (None, Some(other)) => out.push_str(other),
            (None, None) => return Err(format!("it wants a value for {name}: {name}=...")),
        }
        used.insert(name);
        rest = behind;
    }
    out.push_str(rest);
    match values.keys().find(|name| !used.contains(name.as_str())) {
        Some(name) => Err(format!("it has no {{{{{name}}}}}")),
        None => Ok(out),
    }
}

/// What stands between the braces: a name, what it is otherwise, and what follows.
fn placeholder(text: &str) -> Option<(&str, Option<&str>, &str)> {
    let (inner, behind) = text.split_once("}}")?;
    let (name, other) = inner.split_once(":-").map_or((inner, None), |(name, other)| (name, Some(other)));
    let name = name.trim();
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (is_name && !inner.contains('\n')).then_some((name, other, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders() {
        let values = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
        let fill = |text: &str, pairs: &[(&str, &str)]| fill(text, &values(pairs));
        assert_eq!(fill("FROM a:{{V}} {{ V }}{{W:-x y}}", &[("V", "1")]).unwrap(), "FROM a:1 1x y");
        assert_eq!(fill("{{V:-1}}", &[("V", "2")]).unwrap(), "2");
        let go = "docker inspect -f '{{.Id}}' {{ {{1}} {{";
        assert_eq!(fill(go, &[]).unwrap(), go);
        assert_eq!(fill("{{V}}", &[]).unwrap_err(), "it wants a value for V: V=...");
        assert_eq!(fill("a", &[("V", "")]).unwrap_err(), "it has no {{V}}");
    }
}
