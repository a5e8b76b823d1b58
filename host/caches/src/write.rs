//! From what a build knows to a config and layers.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use jiff::Timestamp;
use solver::{
    Look,
    keys::Class,
    memory::{Entry, EntryInput},
};
use store::{LayerBlob, Snapshot};

use crate::{
    Export, Mode, Step, Steps,
    format::{self, Chain, Config, Layer, Link, Record, RecordResult, Seen, no_time},
};

/// A step is not looked at beyond so many outputs.
pub const OUTPUTS_MAX: u32 = 1024;

/// A cache, ready to be put somewhere.
pub struct Written {
    /// Records, and the order of layers.
    pub config: Config,
    /// Every blob that the config names, once.
    pub layers: Vec<LayerBlob>,
}

/// Makes layers into blobs where they are none yet, and writes down `steps`.
pub async fn write(steps: &Steps, options: &Export) -> Result<Written> {
    let mut layers = Layers::default();
    let mut results: HashMap<Class, Vec<Option<RecordOf>>> = HashMap::new();
    // From the top, so that the layers of all below are packed with those of the results.
    for step in steps.steps.iter().rev() {
        let Some(outputs) = &step.outputs else { continue };
        let mut written = Vec::with_capacity(outputs.len());
        for output in outputs {
            let wanted = options.mode == Mode::Max || steps.tops.iter().any(|top| is_below(output, top));
            written.push(if wanted { Some(layers.result(output, options).await?) } else { None });
        }
        results.insert(step.entry.class(), written);
    }
    let config = Config { records: records(&steps.steps, results), layers: layers.list };
    Ok(Written { config, layers: layers.blobs.into_values().collect() })
}

fn is_below(lower: &Snapshot, top: &Snapshot) -> bool {
    top.layer_ids().starts_with(&lower.layer_ids())
}

/// Writes down `steps` for an image of the layers of `top`: results are named by where their layers lie in the image.
pub fn write_inline(steps: &Steps, top: &Snapshot) -> Vec<Record> {
    let ids = top.layer_ids();
    let places: HashMap<&String, i64> = ids.iter().zip(0..).collect();
    let result = |output: &Snapshot| {
        let places = output.layer_ids().iter().map(|id| places.get(id).copied()).collect::<Option<Vec<i64>>>()?;
        // No time: an image that is built again is to be the same.
        Some(match places.last() {
            None => RecordOf::Nothing,
            Some(top) if places.iter().copied().eq(0..places.len() as i64) => RecordOf::Layer(*top, no_time()),
            Some(_) => RecordOf::Chain(places),
        })
    };
    let results = steps.steps.iter().filter_map(|step| {
        let outputs = step.outputs.as_ref()?;
        Some((step.entry.class(), outputs.iter().map(result).collect()))
    });
    records(&steps.steps, results.collect())
}

/// What a record says of a result.
#[derive(Clone)]
pub(crate) enum RecordOf {
    /// The empty tree.
    Nothing,
    /// The uppermost layer, and when it was made.
    Layer(i64, String),
    Chain(Vec<i64>),
}

/// Layers that were written down.
#[derive(Default)]
struct Layers {
    list: Vec<Layer>,
    places: HashMap<(String, i64), i64>,
    blobs: BTreeMap<String, LayerBlob>,
    /// By the layer's id in the store.
    known: HashMap<String, LayerBlob>,
}

impl Layers {
    async fn result(&mut self, snapshot: &Snapshot, options: &Export) -> Result<RecordOf> {
        let ids = snapshot.layer_ids();
        if !ids.iter().all(|id| self.known.contains_key(id)) {
            let blobs = snapshot.blobs_with(options.blobs).await?;
            self.known.extend(ids.iter().cloned().zip(blobs));
        }
        let mut below = -1;
        for id in &ids {
            let Some(blob) = self.known.get(id) else { continue };
            let next = self.list.len() as i64;
            let digest = blob.descriptor.digest.clone();
            let place = *self.places.entry((digest.clone(), below)).or_insert(next);
            if place == next {
                self.list.push(Layer { blob: digest.clone(), parent_index: below, annotations: None });
                self.blobs.entry(digest).or_insert_with(|| blob.clone());
            }
            below = place;
        }
        let Some(top) = ids.last().and_then(|id| self.known.get(id)) else { return Ok(RecordOf::Nothing) };
        let created = top.created.and_then(|time| Timestamp::from_millisecond(time.try_into().ok()?).ok());
        Ok(RecordOf::Layer(below, created.map_or_else(no_time, |time| time.to_string())))
    }
}

/// A record for each output of each step, in the order of the steps.
pub(crate) fn records(steps: &[Step], mut results: HashMap<Class, Vec<Option<RecordOf>>>) -> Vec<Record> {
    let mut counts: HashMap<Class, u32> = HashMap::new();
    let mut count = |class, least: u32| {
        let known = counts.entry(class).or_insert(1);
        *known = least.max(*known);
    };
    for step in steps {
        let outputs = step.outputs.as_ref().map_or(1, Vec::len);
        count(step.entry.class(), u32::try_from(outputs).unwrap_or(OUTPUTS_MAX).min(OUTPUTS_MAX));
        for input in &step.entry.inputs {
            count(input.maker, output_of(input).map_or(1, |output| output + 1));
        }
    }
    let mut records = Vec::new();
    let mut places: HashMap<Class, i64> = HashMap::new();
    for step in steps {
        let class = step.entry.class();
        if places.contains_key(&class) {
            continue;
        }
        // A step of whose inputs one is not known cannot be found by anybody.
        let Some(inputs) = links(&step.entry, &places) else { continue };
        let outputs = results.remove(&class).unwrap_or_default();
        for output in 0..counts.get(&class).copied().unwrap_or(1) {
            let edge = class.output(output);
            places.insert(edge, records.len() as i64);
            let result = outputs.get(output as usize).cloned().flatten();
            records.push(record(&step.entry, edge, output, outputs.len(), inputs.clone(), result));
        }
    }
    records
}

fn links(entry: &Entry, places: &HashMap<Class, i64>) -> Option<Vec<Vec<Link>>> {
    let link = |input: &EntryInput| {
        let selector = match &input.key.look {
            Look::Path(path) => path.clone(),
            Look::Whole | Look::Contents(_) => String::new(),
        };
        Some(vec![Link { selector, link: *places.get(&input.key.edge)? }])
    };
    entry.inputs.iter().map(link).collect()
}

/// Which output of its maker an input is.
fn output_of(input: &EntryInput) -> Option<u32> {
    (0..OUTPUTS_MAX).find(|output| input.maker.output(*output) == input.key.edge)
}

fn record(
    entry: &Entry,
    edge: Class,
    output: u32,
    outputs: usize,
    inputs: Vec<Vec<Link>>,
    result: Option<RecordOf>,
) -> Record {
    let seen = entry.inputs.iter().map(|input| Seen {
        name: input.name.clone(),
        look: input.key.look.clone(),
        contents: input.key.contents.clone(),
    });
    let step = format::Step {
        op: entry.op.clone(),
        name: entry.name.clone(),
        output,
        outputs: u32::try_from(outputs).unwrap_or(OUTPUTS_MAX),
        scratch: matches!(result, Some(RecordOf::Nothing)),
        inputs: seen.collect(),
    };
    let mut record = Record { digest: digest_of(edge), inputs, step: Some(step), ..Record::default() };
    match result {
        Some(RecordOf::Layer(layer, created_at)) => record.results.push(RecordResult { layer, created_at }),
        Some(RecordOf::Chain(layers)) => record.chains.push(Chain { layers, created_at: no_time() }),
        Some(RecordOf::Nothing) | None => {}
    }
    record
}

/// A class as a digest.
pub(crate) fn digest_of(class: Class) -> String {
    format!("sha256:{class}")
}
