//! The nearest of some words, for error messages.

/// Words that differ in more places than this are not offered.
const MAX_DISTANCE: usize = 2;

/// Longer words are not compared: nobody mistypes them by two letters without seeing it.
const MAX_LENGTH: usize = 100;

/// The option that is closest to `word`, when one is close; `None` when one is equal, for then the word is not the mistake.
pub fn nearest<'a>(word: &str, options: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut best: Option<(usize, &str)> = None;
    for option in options {
        if option == word {
            return None;
        }
        let limit = best.map_or(MAX_DISTANCE + 1, |(distance, _)| distance);
        if word.len() > MAX_LENGTH || option.len().abs_diff(word.len()) > 4 * limit {
            continue;
        }
        let distance = distance(word, option);
        if distance < limit {
            best = Some((distance, option));
        }
    }
    best.map(|(_, option)| option)
}

/// `message`, with the nearest option when there is one.
pub fn suggest<'a>(message: String, word: &str, options: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(word, options) {
        Some(option) => format!("{message} (did you mean {option}?)"),
        None => message,
    }
}

/// How many letters must be put in, taken away or changed.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn close_words() {
        let options = ["build", "base", "final"];
        assert_eq!(nearest("buidl", options), Some("build"));
        assert_eq!(nearest("bas", options), Some("base"));
        assert_eq!(nearest("xyz", options), None);
        assert_eq!(nearest("base", options), None);
    }
}
