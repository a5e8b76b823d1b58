//! `Definition` bytes to [`crate::Graph`] and back, with validation and limits.
//!
//! Bytes are BuildKit's, so that digests are: `encode` writes what Go's deterministic marshalling writes, and `decode` keeps
//! each op's bytes as they came.

mod decode;
mod encode;
mod from_pb;
mod json;
mod schema;
mod to_pb;

pub(crate) use encode::{bare_op_bytes, op_bytes};
pub use json::{as_go_writes, json, op_json};

use crate::{GraphError, Op, op::ExecOp, validate};

/// BuildKit's LLB messages (package `pb`).
#[allow(missing_docs, clippy::all)]
pub mod pb {
    include!(concat!(env!("OUT_DIR"), "/pb.rs"));
}

/// BuildKit's number for "no input" and "no output".
const NONE: i64 = -1;
/// BuildKit's "keep each file's own" for a mode, and "none" for a timestamp.
const KEEP: i64 = -1;

/// An exec op that stands alone, checked as those of a definition are, for a vertex of `inputs` inputs.
pub fn exec_op(op: pb::ExecOp, inputs: usize) -> Result<ExecOp, GraphError> {
    let op = from_pb::op(pb::op::Op::Exec(op))?;
    validate::op(&op, inputs)?;
    match op {
        Op::Exec(op) => Ok(op),
        _ => Err(GraphError::new("it is no exec op")),
    }
}

/// How large a definition may be. Depth has no limit, because nothing here recurses along it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Ops, the one that names the result included.
    pub vertices: usize,
    /// Bytes of the whole definition, with its metadata and source texts.
    pub bytes: usize,
}

impl Limits {
    /// As many vertices as a build may have unless the caller says otherwise.
    pub const VERTICES: usize = 200_000;
    /// As many bytes as a definition may have unless the caller says otherwise.
    pub const BYTES: usize = 64 << 20;
}

impl Default for Limits {
    fn default() -> Self {
        Limits { vertices: Self::VERTICES, bytes: Self::BYTES }
    }
}
