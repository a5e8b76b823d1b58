//! Reading an exporter's attributes.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use anyhow::{Result, bail};

/// Attributes by name, as the user wrote them.
pub type Attrs = BTreeMap<String, String>;

/// Refuses attributes that are not `known` (names, and prefixes that end in `*`), with the nearest that is.
pub fn refuse_unknown(attrs: &Attrs, known: &[&[&str]]) -> Result<()> {
    let words = || known.iter().copied().flatten().copied();
    if let Some(name) = unknown(attrs, known).next() {
        match nearest(name, words().filter(|word| !word.ends_with('*'))) {
            Some(near) => bail!("unknown attribute {name:?}: did you mean {near:?}?"),
            None => bail!("unknown attribute {name:?}: known are {}", words().collect::<Vec<_>>().join(", ")),
        }
    }
    Ok(())
}

/// The attributes that are not `known`, each as a sentence with the nearest that is: what is said where they are no error.
pub(crate) fn ignored(attrs: &Attrs, known: &[&[&str]]) -> Vec<String> {
    let words = || known.iter().copied().flatten().copied().filter(|word| !word.ends_with('*'));
    let sentence = |name: &String| match nearest(name, words()) {
        Some(near) => format!("unknown attribute {name:?} is ignored: did you mean {near:?}?"),
        None => format!("unknown attribute {name:?} is ignored"),
    };
    unknown(attrs, known).map(sentence).collect()
}

/// The names that are not `known`.
fn unknown<'a>(attrs: &'a Attrs, known: &'a [&'a [&'a str]]) -> impl Iterator<Item = &'a String> {
    attrs.keys().filter(move |name| !known.iter().any(|words| is_of(words, name)))
}

/// Whether `name` is one of `words`, or begins as one of them that ends in `*`.
pub(crate) fn is_of(words: &[&str], name: &str) -> bool {
    words.iter().any(|word| match word.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == *word,
    })
}

/// The word that is like `name`: few changes of a letter away, measured by its length.
fn nearest<'a>(name: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let best = words.map(|word| (distance(name, word), word)).min()?;
    (best.0 <= name.len().max(best.1.len()) / 3 + 1).then_some(best.1)
}

/// How many letters have to be put in, taken out or changed to make one text the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

/// A yes or no, in the words of Go's `ParseBool`; an empty value is yes.
pub fn flag(attrs: &Attrs, name: &str) -> Result<Option<bool>> {
    match attrs.get(name).map(String::as_str) {
        None => Ok(None),
        Some("" | "1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Some(true)),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Some(false)),
        Some(other) => bail!("attribute {name}={other:?}: want true or false"),
    }
}

/// Seconds since 1970 in `source-date-epoch`; an empty value is none, also where the frontend names some.
pub(crate) fn epoch(attrs: &Attrs) -> Result<Option<i64>> {
    match attrs.get("source-date-epoch").is_some_and(String::is_empty) {
        true => Ok(None),
        false => number(attrs, "source-date-epoch"),
    }
}

/// A number.
pub fn number<T: FromStr<Err: Display>>(attrs: &Attrs, name: &str) -> Result<Option<T>> {
    let Some(text) = attrs.get(name) else { return Ok(None) };
    match text.trim().parse() {
        Ok(number) => Ok(Some(number)),
        Err(error) => bail!("attribute {name}={text:?}: want a number: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attrs(pairs: &[(&str, &str)]) -> Attrs {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_nearest() {
        let known: &[&str] = &["name", "push", "compression", "compression-level", "annotation*"];
        let refuse = |name| refuse_unknown(&attrs(&[(name, "")]), &[known]).map_err(|error| error.to_string());
        for good in ["name", "push", "annotation.a", "annotation-index.b"] {
            assert_eq!(refuse(good), Ok(()));
        }
        assert_eq!(refuse("psuh").unwrap_err(), r#"unknown attribute "psuh": did you mean "push"?"#);
        assert_eq!(refuse("compresion").unwrap_err(), r#"unknown attribute "compresion": did you mean "compression"?"#);
        assert!(refuse("zzzzzzzzzz").unwrap_err().contains("known are name, push"));
    }

    #[test]
    fn an_unknown_name_that_is_ignored_is_named() {
        let known: &[&str] = &["push"];
        let said = ignored(&attrs(&[("push", ""), ("psuh", ""), ("zzzzzzzzzz", "")]), &[known]);
        let near = r#"unknown attribute "psuh" is ignored: did you mean "push"?"#;
        assert_eq!(said, [near, r#"unknown attribute "zzzzzzzzzz" is ignored"#]);
    }

    #[test]
    fn the_epoch_may_be_none() {
        assert_eq!(epoch(&attrs(&[("source-date-epoch", "")])).unwrap(), None);
        assert_eq!(epoch(&attrs(&[("source-date-epoch", "7")])).unwrap(), Some(7));
        assert!(epoch(&attrs(&[("source-date-epoch", "soon")])).is_err());
    }

    #[test]
    fn values() {
        let attrs = attrs(&[("yes", ""), ("no", "false"), ("odd", "maybe"), ("three", "3"), ("x", "x")]);
        assert_eq!(flag(&attrs, "yes").unwrap(), Some(true));
        assert_eq!(flag(&attrs, "no").unwrap(), Some(false));
        assert_eq!(flag(&attrs, "absent").unwrap(), None);
        assert!(flag(&attrs, "odd").is_err());
        assert_eq!(number::<u32>(&attrs, "three").unwrap(), Some(3));
        assert!(number::<u32>(&attrs, "x").is_err());
    }
}
