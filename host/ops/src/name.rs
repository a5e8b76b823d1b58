//! What a vertex is called in the progress.

use std::sync::Arc;

use llb::{
    Op, Vertex,
    op::{FileActionKind, ProgressGroup},
};

/// The name that the frontend gave, or one made from the op.
pub fn of(vertex: &Vertex) -> String {
    if let Some(name) = vertex.meta.description.get("llb.customname") {
        return name.clone();
    }
    match &vertex.op {
        Op::Source(source) => source.identifier.clone(),
        Op::Exec(exec) => exec.args.join(" "),
        Op::File(file) => file.actions.iter().map(|action| action_name(&action.kind)).collect::<Vec<_>>().join(", "),
        Op::Merge(merge) => format!("merge of {} trees", merge.inputs.len()),
        Op::Diff(_) => "diff".into(),
        Op::Build(_) => "nested build".into(),
        Op::Passthrough(passthrough) => format!("passthrough {}", passthrough.id),
    }
}

fn action_name(kind: &FileActionKind) -> String {
    match kind {
        FileActionKind::Copy(copy) => format!("copy {} {}", copy.src, copy.dest),
        FileActionKind::Mkfile { path, .. } => format!("mkfile {path}"),
        FileActionKind::Mkdir { path, .. } => format!("mkdir {path}"),
        FileActionKind::Rm { path, .. } => format!("rm {path}"),
        FileActionKind::Symlink { oldpath, newpath, .. } => format!("symlink {newpath} -> {oldpath}"),
    }
}

/// A progress group as the one word that [`solver::Vertex::group`] takes: JSON of id, name and weakness.
pub fn group(group: &ProgressGroup) -> Arc<str> {
    serde_json::json!({"id": group.id, "name": group.name, "weak": group.weak}).to_string().into()
}
