//! What a component says of itself.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, bail};
use frontend::Library;
use serde_json::json;

use super::{Inspect, registry::in_layout};
use crate::commands::build::LAYOUT;

pub async fn run(inspect: &Inspect, library: &Library) -> anyhow::Result<()> {
    let what = &inspect.what;
    let mut facts = serde_json::Map::new();
    let component = if what.starts_with(LAYOUT) {
        let packed = in_layout(what).await?;
        facts.insert("name".into(), json!(what));
        facts.insert("manifest".into(), json!(packed.manifest.digest));
        packed.component.to_vec()
    } else if what.ends_with(".wasm") {
        read(Path::new(what))?
    } else {
        let reference = super::registry::reference(what)?;
        let Some(entry) = library.find(&reference.to_string()) else {
            bail!(
                "{reference}: not fetched yet: run pintle frontend pull {what} first, or name a file that ends in .wasm"
            );
        };
        if entry.is_image() {
            bail!("{reference}: is the image {}: what it asks for is known when it runs", entry.manifest);
        }
        facts.insert("name".into(), json!(entry.name));
        facts.insert("manifest".into(), json!(entry.manifest));
        let file = library.blob(&entry.component);
        read(&file.with_context(|| format!("{reference}: its component is gone"))?)?
    };
    let interfaces = frontend::interfaces(&component).with_context(|| what.clone())?;
    facts.insert("component".into(), json!(oci::digest_of(&component)));
    facts.insert("size".into(), json!(component.len()));
    facts.insert("imports".into(), json!(interfaces.imports));
    facts.insert("exports".into(), json!(interfaces.exports));
    match inspect.json {
        true => println!("{:#}", serde_json::Value::Object(facts)),
        false => print(&facts, &interfaces),
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("read {}", path.display()))
}

fn print(facts: &serde_json::Map<String, serde_json::Value>, interfaces: &frontend::Interfaces) {
    for key in ["name", "manifest", "component", "size"] {
        match facts.get(key) {
            Some(serde_json::Value::String(text)) => println!("{key:<10} {text}"),
            Some(other) => println!("{key:<10} {other}"),
            None => {}
        }
    }
    let list = |title: &str, interfaces: &BTreeMap<String, Vec<String>>| {
        println!("{title}");
        for (name, functions) in interfaces {
            println!("  {name}");
            for function in functions {
                println!("    {function}");
            }
        }
    };
    list("imports", &interfaces.imports);
    list("exports", &interfaces.exports);
}
