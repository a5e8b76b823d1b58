//! Case files, for tests of frontends: `=== name` begins a case, `-- word --` a section of it. What stands before the first case says
//! what the file is about; between a case's name and its first section may stand notes, each line with a `#` in front.

use std::{path::Path, sync::Arc};

use anyhow::{Context, bail};
use llb::op::{Range, SourceFile};
use serde_json::{Value, json};

/// A case.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// What follows `===`.
    pub name: String,
    /// The line of that, from 1.
    pub line: usize,
    /// The lines before the first section.
    pub notes: String,
    /// In order.
    pub sections: Vec<Section>,
}

/// A section of a case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// Between the dashes.
    pub title: String,
    /// All lines up to the next section; the last blank line is left out.
    pub body: String,
    /// Whether there was such a blank line.
    pub is_spaced: bool,
    /// The line of the title, from 1.
    pub line: usize,
}

/// A file of cases.
#[derive(Clone, Debug, Default)]
pub struct CaseFile {
    /// What stands before the first case.
    pub about: String,
    /// In order.
    pub cases: Vec<Case>,
}

/// The cases of a file.
///
/// # Errors
/// A file that cannot be read, or is malformed.
pub fn read(path: &Path) -> anyhow::Result<Vec<Case>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    Ok(parse(&text).with_context(|| format!("in {}", path.display()))?.cases)
}

/// The cases of a text.
///
/// # Errors
/// Text where there is to be a section.
pub fn parse(text: &str) -> anyhow::Result<CaseFile> {
    let mut file = CaseFile::default();
    // Not `lines`: carriage returns belong to the files.
    for (number, line) in text.strip_suffix('\n').unwrap_or(text).split('\n').enumerate() {
        let number = number + 1;
        if let Some(name) = line.strip_prefix("=== ") {
            file.cases.push(Case { name: name.trim().into(), line: number, ..Case::default() });
            continue;
        }
        let Some(case) = file.cases.last_mut() else {
            file.about.extend([line, "\n"]);
            continue;
        };
        let title = line.strip_prefix("-- ").and_then(|rest| rest.strip_suffix(" --"));
        match (title, case.sections.last_mut()) {
            (Some(title), _) => {
                case.sections.push(Section { title: title.into(), line: number, ..Section::default() });
            }
            (None, Some(section)) => section.body.extend([line, "\n"]),
            (None, None) if line.trim().is_empty() || line.starts_with('#') => case.notes.extend([line, "\n"]),
            (None, None) => bail!("line {number}: text before the first section of {:?}", case.name),
        }
    }
    for section in file.cases.iter_mut().flat_map(|case| &mut case.sections) {
        if section.body.ends_with("\n\n") || section.body == "\n" {
            section.body.pop();
            section.is_spaced = true;
        }
    }
    Ok(file)
}

/// A file's text, which [`parse`] reads as the same. Between cases there is a blank line.
pub fn print(file: &CaseFile) -> String {
    let mut out = file.about.clone();
    for (number, case) in file.cases.iter().enumerate() {
        out.push_str(&format!("=== {}\n{}", case.name, case.notes));
        for (at, section) in case.sections.iter().enumerate() {
            let (is_last_case, is_last) = (number + 1 == file.cases.len(), at + 1 == case.sections.len());
            // A last blank line would be taken for the space.
            let needs_space = section.body.ends_with("\n\n") || section.body == "\n";
            let is_spaced = needs_space || if is_last { !is_last_case } else { section.is_spaced };
            out.push_str(&format!("-- {} --\n{}{}", section.title, section.body, if is_spaced { "\n" } else { "" }));
        }
    }
    out
}

/// A digest from the short one of a case: its hexadecimal digits are said again and again.
pub fn whole_digest(short: &str) -> String {
    let digits = short.strip_prefix("sha256:").unwrap_or(short);
    format!("sha256:{}", digits.chars().cycle().take(64).collect::<String>())
}

/// A whole image config from its `config`, of an image with one layer.
pub fn whole_config(config: Value, platform: &str, layer: &str) -> Value {
    let mut parts = platform.split('/');
    let os = parts.next().filter(|os| !os.is_empty()).unwrap_or("linux");
    let architecture = parts.next().unwrap_or("amd64");
    let mut whole = json!({ "architecture": architecture, "os": os, "config": config });
    if let Some(variant) = parts.next() {
        whole["variant"] = variant.into();
    }
    whole["rootfs"] = json!({ "type": "layers", "diff_ids": [layer] });
    whole
}

/// The first place that a problem names, as `FILE:LINE:COLUMN-COLUMN: `, counted from 1; empty where it names none.
pub fn place(source: Option<&(Arc<SourceFile>, Vec<Range>)>) -> String {
    let Some((file, ranges)) = source else { return String::new() };
    let Some(range) = ranges.first() else { return String::new() };
    let (line, start, end) = (range.start_line, range.start_character + 1, range.end_character + 1);
    if range.end_line == line {
        return format!("{}:{line}:{start}-{end}: ", file.filename);
    }
    format!("{}:{line}:{start}-{}:{end}: ", file.filename, range.end_line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_keep_their_lines() {
        let cases = parse("about\n=== one\n-- a --\nx\n\ny\n\n-- b c --\n=== two\n# note\n-- d --\nz\n").unwrap().cases;
        assert_eq!(cases.len(), 2);
        let bodies: Vec<_> = cases[0].sections.iter().map(|s| (s.title.as_str(), s.body.as_str(), s.line)).collect();
        assert_eq!(bodies, [("a", "x\n\ny\n", 3), ("b c", "", 8)]);
        assert_eq!(cases[1].sections[0].body, "z\n");
        assert!(parse("=== one\ntext\n").is_err());
    }

    #[test]
    fn what_was_read_is_written_the_same() {
        for text in [
            "",
            "=== one\n-- a --\nx\n\ny\n-- b c --\n\n=== two\n-- d --\nz\n",
            "about\n\n=== one\n\n# note\n-- a --\nx\n\n-- b --\n\n\n-- c --\n\n=== two\n-- d --\nz\n\n\n",
        ] {
            let file = parse(text).unwrap();
            let printed = print(&file);
            assert_eq!(printed, if text.is_empty() { "\n" } else { text });
        }
    }
}
