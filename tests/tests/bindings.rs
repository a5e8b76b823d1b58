//! The bindings of the SDK for Go are those that wit-bindgen makes of the interface. `UPDATE=1` writes them anew.

use std::{fs, path::Path};

use wit_bindgen_core::Files;

/// What the generated code imports, and where the SDK has it.
const IMPORTS: [(&str, &str); 3] = [
    ("\"go.bytecodealliance.org/pkg/wit/", "\"github.com/pintle/pintle/sdk/go/internal/wit/"),
    (
        "\"example.com/bind/exports/export_wit_world\"",
        "export_wit_world \"github.com/pintle/pintle/sdk/go/internal/wit/export\"",
    ),
    ("\"example.com/bind/", "\"github.com/pintle/pintle/sdk/go/internal/wit/"),
];

fn generated(wit: &Path) -> Files {
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve.push_path(wit).expect("the interface can be read");
    let world = resolve.select_world(&[package], Some("frontend")).expect("it has the world");
    let options = wit_bindgen_go::Opts {
        quiet: true,
        format: wit_bindgen_go::Format::False,
        pkg_name: Some("example.com/bind".to_owned()),
        ..Default::default()
    };
    let mut files = Files::default();
    options.build().generate(&mut resolve, world, &mut files).expect("bindings are made");
    files
}

#[test]
fn bindings_of_go_are_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    let mut check = |path: &Path, text: &str| {
        if update {
            fs::create_dir_all(path.parent().expect("it lies in a directory")).expect("a directory can be made");
            fs::write(path, text).expect("it can be written");
        } else if fs::read_to_string(path).unwrap_or_default() != text {
            wrong.push(path.display().to_string());
        }
    };
    for (name, bytes) in generated(&root.join("wit/v0.1")).iter() {
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        for (from, to) in IMPORTS {
            text = text.replace(from, to);
        }
        // The calls of the host are there in a component alone.
        let path = Path::new(name).with_extension("");
        let extension = Path::new(name).extension().unwrap_or_default().to_string_lossy();
        let name = format!("{}_wasm.{extension}", path.display());
        check(&root.join("sdk/go/internal/wit").join(name), &text);
    }
    let words = fs::read_to_string(root.join("wit/v0.1/attributes.md")).expect("the table is there");
    check(&root.join("sdk/go/pintletest/attributes.md"), &words);
    assert!(wrong.is_empty(), "not what wit/v0.1 gives; run the test with UPDATE=1: {wrong:?}");
}
