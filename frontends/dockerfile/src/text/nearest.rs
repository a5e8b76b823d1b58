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

/// How many letters must be put in, taken away or changed, or neighbours swapped.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut next = vec![i + 1];
        for j in 0..b.len() {
            let changed = row[j] + usize::from(a[i] != b[j]);
            let mut least = changed.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                let before: &Vec<usize> = &before;
                least = least.min(before[j - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
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
        assert_eq!(nearest("RNU", ["ENV", "RUN"]), Some("RUN"));
        assert_eq!(nearest("xyz", options), None);
        assert_eq!(nearest("base", options), None);
    }
}
