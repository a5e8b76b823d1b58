//! The variables and arguments of a stage.

use std::{collections::HashMap, rc::Rc};

use crate::shell::Variables;

/// A name and a value.
pub type Variable = Rc<(String, String)>;

/// Variables in the order in which each was last set, which is the order in which steps get them.
#[derive(Clone, Debug, Default)]
pub struct Env {
    /// `None` where a later entry has taken the name.
    entries: Vec<Option<Variable>>,
    index: HashMap<String, usize>,
}

impl Env {
    /// No variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a variable; it moves to the end.
    pub fn set(&mut self, name: &str, value: &str) {
        if let Some(before) = self.index.insert(name.to_string(), self.entries.len()) {
            self.entries[before] = None;
        }
        self.entries.push(Some(Rc::new((name.to_string(), value.to_string()))));
        if self.entries.len() > 2 * self.index.len() + 16 {
            self.compact();
        }
    }

    /// Takes a variable away.
    pub fn unset(&mut self, name: &str) {
        if let Some(before) = self.index.remove(name) {
            self.entries[before] = None;
        }
    }

    fn compact(&mut self) {
        self.entries.retain(Option::is_some);
        let names = self.entries.iter().flatten().enumerate();
        self.index = names.map(|(at, variable)| (variable.0.clone(), at)).collect();
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().flatten().map(|variable| (variable.0.as_str(), variable.1.as_str()))
    }

    /// As they are now.
    pub fn snapshot(&self) -> Vec<Variable> {
        self.entries.iter().flatten().cloned().collect()
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(name, _)| name)
    }
}

impl Variables for Env {
    fn get(&self, name: &str) -> Option<&str> {
        let entry = self.entries.get(*self.index.get(name)?)?.as_ref()?;
        Some(&entry.1)
    }
}

/// Arguments of a stage, each once, in the order in which they were first declared.
#[derive(Clone, Debug, Default)]
pub struct Args {
    entries: Vec<(String, Option<String>)>,
    index: HashMap<String, usize>,
}

impl Args {
    /// Declares an argument, perhaps again: its value, where it has one, is the newer one.
    pub fn set(&mut self, name: &str, value: Option<String>) {
        match self.index.get(name) {
            Some(place) => self.entries[*place].1 = value,
            None => {
                self.index.insert(name.to_string(), self.entries.len());
                self.entries.push((name.to_string(), value));
            }
        }
    }

    /// Whether an argument was declared.
    pub fn has(&self, name: &str) -> bool {
        self.index.contains_key(name)
    }

    /// Names, and the values that they were declared with.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_set_again_moves_to_the_end() {
        let mut env = Env::new();
        for round in 0..100 {
            env.set("a", &round.to_string());
            env.set("b", "x");
        }
        env.set("a", "last");
        assert_eq!(env.iter().collect::<Vec<_>>(), [("b", "x"), ("a", "last")]);
        assert_eq!((env.get("a"), env.get("c")), (Some("last"), None));
        env.unset("b");
        env.unset("c");
        assert_eq!(env.iter().collect::<Vec<_>>(), [("a", "last")]);
    }

    #[test]
    fn an_argument_declared_again_stays_in_its_place() {
        let mut args = Args::default();
        args.set("a", Some("1".to_string()));
        args.set("b", None);
        args.set("a", None);
        assert_eq!(args.iter().collect::<Vec<_>>(), [("a", None), ("b", None)]);
        args.set("b", Some("2".to_string()));
        assert_eq!(args.iter().collect::<Vec<_>>(), [("a", None), ("b", Some("2"))]);
        assert_eq!((args.has("b"), args.has("c"), args.len()), (true, false, 2));
    }
}
