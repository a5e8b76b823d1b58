//! WORKDIR.

use super::{
    ops::{MkdirOp, Op},
    stage::Lowerer,
};
use crate::{
    instruction::Instruction,
    lint::Rule,
    shell::Rules,
    source::{Problem, Token},
    text::path,
};

impl Lowerer<'_, '_> {
    pub(super) fn workdir(&mut self, token: &Token, at: &Instruction) -> Result<(), Problem> {
        let wanted = self.expand(&token.text, token.span, at)?;
        let is_absolute = self.state.slashed(&wanted).is_ok_and(|wanted| wanted.starts_with('/'));
        if !self.state.workdir_set && !is_absolute {
            let message = format!("Relative workdir {wanted:?} can have unexpected results if the base image changes");
            self.lint.warn(Rule::WorkdirRelativePath, message, at);
        }
        self.state.workdir_set = true;
        self.state.enter(&wanted).map_err(|why| Problem::new(why, token.span))?;
        let dir = self.state.dir.clone();
        let makes_layer = dir != "/";
        if makes_layer {
            let text = self.shown_text(&at.text, Rules::new(self.plan.file.escape), &self.state.env);
            let platform = self.state.platform.clone();
            let shown = self.shown(&text, Some(&platform), at, false);
            let user = &self.state.image.config.user;
            let owner = (!user.is_empty()).then(|| owner(user));
            let path = path::clean(&dir);
            self.state.ops.push(Op::Mkdir(MkdirOp { shown, path, owner, created: self.plan.args.epoch }));
        }
        self.history(format!("WORKDIR {dir}"), makes_layer);
        Ok(())
    }
}

/// user[:group] with the number of `root`, which needs no look-up. What is empty is root, as in BuildKit: `app:` is not the user's
/// own group.
pub(super) fn owner(text: &str) -> String {
    let number = |part: &str| if part == "root" || part.is_empty() { "0".to_string() } else { part.to_string() };
    match text.split_once(':') {
        Some((user, group)) => format!("{}:{}", number(user), number(group)),
        None => number(text),
    }
}
