//! Permission bits to set: a number, or symbolic as chmod takes it.

/// All bits that a mode has but the sticky one.
const STANDARD: u32 = 0o6777;
const STICKY: u32 = 0o1000;
const EXECUTE: u32 = 0o111;

/// A change of permission bits.
pub enum ModeChange {
    /// These bits, whatever was there.
    Exact(u32),
    /// Steps of a symbolic mode, done in order.
    Symbolic(Vec<Step>),
}

/// One step of a symbolic mode as chmod(1) takes it: clauses `[ugoa]*([-+=][rwxXstugo]*)+` with commas between them.
#[derive(Clone, Copy)]
pub enum Step {
    Set(u32),
    Clear(u32),
    /// Bits to set in directories, and in files that somebody may execute.
    SetExecutable(u32),
    /// What the three bits at `from` allow (6: the user, 3: the group, 0: others) becomes what those of `who` may do (`=`), is added
    /// to it (`+`) or taken from it (`-`).
    Copy {
        from: u32,
        who: u32,
        op: char,
    },
}

impl ModeChange {
    /// From an action's `mode` and `mode_str`; the text wins where both are given.
    pub fn new(mode: Option<u32>, text: &str) -> anyhow::Result<Option<Self>> {
        if text.is_empty() {
            return Ok(mode.map(ModeChange::Exact));
        }
        let invalid =
            || anyhow::anyhow!("invalid mode {text:?}: want an octal number like 0755, or symbolic like u=rwX,go-w");
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let bits = u32::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o7777);
            return bits.map(|bits| Some(ModeChange::Exact(bits))).ok_or_else(invalid);
        }
        let mut steps = Vec::new();
        for clause in text.split(',') {
            parse(clause, &mut steps).ok_or_else(invalid)?;
        }
        Ok(Some(ModeChange::Symbolic(steps)))
    }

    /// The bits of a file that has `mode` now.
    pub fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        let steps = match self {
            ModeChange::Exact(bits) => return *bits,
            ModeChange::Symbolic(steps) => steps,
        };
        let executable = is_dir || mode & EXECUTE != 0;
        steps.iter().fold(mode & 0o7777, |now, step| match *step {
            Step::Set(bits) => now | bits,
            Step::Clear(bits) => now & !bits,
            Step::SetExecutable(bits) => now | if executable { bits } else { 0 },
            Step::Copy { from, who, op } => {
                let bits = ((now >> from & 0o7) * 0o111) & who;
                match op {
                    '+' => now | bits,
                    '-' => now & !bits,
                    _ => now & !(who & 0o777) | bits,
                }
            }
        })
    }
}

/// Adds the steps of one clause; `None` where it is none.
fn parse(clause: &str, steps: &mut Vec<Step>) -> Option<()> {
    let start = clause.find(['+', '-', '='])?;
    let mut who = 0;
    for letter in clause[..start].chars() {
        who |= match letter {
            'u' => 0o4700,
            'g' => 0o2070,
            'o' => 0o0007,
            'a' => STANDARD,
            _ => return None,
        };
    }
    let mut rest = &clause[start..];
    while let Some(op) = rest.chars().next() {
        let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |at| at + 1);
        actions(if who == 0 { STANDARD } else { who }, op, &rest[1..end], steps)?;
        rest = &rest[end..];
    }
    Some(())
}

/// Adds the steps of one operator with its letters.
fn actions(who: u32, op: char, letters: &str, steps: &mut Vec<Step>) -> Option<()> {
    let copies = letters.contains(['u', 'g', 'o']);
    let others_alone = who & !0o007 == 0;
    // Sticky is nobody's in particular.
    let who = who | if letters.contains('t') && !others_alone { STICKY } else { 0 };
    if op == '=' && !copies {
        steps.push(Step::Clear(who));
    }
    for letter in letters.chars() {
        let bits = who
            & match letter {
                'r' => 0o444,
                'w' => 0o222,
                'x' | 'X' => EXECUTE,
                's' => 0o6000,
                't' => STICKY,
                'u' | 'g' | 'o' => 0,
                _ => return None,
            };
        steps.push(match (letter, op) {
            ('u', _) => Step::Copy { from: 6, who, op },
            ('g', _) => Step::Copy { from: 3, who, op },
            ('o', _) => Step::Copy { from: 0, who, op },
            (_, '-') => Step::Clear(bits),
            ('X', _) => Step::SetExecutable(bits),
            _ => Step::Set(bits),
        });
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::ModeChange;

    #[test]
    fn table() {
        let cases = [
            ("0755", 0o600, false, 0o755),
            ("u+x", 0o644, false, 0o744),
            ("go-w", 0o666, false, 0o644),
            ("a=r", 0o777, false, 0o444),
            ("+X", 0o644, false, 0o644),
            ("+X", 0o644, true, 0o755),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u+s", 0o755, false, 0o4755),
            ("+t", 0o755, true, 0o1755),
            ("u=rwX,go=rX", 0o4755, false, 0o755),
            ("u=rwX,go=rX", 0o1777, true, 0o1755),
            ("a=rX", 0o6777, true, 0o555),
            ("=", 0o7777, false, 0o1000),
            ("u+r-w", 0o200, false, 0o400),
            ("g=u", 0o640, false, 0o660),
            ("go=u-w", 0o755, false, 0o755),
            ("o+g", 0o650, false, 0o655),
            ("u-o", 0o705, false, 0o205),
            ("o+st", 0o755, false, 0o755),
            ("+s", 0o755, false, 0o6755),
            ("-X", 0o751, false, 0o640),
        ];
        for (text, before, is_dir, after) in cases {
            let change = ModeChange::new(None, text).unwrap().unwrap();
            assert_eq!(change.apply(before, is_dir), after, "{text} on {before:o}");
        }
        for bad in ["u", "z+x", "u+q", "99", "77777", "u+x,"] {
            assert!(ModeChange::new(None, bad).is_err(), "{bad:?} is refused");
        }
    }
}
