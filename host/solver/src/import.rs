//! What another engine remembers, as an importer reads it: asked where this engine's own memory has no answer.
//!
//! It belongs to one build and is not remembered. What the build uses of it is: then the result is saved, and its entry with all
//! that it was made of is written down as if it had been made here.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;

use crate::{Look, World, keys::Class, memory::Entry};

/// The results that go with imported entries.
#[async_trait]
pub trait ImportedResults<W: World>: Send + Sync + 'static {
    /// Whether there is a result of `class`.
    fn has(&self, class: Class) -> bool;

    /// All outputs of the result of `class`, without fetching what is not looked at. `None` when they cannot be had any more.
    async fn outputs(&self, class: Class) -> anyhow::Result<Option<Vec<W::Output>>>;
}

/// See the module.
pub struct Imported<W: World> {
    entries: HashMap<Class, Entry>,
    /// By output and view: what it holds.
    contents: HashMap<Class, String>,
    results: Arc<dyn ImportedResults<W>>,
    /// Classes whose results were not to be had.
    gone: Mutex<HashSet<Class>>,
}

impl<W: World> Imported<W> {
    /// `entries` in any order; the records that they name are left out of account, for `results` has what they stand for.
    pub fn new(entries: Vec<Entry>, results: Arc<dyn ImportedResults<W>>) -> Self {
        let mut contents = HashMap::new();
        for input in entries.iter().flat_map(|entry| &entry.inputs) {
            if let (Look::Contents(view), Some(digest)) = (&input.key.look, &input.key.contents) {
                contents.insert(input.key.edge.view(view), digest.clone());
            }
        }
        let entries = entries.into_iter().map(|entry| (entry.class(), Entry { records: vec![], ..entry })).collect();
        Imported { entries, contents, results, gone: Mutex::default() }
    }

    /// What the output `edge` held when it was looked at through `view`.
    pub(crate) fn contents(&self, edge: Class, view: &str) -> Option<&String> {
        self.contents.get(&edge.view(view))
    }

    /// Whether a result of `class` is to be had, as far as is known.
    pub(crate) fn has(&self, class: Class) -> bool {
        self.entries.contains_key(&class) && self.results.has(class) && !self.gone().contains(&class)
    }

    /// The outputs of `class`. When they cannot be had, nobody asks again.
    pub(crate) async fn outputs(&self, class: Class) -> Option<Vec<W::Output>> {
        if !self.has(class) {
            return None;
        }
        let outputs = self.results.outputs(class).await.unwrap_or_else(|error| {
            tracing::warn!("an imported result is left out of account: {error:#}");
            None
        });
        if outputs.is_none() {
            self.gone().insert(class);
        }
        outputs
    }

    /// The entry of `top` and those that it was made of and that are not `known`, makers first.
    pub(crate) fn chain(&self, top: Class, known: impl Fn(Class) -> bool) -> Vec<&Entry> {
        let (mut chain, mut seen, mut path) = (vec![], HashSet::new(), vec![(top, false)]);
        while let Some((class, makers_done)) = path.pop() {
            if !makers_done && (!seen.insert(class) || class != top && known(class)) {
                continue;
            }
            let Some(entry) = self.entries.get(&class) else { continue };
            if makers_done {
                chain.push(entry);
            } else {
                path.push((class, true));
                // An input of which neither the key nor the contents count leads nowhere.
                let counts =
                    entry.inputs.iter().filter(|input| input.key.look.is_by_key() || input.key.contents.is_some());
                path.extend(counts.map(|input| (input.maker, false)));
            }
        }
        chain
    }

    fn gone(&self) -> std::sync::MutexGuard<'_, HashSet<Class>> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
