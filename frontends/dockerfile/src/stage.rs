//! A Dockerfile as stages.

use std::{collections::HashMap, rc::Rc};

use crate::{
    instruction::{Command, FromStage, Instruction, understand},
    parse::Tree,
    source::{Problem, Span},
};

/// A Dockerfile, understood.
#[derive(Debug)]
pub struct Dockerfile {
    /// What lines are continued with.
    pub escape: char,
    /// `ARG`s above the first stage.
    pub globals: Vec<Rc<Instruction>>,
    /// In order; never empty where there is no problem.
    pub stages: Vec<Stage>,
    /// By name; of several with one name, the last.
    index: HashMap<String, usize>,
}

/// From one `FROM` to the next.
#[derive(Debug)]
pub struct Stage {
    /// The `FROM`.
    pub head: Rc<Instruction>,
    /// What it says.
    pub from: FromStage,
    /// In lower case.
    pub name: Option<String>,
    /// What follows.
    pub instructions: Vec<Rc<Instruction>>,
}

impl Dockerfile {
    /// Understands a tree that is to be built; adds to the problems that parsing found.
    pub fn read(tree: &Tree, problems: &mut Vec<Problem>) -> Self {
        let file = Dockerfile::look(tree, problems);
        if let (true, true, Some(last)) = (file.stages.is_empty(), problems.is_empty(), tree.nodes().last()) {
            let message = "the Dockerfile has no stages to build: there is no FROM".to_string();
            problems.push(Problem::new(message, last.span));
        }
        file
    }

    /// As [`Dockerfile::read`], where nothing is to be built: it may have no stages.
    pub fn look(tree: &Tree, problems: &mut Vec<Problem>) -> Self {
        let mut file =
            Dockerfile { escape: tree.escape, globals: Vec::new(), stages: Vec::new(), index: HashMap::new() };
        for node in tree.nodes() {
            if let Some(instruction) = understand(node, problems) {
                file.add(Rc::new(instruction), problems);
            }
        }
        if tree.nodes().next().is_none() && problems.is_empty() {
            let end = Span::new(tree.source.len(), tree.source.len());
            problems.push(Problem::new("the Dockerfile has no instructions".to_string(), end));
        }
        file
    }

    fn add(&mut self, instruction: Rc<Instruction>, problems: &mut Vec<Problem>) {
        match (&instruction.command, self.stages.last_mut()) {
            (Command::From(from), _) => self.begin(from.clone(), instruction.clone()),
            (_, Some(stage)) => stage.instructions.push(instruction),
            (Command::Arg(_), None) => self.globals.push(instruction),
            (_, None) => {
                let keyword = instruction.keyword.text.to_uppercase();
                problems.push(Problem::new(
                    format!("no build stage yet: {keyword} needs a FROM above it"),
                    instruction.span,
                ));
            }
        }
    }

    fn begin(&mut self, from: FromStage, head: Rc<Instruction>) {
        let name = from.name.as_ref().map(|name| name.text.to_lowercase());
        self.index.extend(name.clone().map(|name| (name, self.stages.len())));
        self.stages.push(Stage { head, from, name, instructions: Vec::new() });
    }

    /// A stage by its name, whatever the case.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.index.get(&name.to_lowercase()).copied()
    }

    /// Names of stages, for suggestions.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.stages.iter().filter_map(|stage| stage.name.as_deref())
    }
}
