//! What was used last.

/// The values that were used last, by their keys: few enough to look through all of them.
#[derive(Debug)]
pub struct Recent<K, V> {
    /// The one that was used last comes last.
    entries: Vec<(K, V)>,
    most: usize,
}

impl<K: PartialEq, V: Clone> Recent<K, V> {
    /// For at most so many values: those that were used least recently go first.
    pub fn new(most: usize) -> Self {
        Recent { entries: Vec::new(), most }
    }

    /// The value of a key, which is used with that.
    pub fn get(&mut self, key: &K) -> Option<V> {
        let at = self.entries.iter().position(|(known, _)| known == key)?;
        self.entries[at..].rotate_left(1);
        self.entries.last().map(|(_, value)| value.clone())
    }

    /// Adds a value, in place of one that the key had.
    pub fn add(&mut self, key: K, value: V) {
        self.remove_if(&key, |_| true);
        self.entries.push((key, value));
        if self.entries.len() > self.most {
            self.entries.remove(0);
        }
    }

    /// Removes the value of a key if it is one that `is_meant`.
    pub fn remove_if(&mut self, key: &K, is_meant: impl Fn(&V) -> bool) {
        self.entries.retain(|(known, value)| known != key || !is_meant(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_used_last_are_known() {
        const MOST: u8 = 64;
        let place = |number: u8| (number, "x.wasm");
        let mut recent = Recent::new(MOST.into());
        for number in 0..MOST {
            recent.add(place(number), [number; 32]);
        }
        assert_eq!(recent.get(&place(0)), Some([0; 32]));
        recent.add(place(MOST), [9; 32]);
        assert_eq!(recent.get(&place(0)), Some([0; 32]), "it was used after the second");
        assert_eq!(recent.get(&place(1)), None);
        assert_eq!(recent.get(&(0, "y.wasm")), None);
        recent.add(place(0), [7; 32]);
        assert_eq!(recent.get(&place(0)), Some([7; 32]));
        assert_eq!(recent.entries.len(), usize::from(MOST));
        recent.remove_if(&place(0), |value| *value == [0; 32]);
        assert!(recent.get(&place(0)).is_some(), "another value is there now");
        recent.remove_if(&place(0), |value| *value == [7; 32]);
        assert_eq!(recent.get(&place(0)), None);
    }
}
