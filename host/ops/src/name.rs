//! What a vertex is called in the progress.

use std::sync::Arc;

use llb::{
    Op, Vertex,
    op::{FileActionKind, ProgressGroup},
};
use solver::progress::Group;

/// The name that the frontend gave, or one made from the op.
pub fn of(vertex: &Vertex) -> Arc<str> {
    if let Some(name) = vertex.meta.description.get("llb.customname") {
        return name.as_str().into();
    }
    match &vertex.op {
        Op::Source(source) => source.identifier.as_str().into(),
        Op::Exec(exec) => exec.args.join(" ").into(),
        Op::File(file) => {
            file.actions.iter().map(|action| action_name(&action.kind)).collect::<Vec<_>>().join(", ").into()
        }
        Op::Merge(merge) => format!("merge of {} trees", merge.inputs.len()).into(),
        Op::Diff(_) => "diff".into(),
        Op::Build(_) => "nested build".into(),
        Op::Passthrough(passthrough) => format!("passthrough {}", passthrough.id).into(),
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

/// A progress group as the solver passes it on.
pub fn group(group: &ProgressGroup) -> Arc<Group> {
    let ProgressGroup { id, name, weak } = group.clone();
    Arc::new(Group { id, name, weak })
}
