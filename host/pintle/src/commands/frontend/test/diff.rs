//! Two texts, line by line.

/// The longest texts, in lines, that are compared by their common lines; of longer ones what differs is shown as one block.
const LINES_MAX: usize = 4000;
/// Lines that are the same and shown around a difference.
const AROUND: usize = 3;

/// A line of a difference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Line<'a> {
    Same(&'a str),
    Gone(&'a str),
    New(&'a str),
}

/// What became of `old`: lines that are gone have a `-`, new ones a `+`, and three lines around stay. Empty for the same texts.
pub fn diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let begin = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let rest = old.len().min(new.len()) - begin;
    let end = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let mut lines: Vec<Line<'_>> = old[..begin].iter().map(|line| Line::Same(line)).collect();
    middle(&old[begin..old.len() - end], &new[begin..new.len() - end], &mut lines);
    lines.extend(old[old.len() - end..].iter().map(|line| Line::Same(line)));
    print(&lines)
}

/// By the longest list of lines that both have.
fn middle<'a>(old: &[&'a str], new: &[&'a str], out: &mut Vec<Line<'a>>) {
    if old.len() > LINES_MAX || new.len() > LINES_MAX {
        out.extend(old.iter().map(|line| Line::Gone(line)));
        out.extend(new.iter().map(|line| Line::New(line)));
        return;
    }
    // common[a][b]: how many lines old[a..] and new[b..] have in common.
    let width = new.len() + 1;
    let mut common = vec![0u16; (old.len() + 1) * width];
    for a in (0..old.len()).rev() {
        for b in (0..new.len()).rev() {
            common[a * width + b] = match old[a] == new[b] {
                true => common[(a + 1) * width + b + 1] + 1,
                false => common[(a + 1) * width + b].max(common[a * width + b + 1]),
            };
        }
    }
    let (mut a, mut b) = (0, 0);
    while a < old.len() || b < new.len() {
        if a < old.len() && b < new.len() && old[a] == new[b] {
            out.push(Line::Same(old[a]));
            (a, b) = (a + 1, b + 1);
        } else if a < old.len() && (b == new.len() || common[(a + 1) * width + b] >= common[a * width + b + 1]) {
            out.push(Line::Gone(old[a]));
            a += 1;
        } else {
            out.push(Line::New(new[b]));
            b += 1;
        }
    }
}

fn print(lines: &[Line<'_>]) -> String {
    let differs = |line: &Line<'_>| !matches!(line, Line::Same(_));
    let mut out = String::new();
    let mut is_gap = false;
    for (at, line) in lines.iter().enumerate() {
        let near = &lines[at.saturating_sub(AROUND)..(at + AROUND + 1).min(lines.len())];
        if !near.iter().any(differs) {
            is_gap = true;
            continue;
        }
        if std::mem::take(&mut is_gap) {
            out.push_str("  ...\n");
        }
        let (sign, text) = match line {
            Line::Same(text) => (' ', text),
            Line::Gone(text) => ('-', text),
            Line::New(text) => ('+', text),
        };
        out.push_str(format!("{sign} {text}").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_differ() {
        assert_eq!(diff("a\nb\n", "a\nb\n"), "");
        assert_eq!(diff("", "a\n"), "+ a\n");
        assert_eq!(diff("a\nb\nc\n", "a\nx\nc\n"), "  a\n- b\n+ x\n  c\n");
        assert_eq!(diff("a\nb\nc\nd\n", "b\nd\ne\n"), "- a\n  b\n- c\n  d\n+ e\n");
        let (old, new) = ("1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\n5\n6\n7\n8\n0\n");
        assert_eq!(diff(old, new), "  ...\n  6\n  7\n  8\n- 9\n+ 0\n");
    }

    #[test]
    fn long_texts_are_one_block() {
        let text = |word: &str| (0..=LINES_MAX).map(|number| format!("{word}{number}\n")).collect::<String>();
        let shown = diff(&text("a"), &text("b"));
        assert_eq!(shown.lines().count(), 2 * (LINES_MAX + 1));
        assert!(shown.starts_with("- a0\n- a1\n"));
    }
}
