//! Small components, made of the texts in `seeds/loader`.

use std::{fs, path::Path};

use anyhow::{Context, bail};

/// Writes what the target begins with into the directory that the variable names, and ends; where there is none, does nothing.
pub fn write_where_asked() {
    let Some(dir) = std::env::var_os("FUZZ_SEEDS") else { return };
    write(Path::new(&dir)).expect("seeds can be made and written");
    std::process::exit(0);
}

fn write(to: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir("seeds/loader")? {
        let path = entry?.path();
        let component = component(&path).with_context(|| path.display().to_string())?;
        fs::write(to.join(path.file_stem().context("it has a name")?), component)?;
    }
    Ok(())
}

/// A component as its text has it, or what becomes of a core module.
fn component(path: &Path) -> anyhow::Result<Vec<u8>> {
    let binary = wat::parse_file(path)?;
    match frontend::check(&binary, "it") {
        Ok(()) => Ok(binary),
        Err(_) => frontend::encode(&binary).or_else(|error| bail!("{error}")),
    }
}
