//! Permission bits to set: a number, or symbolic as chmod takes it.

/// A change of permission bits.
pub enum ModeChange {
    /// These bits, whatever was there.
    Exact(u32),
    /// Clauses of `[ugoa]*[-+=][rwxXst]*`, applied in order.
    Symbolic(Vec<Clause>),
}

/// One clause of a symbolic mode.
pub struct Clause {
    /// Which of user, group and others, as a mask of 0o700, 0o070, 0o007.
    who: u32,
    op: char,
    letters: String,
}

impl ModeChange {
    /// From an action's `mode` and `mode_str`; the text wins where both are given.
    pub fn new(mode: Option<u32>, text: &str) -> anyhow::Result<Option<Self>> {
        if text.is_empty() {
            return Ok(mode.map(ModeChange::Exact));
        }
        if text.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
            let bits = u32::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o7777);
            return bits.map(|bits| Some(ModeChange::Exact(bits))).ok_or_else(|| invalid(text));
        }
        let clauses = text.split(',').map(|clause| parse(clause).ok_or_else(|| invalid(text)));
        Ok(Some(ModeChange::Symbolic(clauses.collect::<anyhow::Result<_>>()?)))
    }

    /// The bits of a file that has `mode` now.
    pub fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        match self {
            ModeChange::Exact(bits) => *bits,
            ModeChange::Symbolic(clauses) => {
                clauses.iter().fold(mode & 0o7777, |mode, clause| clause.apply(mode, is_dir))
            }
        }
    }
}

fn invalid(text: &str) -> anyhow::Error {
    anyhow::anyhow!("invalid mode {text:?}: want an octal number like 0755, or symbolic like u=rwX,go-w")
}

fn parse(clause: &str) -> Option<Clause> {
    let split = clause.find(['+', '-', '='])?;
    let (who, rest) = clause.split_at(split);
    let mut mask = 0;
    for letter in who.chars() {
        mask |= match letter {
            'u' => 0o700,
            'g' => 0o070,
            'o' => 0o007,
            'a' => 0o777,
            _ => return None,
        };
    }
    let mut rest = rest.chars();
    let op = rest.next()?;
    let letters: String = rest.collect();
    let known = letters.chars().all(|letter| "rwxXst".contains(letter));
    known.then_some(Clause { who: if mask == 0 { 0o777 } else { mask }, op, letters })
}

impl Clause {
    fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        let mut bits = 0;
        for letter in self.letters.chars() {
            bits |= match letter {
                'r' => 0o444 & self.who,
                'w' => 0o222 & self.who,
                'x' => 0o111 & self.who,
                'X' if is_dir || mode & 0o111 != 0 => 0o111 & self.who,
                's' => {
                    (if self.who & 0o700 != 0 { 0o4000 } else { 0 }) | (if self.who & 0o070 != 0 { 0o2000 } else { 0 })
                }
                't' => 0o1000,
                _ => 0,
            };
        }
        match self.op {
            '+' => mode | bits,
            '-' => mode & !bits,
            _ => (mode & !self.who) | bits,
        }
    }
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
