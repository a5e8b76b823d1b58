//! Case files: `=== name` begins a case, `-- word --` a section of it.

use std::path::Path;

use anyhow::{Context, bail};

/// A case.
#[derive(Debug)]
pub struct Case {
    /// What follows `===`.
    pub name: String,
    /// In order.
    pub sections: Vec<Section>,
}

/// A section of a case.
#[derive(Debug, PartialEq, Eq)]
pub struct Section {
    /// Between the dashes.
    pub title: String,
    /// All lines up to the next section; the last blank line is left out.
    pub body: String,
    /// The line of the title, from 1.
    pub line: usize,
}

/// The cases of a file.
pub fn read(path: &Path) -> anyhow::Result<Vec<Case>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    parse(&text).with_context(|| format!("in {}", path.display()))
}

/// The cases of a text.
pub fn parse(text: &str) -> anyhow::Result<Vec<Case>> {
    let mut cases: Vec<Case> = Vec::new();
    // Not `lines`: carriage returns belong to the files.
    for (number, line) in text.strip_suffix('\n').unwrap_or(text).split('\n').enumerate() {
        let number = number + 1;
        if let Some(name) = line.strip_prefix("=== ") {
            cases.push(Case { name: name.trim().into(), sections: Vec::new() });
            continue;
        }
        let Some(case) = cases.last_mut() else {
            // Before the first case stands what the file is about.
            continue;
        };
        let title = line.strip_prefix("-- ").and_then(|rest| rest.strip_suffix(" --"));
        match (title, case.sections.last_mut()) {
            (Some(title), _) => {
                case.sections.push(Section { title: title.into(), body: String::new(), line: number });
            }
            (None, Some(section)) => {
                section.body.push_str(line);
                section.body.push('\n');
            }
            (None, None) if line.trim().is_empty() || line.starts_with('#') => {}
            (None, None) => bail!("line {number}: text before the first section of {:?}", case.name),
        }
    }
    for section in cases.iter_mut().flat_map(|case| &mut case.sections) {
        if section.body.ends_with("\n\n") || section.body == "\n" {
            section.body.pop();
        }
    }
    Ok(cases)
}

/// Cases as a file holds them, without what stands before the first.
pub fn print(cases: &[Case]) -> String {
    let case = |case: &Case| {
        let section = |section: &Section| format!("-- {} --\n{}", section.title, section.body);
        format!("=== {}\n{}", case.name, case.sections.iter().map(section).collect::<String>())
    };
    cases.iter().map(case).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    #[test]
    fn sections_keep_their_lines() {
        let cases =
            super::parse("about\n=== one\n-- a --\nx\n\ny\n\n-- b c --\n=== two\n# note\n-- d --\nz\n").unwrap();
        assert_eq!(cases.len(), 2);
        let bodies: Vec<_> = cases[0].sections.iter().map(|s| (s.title.as_str(), s.body.as_str(), s.line)).collect();
        assert_eq!(bodies, [("a", "x\n\ny\n", 3), ("b c", "", 8)]);
        assert_eq!(cases[1].sections[0].body, "z\n");
        let text = "=== one\n-- a --\nx\n\ny\n-- b c --\n\n=== two\n-- d --\nz\n";
        assert_eq!(super::print(&super::parse(text).unwrap()), text);
        assert!(super::parse("=== one\ntext\n").is_err());
    }
}
