//! STOPSIGNAL.

use super::stage::Lowerer;
use crate::{
    instruction::Instruction,
    source::{Problem, Token},
    text::nearest,
};

/// Names of Linux signals, without `SIG`; the real-time ones are counted from both ends.
const SIGNALS: [&str; 35] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
    "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1",
    "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN",
];
const MAX_ABOVE_RTMIN: u32 = 15;
const MAX_BELOW_RTMAX: u32 = 14;

impl Lowerer<'_, '_> {
    pub(super) fn stop_signal(&mut self, token: &Token, at: &Instruction) -> Result<(), Problem> {
        let signal = self.expand(&token.text, token.span, at)?;
        if !is_signal(&signal) {
            let upper = signal.to_ascii_uppercase();
            let message = format!("invalid signal: {signal}");
            let message = nearest::suggest(message, upper.trim_start_matches("SIG"), SIGNALS);
            return Err(Problem::new(message, token.span));
        }
        self.history(format!("STOPSIGNAL {signal}"), false);
        self.state.image.config.stop_signal = signal;
        Ok(())
    }
}

fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i64>() {
        return number != 0;
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |prefix: &str| name.strip_prefix(prefix).and_then(|number| number.parse::<u32>().ok());
    SIGNALS.contains(&name)
        || name == "RTMAX"
        || offset("RTMIN+").is_some_and(|above| (1..=MAX_ABOVE_RTMIN).contains(&above))
        || offset("RTMAX-").is_some_and(|below| (1..=MAX_BELOW_RTMAX).contains(&below))
}

#[cfg(test)]
mod tests {
    use super::is_signal;

    #[test]
    fn signals() {
        assert!(["SIGTERM", "term", "9", "RTMIN+15", "SIGRTMAX-1"].into_iter().all(is_signal));
        assert!(!["", "0", "SIGFOO", "RTMIN+16", "RTMAX-0"].into_iter().any(is_signal));
    }
}
