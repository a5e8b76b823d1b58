//! Components that are not where a path says: what to tell who wrote the path.

/// Files by which the project of a frontend is known.
pub(super) const PROJECTS: [&str; 4] = ["frontend.toml", "Cargo.toml", "go.mod", "package.json"];
/// The most components that are named.
const NAMED_MAX: usize = 5;

/// What may have been meant, by the names in the directory `dir`; empty where nothing can be said.
pub fn hint(dir: &str, names: &[String]) -> String {
    let mut components: Vec<&str> = names.iter().filter(|name| name.ends_with(".wasm")).map(String::as_str).collect();
    components.sort_unstable();
    let mut hint = String::new();
    if !components.is_empty() {
        let more = if components.len() > NAMED_MAX { " ..." } else { "" };
        components.truncate(NAMED_MAX);
        hint = format!("; {} has {}{more}", shown_dir(dir), components.join(", "));
    }
    if let Some(project) = PROJECTS.iter().find(|project| names.iter().any(|name| name == *project)) {
        let command =
            if dir.is_empty() { "pintle frontend build".into() } else { format!("pintle frontend build {dir}") };
        hint += &format!("; if the {project} there is the frontend's, `{command}` makes its component");
    }
    hint
}

fn shown_dir(dir: &str) -> &str {
    if dir.is_empty() { "the directory" } else { dir }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints() {
        let hint =
            |dir: &str, names: &[&str]| hint(dir, &names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(hint("", &["Dockerfile"]), "");
        assert_eq!(hint("", &["b.wasm", "a.wasm"]), "; the directory has a.wasm, b.wasm");
        assert_eq!(
            hint("langs/x", &["go.mod", "x.wasm"]),
            "; langs/x has x.wasm; if the go.mod there is the frontend's, `pintle frontend build langs/x` makes its component"
        );
        let many: Vec<_> = (0..9).map(|number| format!("{number}.wasm")).collect();
        assert!(super::hint("d", &many).ends_with("3.wasm, 4.wasm ..."), "only so many are named");
    }
}
