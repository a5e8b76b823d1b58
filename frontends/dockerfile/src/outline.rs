//! What a build of one target may be told.

use std::collections::BTreeSet;

use pintle_sdk::answer::{Arg, Needed, Outline};

use crate::{
    lower::{Lowered, Uses, Wanted},
    plan::{Declared, Plan},
    source::Lines,
};

/// Gathers what the target and all that it needs ask the client for; of what has one name, the nearest to the target counts.
pub fn outline(plan: &Plan, lowered: &Lowered, source: &str) -> Outline {
    let target = &plan.nodes[plan.target];
    let mut outline = Outline { source: source.to_string(), ..Outline::default() };
    if let Some(stage) = target.stage {
        outline.name = stage.name.clone().unwrap_or_default();
        outline.description = stage.head.description(&outline.name).to_string();
    }
    let mut gathered = Gathered { plan, outline, seen: [const { BTreeSet::new() }; 3] };
    for index in nearest_first(plan) {
        if let Some(stage) = lowered.stages.get(&index) {
            gathered.stage(&stage.uses);
        }
    }
    let mut outline = gathered.outline;
    outline.args.sort_by_key(|arg| arg.lines.0);
    outline.secrets.sort_by_key(|secret| secret.lines.0);
    outline.ssh.sort_by_key(|agent| agent.lines.0);
    outline
}

/// The target, then what it begins with, then what it reads, each with its own needs behind it.
fn nearest_first(plan: &Plan) -> Vec<usize> {
    let (mut order, mut open, mut seen) = (Vec::new(), vec![plan.target], BTreeSet::new());
    while let Some(index) = open.pop() {
        if !seen.insert(index) {
            continue;
        }
        order.push(index);
        let needs: Vec<usize> = plan.needs(index).collect();
        open.extend(needs.into_iter().rev());
    }
    order
}

struct Gathered<'a, 'p> {
    plan: &'a Plan<'p>,
    outline: Outline,
    /// Names of arguments, secrets and agents so far.
    seen: [BTreeSet<String>; 3],
}

impl Gathered<'_, '_> {
    fn stage(&mut self, uses: &Uses) {
        for name in self.all_needed(&uses.args) {
            let global = || self.plan.args.declared.get(&name);
            let Some(declared) = uses.declared.get(&name).or_else(global) else { continue };
            if self.seen[0].insert(name.clone()) {
                self.outline.args.push(arg(name, declared));
            }
        }
        for (name, wanted) in &uses.secrets {
            if self.seen[1].insert(name.clone()) {
                self.outline.secrets.push(needed(name, wanted));
            }
        }
        for (name, wanted) in &uses.ssh {
            if self.seen[2].insert(name.clone()) {
                self.outline.ssh.push(needed(name, wanted));
            }
        }
    }

    /// `names`, and the arguments that the defaults of global ones are made of.
    fn all_needed(&self, names: &BTreeSet<String>) -> BTreeSet<String> {
        let (mut all, mut open) = (names.clone(), Vec::from_iter(names));
        while let Some(declared) = open.pop().map(|name| self.plan.args.declared.get(name)) {
            let needs = declared.into_iter().flat_map(|declared| &declared.needs);
            open.extend(needs.filter(|name| all.insert((*name).clone())));
        }
        all
    }
}

fn arg(name: String, declared: &Declared) -> Arg {
    let Declared { value, description, lines, .. } = declared.clone();
    Arg { name, description, value, lines: pair(lines) }
}

fn needed(name: &str, wanted: &Wanted) -> Needed {
    Needed { name: name.to_string(), required: wanted.required, lines: pair(wanted.lines) }
}

/// Lines as answers have them.
pub fn pair(lines: Lines) -> (u32, u32) {
    (lines.first, lines.last)
}
