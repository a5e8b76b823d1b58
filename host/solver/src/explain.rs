//! Says in words why the cache answered, or did not.

use crate::{
    Look, RecordId, Vertex, World,
    keys::Class,
    memory::{Entry, Memory},
};

/// Why a vertex waits for a run that it did not start.
pub(crate) const JOINED: &str = "it is being made for another build";
/// Why a vertex was not looked at.
pub(crate) const UNNEEDED: &str = "not needed: what is made of it came from the cache";

/// Why the cache answered. `looked_at` are the inputs whose contents had to be seen for it.
pub(crate) fn hit<'a>(looked_at: impl Iterator<Item = (usize, &'a str)>) -> String {
    let names: Vec<_> = looked_at.map(|(i, name)| input_name(i, name)).collect();
    match &names[..] {
        [] => "nothing that it is made of changed".into(),
        [name] => format!("{name} holds what it held then"),
        [names @ .., last] => format!("{} and {last} hold what they held then", names.join(", ")),
    }
}

/// Why the cache did not answer for a vertex whose op has the key `op`. `made_anew` is the input that must not come from the cache,
/// `gone` a record that should have answered.
pub(crate) fn miss<W: World>(
    memory: &Memory,
    vertex: &Vertex<W>,
    op: &str,
    inputs: &[Class],
    made_anew: Option<usize>,
    gone: Option<&RecordId>,
) -> anyhow::Result<String> {
    let name = |i: usize| input_name(i, &vertex.inputs[i].vertex.name);
    if vertex.no_cache {
        return Ok("it was asked to run whatever the cache has".into());
    }
    if let Some(i) = made_anew {
        return Ok(format!("{} was made anew", name(i)));
    }
    if let Some(record) = gone {
        return Ok(format!("its record {} is gone", record.0));
    }
    let seen = memory.seen(op)?;
    let Some(nearest) = seen.iter().min_by_key(|entry| differing(entry, inputs).count()) else {
        return Ok(match memory.made_of(inputs)?.filter(|_| !inputs.is_empty()) {
            Some(other) => format!("the step changed: of the same inputs, \"{}\" was made before", other.name),
            None => "no step like it was run before".into(),
        });
    };
    if nearest.inputs.len() != inputs.len() {
        return Ok(format!("it has {} inputs, and had {} before", inputs.len(), nearest.inputs.len()));
    }
    let reasons: Vec<_> = differing(nearest, inputs)
        .map(|i| difference(nearest, i, &vertex.inputs[i].look, &vertex.inputs[i].vertex.name))
        .collect();
    Ok(if reasons.is_empty() { "it was run before, but no record is left".into() } else { reasons.join("; ") })
}

/// The inputs in which `entry` was made of something else. The newest of several equally near entries comes first.
fn differing<'a>(entry: &'a Entry, inputs: &'a [Class]) -> impl Iterator<Item = usize> + 'a {
    let length = entry.inputs.len().abs_diff(inputs.len());
    let pairs = entry.inputs.iter().zip(inputs).enumerate();
    pairs
        .filter(|(_, (then, now))| then.key.class() != **now)
        .map(|(i, _)| i)
        .chain(inputs.len()..inputs.len() + length)
}

fn difference(entry: &Entry, i: usize, look: &Look, name: &str) -> String {
    let (then, now) = (&entry.inputs[i].name, input_name(i, name));
    match look {
        Look::Contents(_) => format!("{now} has contents that this step has not seen"),
        Look::Whole | Look::Path(_) if then != name => format!("{now} was \"{then}\" before"),
        Look::Whole | Look::Path(_) => format!("{now} changed"),
    }
}

fn input_name(i: usize, name: &str) -> String {
    format!("input {} \"{name}\"", i + 1)
}
