//! Lines: comments, parser directives, blank lines, and logical lines that are joined from several by the escape character.
//!
//! Every byte of the source belongs to exactly one [`Line`], so that a tree made of them prints back what was read.

use crate::source::{Lines, Problem, Span};

/// A directive's name and value: `# escape=x`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Directive {
    /// In lower case: `syntax`, `escape` or `check`.
    pub name: String,
    /// Without the space around it.
    pub value: String,
    /// Name and value.
    pub span: Span,
}

/// The directives that a Dockerfile knows. Any other `# name=value` is a comment.
pub const DIRECTIVES: [&str; 3] = ["syntax", "escape", "check"];

/// One line, or several that belong together.
#[derive(Debug)]
pub enum Line {
    /// Nothing but space.
    Blank,
    /// A comment, without its `#` and the space around it.
    Comment(String),
    /// A parser directive.
    Directive(Directive),
    /// An instruction, heredocs not included.
    Logical(LogicalLine),
}

/// An instruction joined to one line.
#[derive(Debug, Default)]
pub struct LogicalLine {
    /// Without continuation characters, newlines, and the comments and empty lines in between.
    pub text: String,
    /// The lines that it stands on.
    pub lines: Lines,
    /// Where each physical line's part begins: offset in `text` and in the source, ascending.
    segments: Vec<(u32, u32)>,
    /// When set, everything is said to stand here: the text is not part of the source.
    anchor: Option<Span>,
    /// The first empty line between continued lines, if there is one.
    pub empty_continuation: Option<Span>,
}

impl LogicalLine {
    /// Where a range of `text` stands in the source.
    pub fn span(&self, start: usize, end: usize) -> Span {
        if let Some(anchor) = self.anchor {
            return anchor;
        }
        let from = self.offset(start);
        let to = if end > start { self.offset(end - 1) + 1 } else { from };
        Span { start: from, end: to }
    }

    fn offset(&self, at: usize) -> u32 {
        let at = at as u32;
        let index = self.segments.partition_point(|(text, _)| *text <= at).saturating_sub(1);
        self.segments.get(index).map_or(0, |(text, source)| source + (at - text))
    }
}

/// Reads lines.
pub struct Lexer<'a> {
    source: &'a str,
    at: usize,
    line: u32,
    /// The character that continues lines and takes the meaning from others: `\` or a backtick.
    pub escape: char,
    directives: Option<Vec<String>>,
    anchor: Option<(Span, Lines)>,
}

impl<'a> Lexer<'a> {
    /// A lexer at the start of `source`. With `anchor`, all spans and lines are those given.
    pub fn new(source: &'a str, anchor: Option<(Span, Lines)>) -> Self {
        Lexer { source, at: 0, line: 0, escape: '\\', directives: Some(Vec::new()), anchor }
    }

    /// The offset of the next unread byte.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// The number of the last line read.
    pub fn line(&self) -> u32 {
        self.anchor.map_or(self.line, |(_, lines)| lines.last)
    }

    /// The next physical line with its newline, and where it begins.
    pub fn physical(&mut self) -> Option<(usize, &'a str)> {
        let start = self.at;
        let rest = self.source.get(start..).filter(|rest| !rest.is_empty())?;
        let length = rest.find('\n').map_or(rest.len(), |at| at + 1);
        self.at += length;
        self.line += 1;
        Some((start, &rest[..length]))
    }

    /// The next line, and what is wrong with it.
    pub fn next_line(&mut self, problems: &mut Vec<Problem>) -> Option<Line> {
        let (mut start, mut raw) = self.physical()?;
        if let Some(rest) = raw.strip_prefix('\u{feff}').filter(|_| start == 0) {
            (start, raw) = (raw.len() - rest.len(), rest);
        }
        let content = trim_newline(raw);
        let trimmed = content.trim_start();
        let indent = content.len() - trimmed.len();
        if let Some(directive) = self.directive(trimmed, start + indent, problems) {
            return Some(Line::Directive(directive));
        }
        if let Some(comment) = trimmed.strip_prefix('#') {
            return Some(Line::Comment(comment.trim().to_string()));
        }
        if trimmed.is_empty() {
            return Some(Line::Blank);
        }
        Some(Line::Logical(self.logical(start + indent, trimmed)))
    }

    fn directive(&mut self, line: &str, start: usize, problems: &mut Vec<Problem>) -> Option<Directive> {
        let seen = self.directives.as_mut()?;
        let Some((name, value)) = line.strip_prefix('#').and_then(parse_directive) else {
            self.directives = None;
            return None;
        };
        let span = self.anchor.map_or(Span::new(start, start + line.trim_end().len()), |(span, _)| span);
        if seen.contains(&name) {
            problems.push(Problem::new(format!("only one {name} parser directive can be used"), span));
        }
        seen.push(name.clone());
        if name == "escape" {
            match value.as_str() {
                "\\" => self.escape = '\\',
                "`" => self.escape = '`',
                other => problems.push(Problem::new(
                    format!("invalid escape character {other:?}: want a backslash or a backtick"),
                    span,
                )),
            }
        }
        Some(Directive { name, value, span })
    }

    fn logical(&mut self, start: usize, first: &str) -> LogicalLine {
        let line = self.line;
        let mut logical = LogicalLine { anchor: self.anchor.map(|(span, _)| span), ..Default::default() };
        let mut more = self.append(&mut logical, start, first);
        while more {
            let Some((start, raw)) = self.physical() else { break };
            let content = trim_newline(raw);
            let trimmed = content.trim_start();
            if trimmed.starts_with('#') {
                continue;
            }
            if trimmed.is_empty() {
                logical.empty_continuation.get_or_insert(Span::new(start, start + content.len()));
                continue;
            }
            more = self.append(&mut logical, start, content);
        }
        logical.lines = self.anchor.map_or(Lines { first: line, last: self.line }, |(_, lines)| lines);
        logical
    }

    /// Adds a physical line; says whether the next one continues it.
    fn append(&self, logical: &mut LogicalLine, start: usize, content: &str) -> bool {
        logical.segments.push((logical.text.len() as u32, start as u32));
        let continued = strip_continuation(content, self.escape);
        logical.text.push_str(continued.unwrap_or(content));
        continued.is_some()
    }
}

/// `content` without a continuation character at its end; `None` where the line ends here. An escape character before it takes
/// its meaning.
fn strip_continuation(content: &str, escape: char) -> Option<&str> {
    let before = content.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!before.ends_with(escape)).then_some(before)
}

fn trim_newline(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

/// Name (in lower case) and value of `name=value` after a comment sign, when the name is a directive's.
pub fn parse_directive(comment: &str) -> Option<(String, String)> {
    let (name, value) = comment.trim_start().split_once('=')?;
    let (name, value) = (name.trim_end().to_ascii_lowercase(), value.trim());
    (DIRECTIVES.contains(&name.as_str()) && !value.is_empty()).then(|| (name, value.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lex(source: &str) -> (Vec<String>, Vec<Problem>) {
        let (mut lexer, mut problems, mut out) = (Lexer::new(source, None), Vec::new(), Vec::new());
        while let Some(line) = lexer.next_line(&mut problems) {
            out.push(match line {
                Line::Blank => "blank".to_string(),
                Line::Comment(text) => format!("comment {text}"),
                Line::Directive(directive) => format!("directive {}={}", directive.name, directive.value),
                Line::Logical(line) => format!("{}-{} {}", line.lines.first, line.lines.last, line.text),
            });
        }
        (out, problems)
    }

    #[test]
    fn directives_end_at_the_first_other_line() {
        let (lines, problems) = lex("# Escape = `\n#check=skip=all\n# note\n# syntax=x\nRUN a `\n b\n");
        assert_eq!(
            lines,
            ["directive escape=`", "directive check=skip=all", "comment note", "comment syntax=x", "5-6 RUN a  b"]
        );
        assert!(problems.is_empty());
        assert_eq!(lex("#escape=x").1[0].span, Span::new(0, 9));
        assert_eq!(lex("#escape=\\\n#escape=`").1.len(), 1);
    }

    #[test]
    fn continuations() {
        assert_eq!(lex("RUN a \\\n# c\n\n  b\\\\\nX").0, ["1-4 RUN a   b\\\\", "5-5 X"]);
        assert_eq!(lex("\u{feff}RUN a \\  \t\r\n").0, ["1-1 RUN a "]);
        assert_eq!(lex("RUN \\").0, ["1-1 RUN "]);
    }

    #[test]
    fn spans_reach_through_continuations() {
        let source = "RUN ab\\\n  cd ef";
        let Some(Line::Logical(line)) = Lexer::new(source, None).next_line(&mut Vec::new()) else { panic!("logical") };
        assert_eq!(line.text, "RUN ab  cd ef");
        assert_eq!(line.span(8, 10).of(source), "cd");
        assert_eq!(line.span(4, 10).of(source), "ab\\\n  cd");
        assert_eq!(line.span(11, 13).of(source), "ef");
    }
}
