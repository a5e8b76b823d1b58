//! Where we answer otherwise than BuildKit, on purpose.

use anyhow::Context;

/// A difference that is wanted.
#[derive(Debug)]
pub struct Difference {
    /// A case that shows it names it so.
    pub name: &'static str,
    /// Why it is wanted.
    pub reason: &'static str,
    /// An answer's text without what may differ.
    pub forget: fn(&str) -> String,
}

/// All of them.
pub const ALL: &[Difference] = &[
    Difference {
        name: "names of what platforms share",
        reason: "a component has one graph for all platforms, so a vertex of several has one name and all its places",
        forget: without_names,
    },
    Difference {
        name: "numbers of steps under triggers",
        reason: "BuildKit counts the steps of a stage that a trigger copies from twice: [helper 3/2]",
        forget: without_numbers,
    },
    Difference {
        name: "place of an empty line",
        reason: "the warning points at the empty line, BuildKit's at the end of the instruction that it stands in",
        forget: without_empty_lines,
    },
    Difference {
        name: "groups in replacements",
        reason: "in ${v/pattern/text}, $1 stands for itself: that BuildKit uses a regular expression is no promise",
        forget: nothing,
    },
    Difference {
        name: "newlines in patterns",
        reason: "in ${v#pattern}, * and ? match a newline as they do in a shell",
        forget: nothing,
    },
    Difference {
        name: "letters beyond ASCII in flags",
        reason: "BuildKit reads flags byte by byte and garbles them",
        forget: nothing,
    },
    Difference {
        name: "escapes in names of steps",
        reason: "a RUN is shown with its escape characters, as docker/dockerfile 1.28 does; the answers are of 1.27",
        forget: without_names,
    },
    Difference {
        name: "escapes in quoted patterns",
        reason: "what is quoted in a pattern stands for itself, as in docker/dockerfile 1.28; the answers are of 1.27",
        forget: nothing,
    },
    Difference {
        name: "words before a default",
        reason: "EXPOSE 80/${T:-udp} is port 80; BuildKit forgets what stands before a default",
        forget: nothing,
    },
    Difference {
        name: "findings where an outline was asked for",
        reason: "they are told to who builds or asks for findings; BuildKit tells them beside an outline, too",
        forget: without_warnings,
    },
    Difference {
        name: "relative targets of secrets and agents",
        reason: "they lie in the working directory, which is said in the graph and in SSH_AUTH_SOCK",
        forget: without_targets,
    },
    Difference {
        name: "zone of a commit",
        reason: "all times in a history are in UTC; BuildKit writes a commit's time in the committer's zone",
        forget: without_times,
    },
    Difference {
        name: "numbers of stages that are not there",
        reason: "--from=9 is an error; for BuildKit it is an image of this name once an image was copied from",
        forget: nothing,
    },
];

/// The difference of a name.
///
/// # Errors
/// There is none.
pub fn find(name: &str) -> anyhow::Result<&'static Difference> {
    ALL.iter().find(|difference| difference.name == name).with_context(|| format!("no difference {name:?} is listed"))
}

/// What a vertex is called and where it stands.
fn without_names(text: &str) -> String {
    let keep = |line: &&str| !line.starts_with("   | com.docker.dockerfile.v1.command:");
    let digest = |line: &str| match line.strip_prefix("   | ").and_then(|rest| rest.split([' ', ':']).next()) {
        Some(word) if word.len() == 16 => format!("   | {word}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().filter(keep).map(digest).collect()
}

/// The numbers in `[stage 1/2]`.
fn without_numbers(text: &str) -> String {
    let line = |line: &str| match line.split_once("/").filter(|_| line.starts_with("   | ")) {
        Some((before, after)) if after.contains(']') => {
            let (before, after) = (before.trim_end_matches(|c: char| c.is_ascii_digit()), after.split_once(']'));
            format!("{before}]{}\n", after.map_or("", |(_, rest)| rest))
        }
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// An answer but for its warnings, each of which begins with its lines and the name of its rule.
fn without_warnings(text: &str) -> String {
    let lines = text.split(": ").next().unwrap_or_default();
    let is_warnings = !lines.is_empty() && lines.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | ','));
    if is_warnings { String::new() } else { text.to_owned() }
}

/// Mounts of secrets and agents, where the agent is, and the digest of what has them.
fn without_targets(text: &str) -> String {
    let has_target = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        matches!(words.as_slice(), ["mount", _, "secret" | "ssh", ..])
            || line.trim_start().starts_with("env SSH_AUTH_SOCK=")
    };
    let digest = |line: &str| match line.strip_prefix("   | ").and_then(|rest| rest.split_once(' ')) {
        Some((word, rest)) if word.len() == 16 => format!("   | {rest}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().filter(|line| !has_target(line)).map(digest).collect()
}

/// When things were made, and the digest of what says so.
fn without_times(text: &str) -> String {
    let line = |(number, line): (usize, &str)| match line.strip_prefix("history {\"created\":") {
        Some(rest) => format!("history {}\n", rest.split_once(',').map_or("", |(_, rest)| rest)),
        None if number == 0 && line.len() == 16 => String::new(),
        None => format!("{line}\n"),
    };
    text.lines().enumerate().map(line).collect()
}

/// The lines that a warning of an empty line names.
fn without_empty_lines(text: &str) -> String {
    let line = |line: &str| match line.contains("NoEmptyContinuation") {
        true => "NoEmptyContinuation\n".to_owned(),
        false => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// The answers have nothing in common.
fn nothing(_: &str) -> String {
    String::new()
}
