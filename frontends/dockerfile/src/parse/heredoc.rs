//! Heredocs: `<<NAME`, `<<-NAME`, `<<"NAME"`, with a descriptor's number in front.

use super::{Node, Parser};
use crate::{
    lex::LogicalLine,
    shell::{self, Empty, Rules},
    source::{Problem, Span},
};

/// Text that stands on the lines below an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// What ends it.
    pub name: String,
    /// Variables in it are resolved: the name was not quoted.
    pub expand: bool,
    /// Tabs at the front of lines are taken away: it was opened with `<<-`.
    pub chomp: bool,
    /// The lines, with their newlines; tabs are still there.
    pub content: String,
    /// Where the lines stand, without the one that ends it.
    pub span: Span,
}

impl Heredoc {
    /// The content as it is meant, tabs taken away where they should be.
    pub fn text(&self) -> String {
        if !self.chomp {
            return self.content.clone();
        }
        self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// A heredoc without its content, when `word` opens one.
pub fn opening(word: &str) -> Option<Heredoc> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (chomp, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    let rest = rest.trim_start();
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let rules = Rules { keep_unset: true, ..Rules::new('\\') };
    let plain = shell::expand(rest, rules, &Empty).ok()?.words;
    let raw = shell::expand(rest, Rules { keep_quotes: true, ..rules }, &Empty).ok()?.words;
    let ([name], [raw]) = (plain.as_slice(), raw.as_slice()) else { return None };
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    Some(Heredoc {
        name: name.clone(),
        expand: quotes(name) == quotes(raw),
        chomp,
        content: String::new(),
        span: Span::default(),
    })
}

impl Parser<'_> {
    /// The heredocs that a line opens, with what stands below it.
    pub(super) fn heredocs(&mut self, line: &LogicalLine, node: &Node) -> Vec<Heredoc> {
        let rules = Rules { keep_quotes: true, keep_escapes: true, keep_unset: true, ..Rules::new('\\') };
        // What the shell cannot read has no heredocs.
        let words = shell::expand(&line.text, rules, &Empty).map(|expansion| expansion.words).unwrap_or_default();
        let mut out = Vec::new();
        for mut heredoc in words.iter().filter_map(|word| opening(word)) {
            if !self.content(&mut heredoc) {
                let message = format!("unterminated heredoc: no line says {:?}", heredoc.name);
                self.problems.push(Problem::new(message, node.span));
                break;
            }
            out.push(heredoc);
        }
        out
    }

    /// Reads up to the line that ends the heredoc; says whether there is one.
    fn content(&mut self, heredoc: &mut Heredoc) -> bool {
        let start = self.lexer.offset();
        while let Some((end, raw)) = self.lexer.physical() {
            let line = raw.trim_end_matches(['\r', '\n']);
            let line = if heredoc.chomp { line.trim_start_matches('\t') } else { line };
            if line == heredoc.name {
                heredoc.span = Span::new(start, end);
                return true;
            }
            heredoc.content.push_str(raw);
        }
        false
    }
}
