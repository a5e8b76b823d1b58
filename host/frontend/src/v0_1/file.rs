use llb::op::{CopyAction, FileAction, FileActionKind, FileOp};

use super::{
    bindings::pintle::frontend::llb as wit_llb,
    convert::{Fault, content_bytes},
    graph::GuestGraph,
    vertex::{Inputs, VertexWords, chown},
    wit,
};
use crate::words::{Attrs, Table, octal};

/// Mode of a new file, unless it is given.
const FILE_MODE: u32 = 0o644;
/// Mode of a new directory, unless it is given.
const DIRECTORY_MODE: u32 = 0o755;

/// Adds a file vertex.
pub(super) fn add(
    graph: &mut GuestGraph,
    base: Option<wit::Edge>,
    actions: Vec<wit_llb::FileAction>,
    attrs: &[wit::Attr],
) -> Result<wit::Edge, Fault> {
    let attrs = Table::get().check(&["vertex"], attrs)?;
    if actions.is_empty() {
        return Err(Fault::invalid("a file vertex needs actions"));
    }
    let mut inputs = Inputs::default();
    let base = base.map(|edge| graph.edge_in(edge)).transpose()?.map(|edge| inputs.number(edge));
    let mut op = FileOp::default();
    let count = actions.len();
    for (at, action) in actions.into_iter().enumerate() {
        let place = format!("{} {:?}", action.kind, action.path);
        let from = source(graph, &mut inputs, &action).map_err(|fault| fault.at(&place))?;
        let kind = kind(action, base).map_err(|fault| fault.at(&place))?;
        let output = (at + 1 == count).then_some(0);
        op.actions.push(FileAction { input: base, secondary_input: from, output, kind });
    }
    // Actions' results are numbered after the inputs, whose number is known only now.
    for (at, action) in op.actions.iter_mut().enumerate().skip(1) {
        action.input = Some(inputs.len() + at as u32 - 1);
    }
    graph.add(llb::Op::File(op), inputs.into_edges(), VertexWords::new(&attrs)?)
}

/// The input that a copy reads.
fn source(graph: &GuestGraph, inputs: &mut Inputs, action: &wit_llb::FileAction) -> Result<Option<u32>, Fault> {
    match action.input {
        None => Ok(None),
        Some(edge) if action.kind == "copy" => Ok(Some(inputs.number(graph.edge_in(edge)?))),
        Some(_) => Err(Fault::invalid("only a copy has an input")),
    }
}

fn kind(action: wit_llb::FileAction, base: Option<u32>) -> Result<FileActionKind, Fault> {
    let wit_llb::FileAction { kind, path, input: _, content, attrs } = action;
    let on = format!("file.{kind}");
    if !Table::get().supports(&on) {
        return Err(Fault::unknown_kind("file action", &kind));
    }
    let attrs = Table::get().check(&[&on], &attrs)?;
    if content.is_some() != (kind == "mkfile") {
        return Err(Fault::invalid("a mkfile, and no other action, has content"));
    }
    let (owner, timestamp) = (chown(&attrs, base), attrs.number("created"));
    let mode = |default: u32| attrs.mode("mode").unwrap_or(default) as i32;
    Ok(match kind.as_str() {
        "copy" => FileActionKind::Copy(Box::new(copy(path, &attrs, base)?)),
        "mkfile" => {
            let data = content.map(content_bytes).unwrap_or_default().into();
            FileActionKind::Mkfile { path, mode: mode(FILE_MODE), data, owner, timestamp }
        }
        "mkdir" => {
            let make_parents = attrs.flag("parents");
            FileActionKind::Mkdir { path, mode: mode(DIRECTORY_MODE), make_parents, owner, timestamp }
        }
        "rm" => FileActionKind::Rm {
            path,
            allow_not_found: attrs.flag("allow-not-found"),
            allow_wildcard: attrs.flag("wildcard"),
        },
        _ => FileActionKind::Symlink { oldpath: attrs.needed("to")?.to_owned(), newpath: path, owner, timestamp },
    })
}

fn copy(dest: String, attrs: &Attrs<'_>, base: Option<u32>) -> Result<CopyAction, Fault> {
    let mode = attrs.get("mode");
    Ok(CopyAction {
        src: attrs.needed("src")?.to_owned(),
        dest,
        owner: chown(attrs, base),
        mode: mode.and_then(octal),
        mode_str: mode.filter(|mode| octal(mode).is_none()).unwrap_or_default().to_owned(),
        follow_symlink: attrs.flag("follow-links"),
        dir_copy_contents: attrs.flag("contents-only"),
        attempt_unpack: attrs.flag("unpack"),
        create_dest_path: attrs.flag("create-parents"),
        allow_wildcard: attrs.flag("wildcard"),
        allow_empty_wildcard: attrs.flag("empty-wildcard"),
        timestamp: attrs.number("created"),
        include_patterns: attrs.texts("include"),
        exclude_patterns: attrs.texts("exclude"),
        required_paths: attrs.texts("required"),
        always_replace_existing_dest_paths: attrs.flag("replace"),
    })
}
