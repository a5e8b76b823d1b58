//! From a config to what a build asks.

use std::{collections::HashMap, sync::Arc};

use anyhow::{Result, bail};
use async_trait::async_trait;
use solver::{
    Imported, ImportedResults, World,
    keys::{Class, InputKey},
    memory::{Entry, EntryInput},
};
use store::{LazyLayer, Snapshot, Store};

use crate::{
    Found,
    format::{Config, DIFF_ID_KEY, Link, Record, Step},
    write::{OUTPUTS_MAX, digest_of},
};

/// A cache, ready to be asked.
pub struct Cache<W: World> {
    /// What is known, and the results.
    pub imported: Imported<W>,
    /// How many of its steps have a result.
    pub results: usize,
    /// How many records say nothing that this engine understands, for another made them.
    pub foreign: usize,
}

/// Reads `found`. Fails where links lead nowhere or in a circle; records of another engine are left out.
pub fn read<W: World<Output = Snapshot>>(found: Found, store: &Store) -> Result<Cache<W>> {
    let order = order(&found.config)?;
    check_layers(&found.config)?;
    let mut reader = Reader::new(&found.config);
    for index in &order {
        reader.record(*index);
    }
    let foreign = found.config.records.len() - reader.edges.len();
    let (entries, outputs) = (std::mem::take(&mut reader.entries), std::mem::take(&mut reader.outputs));
    let usable = |chain: Vec<usize>| lazy_layers(&found, &chain);
    let outputs = outputs.into_iter().filter_map(|(class, outputs)| {
        // A step with an output that is not there is of no use.
        let outputs = outputs.into_iter().map(|chain| usable(chain?)).collect::<Option<Vec<_>>>()?;
        Some((class, outputs))
    });
    let outputs: HashMap<Class, Vec<Vec<LazyLayer>>> = outputs.collect();
    let results = outputs.len();
    let imported = Imported::new(entries, Arc::new(Results { store: store.clone(), outputs }));
    Ok(Cache { imported, results, foreign })
}

/// The records by their index, each after those that it links to.
pub(crate) fn order(config: &Config) -> Result<Vec<usize>> {
    let records = &config.records;
    let at = |link: &Link| match usize::try_from(link.link) {
        Ok(index) if index < records.len() => Ok(index),
        _ => bail!("a record links to {}, and there are {}", link.link, records.len()),
    };
    // 0: not seen; 1: what it links to is being looked at; 2: done.
    let (mut states, mut order) = (vec![0u8; records.len()], Vec::with_capacity(records.len()));
    for start in 0..records.len() {
        let mut path = vec![(start, false)];
        while let Some((index, is_done)) = path.pop() {
            match (is_done, states[index]) {
                (true, _) => {
                    states[index] = 2;
                    order.push(index);
                }
                (false, 0) => {
                    states[index] = 1;
                    path.push((index, true));
                    for link in records[index].inputs.iter().flatten() {
                        let next = at(link)?;
                        if states[next] == 1 {
                            bail!("records {index} and {next} link to one another in a circle");
                        }
                        path.push((next, false));
                    }
                }
                (false, _) => {}
            }
        }
    }
    Ok(order)
}

/// Every layer's chain must end.
pub(crate) fn check_layers(config: &Config) -> Result<()> {
    let count = config.layers.len();
    let mut ends = vec![false; count];
    for start in 0..count {
        let (mut next, mut path) = (start as i64, Vec::new());
        while next != -1 {
            let Some(layer) = usize::try_from(next).ok().and_then(|at| config.layers.get(at)) else {
                bail!("a layer lies on layer {next}, and there are {count}");
            };
            if ends[next as usize] {
                break;
            }
            path.push(next as usize);
            if path.len() > count {
                bail!("layer {start} lies on itself");
            }
            next = layer.parent_index;
        }
        path.into_iter().for_each(|at| ends[at] = true);
    }
    Ok(())
}

/// Reads records one after the other, each after those that it links to.
pub(crate) struct Reader<'a> {
    config: &'a Config,
    /// By index: the step's class and the output's, of records that are understood.
    edges: HashMap<usize, (Class, Class)>,
    pub(crate) entries: Vec<Entry>,
    /// By class: for each output the layers, bottom first.
    pub(crate) outputs: HashMap<Class, Vec<Option<Vec<usize>>>>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(config: &'a Config) -> Self {
        Reader { config, edges: HashMap::new(), entries: Vec::new(), outputs: HashMap::new() }
    }

    pub(crate) fn record(&mut self, index: usize) -> Option<()> {
        let record = &self.config.records[index];
        let step = record.step.as_ref()?;
        let entry = self.entry(record, step)?;
        let class = entry.class();
        let edge = class.output(step.output);
        // What the record calls itself must be what it is.
        if record.digest != digest_of(edge) || step.output >= OUTPUTS_MAX || step.outputs > OUTPUTS_MAX {
            return None;
        }
        self.edges.insert(index, (class, edge));
        if !self.outputs.contains_key(&class) && step.output == 0 {
            self.entries.push(entry);
        }
        let result = self.layers(record, step);
        let outputs = self.outputs.entry(class).or_default();
        let needed = step.outputs.max(step.output + 1).max(1) as usize;
        if outputs.len() < needed {
            outputs.resize(needed, None);
        }
        outputs[step.output as usize] = result;
        Some(())
    }

    fn entry(&self, record: &Record, step: &Step) -> Option<Entry> {
        if record.inputs.len() != step.inputs.len() {
            return None;
        }
        let inputs = record.inputs.iter().zip(&step.inputs).map(|(links, seen)| {
            let index = usize::try_from(links.first()?.link).ok()?;
            let (maker, edge) = *self.edges.get(&index)?;
            let key = InputKey { edge, look: seen.look.clone(), contents: seen.contents.clone() };
            Some(EntryInput { name: seen.name.clone(), maker, key })
        });
        Some(Entry::new(step.op.clone(), step.name.clone(), inputs.collect::<Option<_>>()?, vec![]))
    }

    /// The layers of a record's result, bottom first.
    fn layers(&self, record: &Record, step: &Step) -> Option<Vec<usize>> {
        if step.scratch {
            return Some(Vec::new());
        }
        if let Some(result) = record.results.first() {
            let mut chain = Vec::new();
            let mut next = result.layer;
            while next != -1 {
                let at = usize::try_from(next).ok()?;
                next = self.config.layers.get(at)?.parent_index;
                chain.push(at);
            }
            chain.reverse();
            return Some(chain);
        }
        let chain = record.chains.first()?.layers.iter().map(|at| usize::try_from(*at).ok());
        let chain = chain.collect::<Option<Vec<_>>>()?;
        chain.iter().all(|at| *at < self.config.layers.len()).then_some(chain)
    }
}

/// The layers with where to get them; `None` where one of them is not listed, or not with what it unpacks to.
fn lazy_layers(found: &Found, chain: &[usize]) -> Option<Vec<LazyLayer>> {
    let layer = |at: &usize| {
        let blob = found.layers.get(&found.config.layers[*at].blob)?.clone();
        let diff_id = blob.annotations.get(DIFF_ID_KEY)?.clone();
        Some(LazyLayer { blob, diff_id, provider: found.provider.clone(), progress: None })
    };
    chain.iter().map(layer).collect()
}

/// Results of which nothing is fetched until it is read.
struct Results {
    store: Store,
    outputs: HashMap<Class, Vec<Vec<LazyLayer>>>,
}

#[async_trait]
impl<W: World<Output = Snapshot>> ImportedResults<W> for Results {
    fn has(&self, class: Class) -> bool {
        self.outputs.contains_key(&class)
    }

    async fn outputs(&self, class: Class) -> Result<Option<Vec<Snapshot>>> {
        let Some(outputs) = self.outputs.get(&class) else { return Ok(None) };
        let mut snapshots = Vec::with_capacity(outputs.len());
        for layers in outputs {
            let snapshot = self.store.image(layers.clone())?;
            if !snapshot.is_available().await? {
                return Ok(None);
            }
            snapshots.push(snapshot);
        }
        Ok(Some(snapshots))
    }
}
