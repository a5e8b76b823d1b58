//! Values of flags, in the syntax of `docker buildx build`.

/// A flag's value that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FlagError {
    #[error("{what} {given:?} is not known{}", suggestion.as_deref().map(|s| format!(": did you mean {s:?}?")).unwrap_or_default())]
    Unknown { what: String, given: String, suggestion: Option<String> },
    #[error("{flag} {value:?}: {reason}")]
    Bad { flag: &'static str, value: String, reason: String },
}

impl FlagError {
    /// `given` is none of `known`; the nearest of them is suggested.
    pub fn unknown<'a>(what: &str, given: &str, known: impl IntoIterator<Item = &'a str>) -> FlagError {
        let suggestion = nearest(given, known).map(str::to_owned);
        FlagError::Unknown { what: what.to_owned(), given: given.to_owned(), suggestion }
    }
}

/// The word of `known` that `given` was most likely meant to be, if one is near.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let far = given.chars().count().div_ceil(3).max(1);
    let distances = known.into_iter().map(|word| (distance(given, word), word));
    distances.filter(|(distance, _)| *distance <= far).min().map(|(_, word)| word)
}

/// How many characters are to be put in, taken out or changed, or neighbours swapped, to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            table[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let change = table[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                let swap = if swapped { table[i - 2][j - 2] + 1 } else { usize::MAX };
                change.min(swap).min(table[i - 1][j] + 1).min(table[i][j - 1] + 1)
            }
        }
    }
    table[a.len()][b.len()]
}
