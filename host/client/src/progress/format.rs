//! Times, sizes and foreign text, as they are shown.

use jiff::SignedDuration;

/// Tabs are set every so many columns.
const TAB_COLUMNS: usize = 8;

/// Seconds with one decimal, `1.2s`. What is shorter than half of that is nothing.
pub(super) fn seconds(duration: SignedDuration) -> String {
    let seconds = duration.as_secs_f64().max(0.0);
    format!("{:.1}s", if seconds < 0.05 { 0.0 } else { seconds })
}

/// The time of a log line since its step began: as many digits as fit five columns.
pub(super) fn log_seconds(duration: SignedDuration) -> String {
    let seconds = duration.as_secs_f64().max(0.0);
    let decimals = match seconds {
        s if s < 10.0 => 3,
        s if s < 100.0 => 2,
        _ => 1,
    };
    format!("{seconds:.decimals$}")
}

/// A number of bytes in decimal units: `104B`, `1.05kB`, `28.23MB`.
pub(super) fn bytes(n: i64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value.abs() >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{n}B") } else { format!("{value:.2}{}", UNITS[unit]) }
}

/// `3.15MB / 28.23MB`, or only what there is; empty when there is nothing.
pub(super) fn amount(current: i64, total: i64) -> String {
    match (current, total) {
        (0, 0) => String::new(),
        (current, 0) => bytes(current),
        (current, total) => format!("{} / {}", bytes(current), bytes(total)),
    }
}

/// Text of unknown origin without anything that could steer a terminal: escape sequences are dropped, other control characters
/// become `\u{fffd}`, tabs stay, and a carriage return takes back what stood before it in its line.
pub fn harmless(text: &str) -> String {
    let text = text.strip_suffix('\r').unwrap_or(text);
    let mut out = String::with_capacity(text.len());
    let mut line = 0;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            '\u{9b}' => skip_until(&mut chars, |c| ('\u{40}'..='\u{7e}').contains(&c)),
            '\r' if chars.peek() == Some(&'\n') => {}
            '\r' => out.truncate(line),
            '\n' => {
                out.push(c);
                line = out.len();
            }
            '\t' => out.push(c),
            c if c.is_control() || is_bidi(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Characters that turn the direction of text, so that it reads as something that it is not.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// Skips what follows an escape: ECMA-48 control sequences, strings that end in BEL or ST, and short sequences.
fn skip_escape(chars: &mut Chars<'_>) {
    match chars.next() {
        Some('[') => skip_until(chars, |c| ('\u{40}'..='\u{7e}').contains(&c)),
        Some(']' | 'P' | '^' | '_' | 'X') => {
            skip_until(chars, |c| matches!(c, '\u{7}' | '\u{1b}' | '\u{9c}' | '\n'));
            chars.next_if_eq(&'\\');
        }
        Some(c) if ('\u{20}'..='\u{2f}').contains(&c) => skip_until(chars, |c| c >= '\u{30}'),
        _ => {}
    }
}

fn skip_until(chars: &mut Chars<'_>, end: impl Fn(char) -> bool) {
    while let Some(c) = chars.peek().copied() {
        // A line's end is never part of a sequence: one that is broken off must not take the next line with it.
        if c == '\n' {
            return;
        }
        chars.next();
        if end(c) {
            return;
        }
    }
}

/// On one line, with tabs as spaces: for a place in a table.
pub(super) fn one_line(text: &str) -> String {
    let mut out = String::new();
    for c in harmless(text).chars() {
        match c {
            '\t' => out.extend(std::iter::repeat_n(' ', TAB_COLUMNS - width(&out) % TAB_COLUMNS)),
            '\n' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Columns that harmless text takes.
pub(super) fn width(text: &str) -> usize {
    unicode_width::UnicodeWidthStr::width(text)
}

/// As much of the text as fits, and spaces for the rest.
pub(super) fn fit(text: &str, columns: usize) -> String {
    let mut out = cut(text, columns).to_owned();
    out.extend(std::iter::repeat_n(' ', columns.saturating_sub(width(&out))));
    out
}

/// As much of the text as fits.
pub(super) fn cut(text: &str, columns: usize) -> &str {
    let mut used = 0;
    for (i, c) in text.char_indices() {
        used += unicode_width::UnicodeWidthChar::width(c).unwrap_or(0);
        if used > columns {
            return &text[..i];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times() {
        let sizes =
            [(0, "0B"), (104, "104B"), (999, "999B"), (1050, "1.05kB"), (28_231_000, "28.23MB"), (-1500, "-1.50kB")];
        for (n, want) in sizes {
            assert_eq!(bytes(n), want);
        }
        assert_eq!(bytes(i64::MAX), "9.22EB");
        assert_eq!((amount(0, 0), amount(5, 0), amount(0, 5)), (String::new(), "5B".into(), "0B / 5B".into()));
        for (millis, want, log) in [
            (-5, "0.0s", "0.000"),
            (49, "0.0s", "0.049"),
            (1250, "1.2s", "1.250"),
            (61_000, "61.0s", "61.00"),
            (100_000, "100.0s", "100.0"),
        ] {
            let duration = SignedDuration::from_millis(millis);
            assert_eq!((seconds(duration).as_str(), log_seconds(duration).as_str()), (want, log));
        }
    }

    #[test]
    fn text_cannot_steer_a_terminal() {
        let cases = [
            ("plain ä\tx", "plain ä\tx"),
            ("\x1b[31mred\x1b[0m", "red"),
            ("\x1b]0;title\x07after", "after"),
            ("\x1b]8;;http://x\x1b\\link", "link"),
            ("\x1b(Bx\x1b7y", "xy"),
            ("\u{9b}2Jx", "x"),
            ("10%\r20%\r", "20%"),
            ("a\r\nb", "a\nb"),
            ("a\x1b[2", "a"),
            ("a\x1b]open\nb", "a\nb"),
            ("bell\x07 nul\0 del\x7f", "bell\u{fffd} nul\u{fffd} del\u{fffd}"),
            ("\u{202e}txt.exe", "\u{fffd}txt.exe"),
        ];
        for (text, want) in cases {
            assert_eq!(harmless(text), want, "{text:?}");
        }
    }

    #[test]
    fn text_fits() {
        assert_eq!(fit("ab", 4), "ab  ");
        assert_eq!(fit("abcdef", 4), "abcd");
        // A wide character that would stick out is left away.
        assert_eq!(fit("a漢字", 4), "a漢 ");
        assert_eq!(one_line("a\tb\nc"), "a       b c");
    }
}
