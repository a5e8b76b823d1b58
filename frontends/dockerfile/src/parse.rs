//! From a text to a tree of instructions. Parsing never fails: it gives a tree and a list of problems, and the tree prints
//! back the text.

mod arguments;
mod heredoc;
mod keyword;

use std::{fmt, rc::Rc};

pub use arguments::{Arguments, Pair};
pub use heredoc::{Heredoc, opening};
pub use keyword::{KEYWORDS, known_keyword};

use crate::{
    lex::{Directive, Lexer, Line, LogicalLine},
    source::{Lines, Problem, Span, Token},
};

/// A Dockerfile is at most this long.
pub const MAX_SOURCE_BYTES: usize = 16 << 20;

/// A Dockerfile, read.
#[derive(Debug)]
pub struct Tree<'a> {
    /// What was read.
    pub source: &'a str,
    /// In order; together they cover all of the source.
    pub items: Vec<Item>,
    /// What lines are continued with.
    pub escape: char,
}

/// Whole lines of a Dockerfile.
#[derive(Debug)]
pub struct Item {
    /// From the first byte of the first line to the last newline.
    pub span: Span,
    /// What they are.
    pub kind: ItemKind,
}

/// See [`Item`].
#[derive(Debug)]
pub enum ItemKind {
    /// Nothing but space.
    Blank,
    /// The text after the `#`.
    Comment(String),
    /// `# syntax=...` and its like.
    Directive(Directive),
    /// An instruction with its heredocs.
    Node(Box<Node>),
}

/// An instruction, cut into its parts but not yet understood.
#[derive(Debug)]
pub struct Node {
    /// From the keyword to the end of the last argument; heredocs not included.
    pub span: Span,
    /// Heredocs included.
    pub lines: Lines,
    /// As it was written.
    pub keyword: Token,
    /// The keyword in upper case, where it is one.
    pub name: Option<&'static str>,
    /// `--name=value`, without quotes.
    pub flags: Vec<Token>,
    /// Cut as the keyword asks for.
    pub arguments: Arguments,
    /// In the order in which they are opened.
    pub heredocs: Vec<Heredoc>,
    /// The comments right above.
    pub comments: Vec<String>,
    /// The line, joined, without the space around it.
    pub text: Rc<str>,
    /// The first empty line between continued lines, if there is one.
    pub empty_continuation: Option<Span>,
}

impl Tree<'_> {
    /// The instructions, in order.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.items.iter().filter_map(|item| match &item.kind {
            ItemKind::Node(node) => Some(node.as_ref()),
            _ => None,
        })
    }

    /// The value of a parser directive.
    pub fn directive(&self, name: &str) -> Option<&Directive> {
        self.items.iter().find_map(|item| match &item.kind {
            ItemKind::Directive(directive) if directive.name == name => Some(directive),
            _ => None,
        })
    }
}

impl fmt::Display for Tree<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.items.iter().try_for_each(|item| f.write_str(item.span.of(self.source)))
    }
}

/// Reads a Dockerfile.
pub fn parse(source: &str) -> (Tree<'_>, Vec<Problem>) {
    parse_anchored(source, None)
}

/// Reads an instruction that is not written where it acts (a trigger of a base image): all of it is said to stand at `anchor`.
pub fn parse_anchored(source: &str, anchor: Option<(Span, Lines)>) -> (Tree<'_>, Vec<Problem>) {
    if source.len() > MAX_SOURCE_BYTES {
        let tree = Tree { source: "", items: Vec::new(), escape: '\\' };
        let message = format!("the file has {} bytes, more than the limit of {MAX_SOURCE_BYTES}", source.len());
        return (tree, vec![Problem::new(message, Span::default())]);
    }
    let mut parser = Parser { lexer: Lexer::new(source, anchor), problems: Vec::new(), comments: Vec::new() };
    let mut items = Vec::new();
    loop {
        let start = parser.lexer.offset();
        let Some(line) = parser.lexer.next_line(&mut parser.problems) else { break };
        let kind = parser.item(line);
        items.push(Item { span: Span::new(start, parser.lexer.offset()), kind });
    }
    let escape = parser.lexer.escape;
    (Tree { source, items, escape }, parser.problems)
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    problems: Vec<Problem>,
    comments: Vec<String>,
}

impl Parser<'_> {
    fn item(&mut self, line: Line) -> ItemKind {
        match line {
            Line::Blank => ItemKind::Blank,
            Line::Directive(directive) => ItemKind::Directive(directive),
            Line::Comment(comment) => {
                if comment.is_empty() {
                    self.comments.clear();
                } else {
                    self.comments.push(comment.clone());
                }
                ItemKind::Comment(comment)
            }
            Line::Logical(line) if line.text.trim().is_empty() => ItemKind::Blank,
            Line::Logical(line) => ItemKind::Node(Box::new(self.node(&line))),
        }
    }

    fn node(&mut self, line: &LogicalLine) -> Node {
        let start = line.text.len() - line.text.trim_start().len();
        let end = line.text.trim_end().len();
        let comments = std::mem::take(&mut self.comments);
        let mut node = self.instruction(line, start, end, true);
        node.comments = comments;
        node.empty_continuation = line.empty_continuation;
        let holder = node.trigger().unwrap_or(&node);
        if holder.takes_heredocs() && line.text.contains("<<") {
            node.heredocs = self.heredocs(line, &node);
            node.lines.last = self.lexer.line();
        }
        node
    }

    /// What stands between `start` and `end` of a line. Only an `outer` instruction may hold another: there is no deeper nesting.
    fn instruction(&mut self, line: &LogicalLine, start: usize, end: usize, outer: bool) -> Node {
        let text = &line.text[start..end];
        let length = text.find(is_space).unwrap_or(text.len());
        let keyword = Token::new(&text[..length], line.span(start, start + length));
        let mut at = start + length;
        let flags = arguments::flags(line, &mut at, end, self.lexer.escape);
        at += line.text[at..end].len() - line.text[at..end].trim_start().len();
        let name = known_keyword(&keyword.text);
        let arguments = self.arguments(name, line, at, end, outer);
        Node {
            span: line.span(start, end),
            lines: line.lines,
            keyword,
            name,
            flags,
            arguments,
            heredocs: Vec::new(),
            comments: Vec::new(),
            text: text.into(),
            empty_continuation: None,
        }
    }

    fn arguments(
        &mut self,
        name: Option<&str>,
        line: &LogicalLine,
        start: usize,
        end: usize,
        outer: bool,
    ) -> Arguments {
        if start >= end {
            return Arguments::None;
        }
        match name {
            Some("ONBUILD") if outer => Arguments::Trigger(Box::new(self.instruction(line, start, end, false))),
            name => {
                let reader = arguments::Reader { line, escape: self.lexer.escape, start, end };
                reader.read(name.unwrap_or_default(), &mut self.problems)
            }
        }
    }
}

impl Node {
    /// The instruction inside an `ONBUILD`.
    pub fn trigger(&self) -> Option<&Node> {
        match &self.arguments {
            Arguments::Trigger(node) => Some(node),
            _ => None,
        }
    }

    /// Whether its arguments, or those of the instruction inside of it, could not be cut.
    pub fn is_invalid(&self) -> bool {
        match &self.arguments {
            Arguments::Invalid => true,
            Arguments::Typed(_, arguments) => matches!(**arguments, Arguments::Invalid),
            Arguments::Trigger(node) => node.is_invalid(),
            _ => false,
        }
    }

    fn takes_heredocs(&self) -> bool {
        let takes = matches!(self.name, Some("ADD" | "COPY" | "RUN"));
        takes && !matches!(self.arguments, Arguments::Json(_))
    }
}

/// What separates a keyword and plain arguments.
fn is_space(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}
