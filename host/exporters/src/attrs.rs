//! Reading an exporter's attributes.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use anyhow::{Result, bail};

/// Attributes by name, as the user wrote them.
pub type Attrs = BTreeMap<String, String>;

/// Refuses attributes that are not `known` (names, and prefixes that end in `*`), with the nearest that is.
pub fn refuse_unknown(attrs: &Attrs, known: &[&[&str]]) -> Result<()> {
    let known = || known.iter().copied().flatten().copied();
    for name in attrs.keys() {
        let fits = |word: &str| match word.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == word,
        };
        if known().any(fits) {
            continue;
        }
        match nearest(name, known().filter(|word| !word.ends_with('*'))) {
            Some(near) => bail!("unknown attribute {name:?}: did you mean {near:?}?"),
            None => bail!("unknown attribute {name:?}: known are {}", known().collect::<Vec<_>>().join(", ")),
        }
    }
    Ok(())
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
