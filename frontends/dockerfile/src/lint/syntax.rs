//! Checks of the text alone: they need no image and no variable.

use std::collections::BTreeSet;

use super::{Lint, Rule};
use crate::{
    instruction::{Command, Instruction},
    parse::Tree,
    stage::{Dockerfile, Stage},
};

/// Makes all checks that need nothing but the Dockerfile.
pub fn check(tree: &Tree, file: &Dockerfile, lint: &mut Lint) {
    for node in tree.nodes() {
        if let Some(span) = node.empty_continuation {
            lint.warn_at(Rule::NoEmptyContinuation, "Empty continuation line".to_string(), span, &node.comments);
        }
    }
    for instruction in &file.globals {
        describe(instruction, lint);
    }
    for stage in &file.stages {
        check_from(stage, lint);
        describe(&stage.head, lint);
        for instruction in &stage.instructions {
            describe(instruction, lint);
            if matches!(instruction.command, Command::Maintainer(_)) {
                let message = "Maintainer instruction is deprecated in favor of using label";
                lint.warn(Rule::MaintainerDeprecated, message.to_string(), instruction);
            }
        }
    }
    check_stage_names(file, lint);
    check_casing(file, lint);
}

fn check_from(stage: &Stage, lint: &mut Lint) {
    let (Some(keyword), Some(name)) = (&stage.from.as_keyword, &stage.from.name) else { return };
    if name.text != name.text.to_lowercase() {
        lint.warn(Rule::StageNameCasing, format!("Stage name '{}' should be lowercase", name.text), &stage.head);
    }
    let from = &stage.head.keyword.text;
    let expected = match casing(from) {
        Some(Casing::Lower) => keyword.text.to_lowercase(),
        Some(Casing::Upper) => keyword.text.to_uppercase(),
        None => return,
    };
    if keyword.text != expected {
        let message = format!("'{}' and '{from}' keywords' casing do not match", keyword.text);
        lint.warn(Rule::FromAsCasing, message, &stage.head);
    }
}

/// A comment right above an `ARG` or a named stage describes it; then it begins with the name.
fn describe(instruction: &Instruction, lint: &mut Lint) {
    let (keyword, names): (&str, Vec<String>) = match &instruction.command {
        Command::Arg(args) => ("ARG", args.iter().map(|arg| arg.name.clone()).collect()),
        // A stage is known by its name in lower case.
        Command::From(from) => ("FROM", from.name.iter().map(|name| name.text.to_lowercase()).collect()),
        _ => return,
    };
    let (Some(comment), Some(first)) = (instruction.comments.last(), names.first()) else { return };
    if comment.split(' ').next().is_some_and(|word| names.iter().any(|name| name == word)) {
        return;
    }
    let example = if names.len() > 1 { "<arg_key>" } else { first };
    let message = format!("Comment for {keyword} should follow the format: `# {example} <description>`");
    lint.warn(Rule::InvalidDefinitionDescription, message, instruction);
}

fn check_stage_names(file: &Dockerfile, lint: &mut Lint) {
    let mut seen = BTreeSet::new();
    for stage in &file.stages {
        let Some(name) = &stage.name else { continue };
        if name == "context" || name == "scratch" {
            let message = format!("Stage name should not use the same name as reserved stage {name:?}");
            lint.warn(Rule::ReservedStageName, message, &stage.head);
        }
        if !seen.insert(name) {
            let message = format!("Duplicate stage name {name:?}, stage names should be unique");
            lint.warn(Rule::DuplicateStageName, message, &stage.head);
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Casing {
    Lower,
    Upper,
}

/// `None` for mixed case.
fn casing(word: &str) -> Option<Casing> {
    let is = |case: fn(char) -> bool| word.chars().any(case);
    if !is(char::is_uppercase) {
        Some(Casing::Lower)
    } else if !is(char::is_lowercase) {
        Some(Casing::Upper)
    } else {
        None
    }
}

/// All keywords should be written as most are.
fn check_casing(file: &Dockerfile, lint: &mut Lint) {
    let instructions = || file.stages.iter().flat_map(|stage| std::iter::once(&stage.head).chain(&stage.instructions));
    let (mut lower, mut upper) = (0, 0);
    for instruction in instructions() {
        match casing(&instruction.keyword.text) {
            Some(Casing::Lower) => lower += 1,
            Some(Casing::Upper) => upper += 1,
            None => {}
        }
    }
    let (majority, word) = match lower > upper {
        true => (Casing::Lower, "lowercase"),
        false => (Casing::Upper, "uppercase"),
    };
    for instruction in instructions() {
        let keyword = &instruction.keyword.text;
        if casing(keyword) != Some(majority) {
            let message = format!("Command '{keyword}' should match the case of the command majority ({word})");
            lint.warn(Rule::ConsistentInstructionCasing, message, instruction);
        }
    }
}
