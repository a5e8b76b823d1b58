//! Which nodes need which.

use std::collections::BTreeSet;

use super::{Base, Plan};
use crate::source::Problem;

impl Plan<'_> {
    /// What a node begins with and reads from.
    pub(crate) fn needs(&self, index: usize) -> impl Iterator<Item = usize> {
        let node = &self.nodes[index];
        let base = match node.base {
            Base::Stage(base) => Some(base),
            _ => None,
        };
        base.into_iter().chain(node.steps.iter().flat_map(|step| step.sources.iter().flatten().copied()))
    }

    /// The target and all that it needs, in order; every node where all stages are looked at.
    pub fn reachable(&self) -> BTreeSet<usize> {
        if self.options.all_stages {
            return (0..self.nodes.len()).collect();
        }
        let (mut found, mut open) = (BTreeSet::from([self.target]), vec![self.target]);
        while let Some(index) = open.pop() {
            open.extend(self.needs(index).filter(|need| found.insert(*need)));
        }
        found
    }

    /// A stage that needs itself, by way of others or directly, is a problem.
    pub(super) fn check_cycles(&self) -> Result<(), Problem> {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            Open,
            Done,
        }
        let mut marks = vec![Mark::New; self.nodes.len()];
        for start in 0..self.nodes.len() {
            if marks[start] != Mark::New {
                continue;
            }
            marks[start] = Mark::Open;
            let mut path = vec![(start, self.needs(start).collect::<Vec<_>>())];
            while let Some((index, needs)) = path.last_mut() {
                let index = *index;
                let Some(next) = needs.pop() else {
                    marks[index] = Mark::Done;
                    path.pop();
                    continue;
                };
                match marks[next] {
                    Mark::Done => {}
                    Mark::Open => return Err(self.cycle(next, index)),
                    Mark::New => {
                        marks[next] = Mark::Open;
                        path.push((next, self.needs(next).collect()));
                    }
                }
            }
        }
        Ok(())
    }

    /// The problem of stage `from`, which needs the unfinished stage `to`.
    fn cycle(&self, to: usize, from: usize) -> Problem {
        let node = &self.nodes[from];
        let step = node.steps.iter().find(|step| step.sources.contains(&Some(to)));
        let span = step.map_or(node.at.span, |step| step.instruction.span);
        Problem::new(format!("circular dependency detected on stage: {}", self.nodes[to].name), span)
    }
}
