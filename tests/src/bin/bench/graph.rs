//! Definitions of many vertices, sent to a daemon by our own client in this process.

use std::time::Instant;

use anyhow::Context;
use client::{Attachments, Connection, SessionHandle, SolveRequest, TlsFiles, progress::Quiet};
use llb::{Edge, Graph, Op, VertexMeta, op};

use crate::world::{World, least, ms};

/// A build of so many vertices in which nothing changed: the definition is sent, each vertex is found and told of.
pub fn cached(world: &World, vertices: usize) -> anyhow::Result<f64> {
    let daemon = world.daemon()?;
    let definition = merges(vertices)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let connection = runtime.block_on(Connection::open(&daemon.address().parse()?, &TlsFiles::default()))?;
    let build = || {
        let request = SolveRequest { definition: Some(definition.clone()), ..SolveRequest::default() };
        let start = Instant::now();
        let id = SessionHandle::new_id();
        let attachments = Attachments::default();
        runtime.block_on(client::build(&connection, id, "", attachments, request, &mut Quiet))?;
        Ok(start.elapsed())
    };
    build()?;
    least(5, build).map(ms)
}

/// A chain of merges of the same two trees: many vertices that make no files.
fn merges(count: usize) -> anyhow::Result<llb::wire::pb::Definition> {
    let mut graph = Graph::new();
    let trees = [file(&mut graph, "/a")?, file(&mut graph, "/b")?];
    let mut edge = trees[0];
    for number in 0..count.checked_sub(trees.len()).context("the trees are vertices too")? {
        let inputs = vec![edge, trees[(number + 1) % trees.len()]];
        edge = add(&mut graph, Op::Merge(op::MergeOp { inputs: vec![Some(0), Some(1)] }), inputs)?;
    }
    Ok(graph.encode(edge)?)
}

fn file(graph: &mut Graph, path: &str) -> anyhow::Result<Edge> {
    let data = path.as_bytes().to_vec().into();
    let kind = op::FileActionKind::Mkfile { path: path.into(), mode: 0o644, data, owner: None, timestamp: None };
    let action = op::FileAction { input: None, secondary_input: None, output: Some(0), kind };
    add(graph, Op::File(op::FileOp { actions: vec![action] }), Vec::new())
}

fn add(graph: &mut Graph, op: Op, inputs: Vec<Edge>) -> anyhow::Result<Edge> {
    Ok(Edge { vertex: graph.add(op, inputs, None, Vec::new(), VertexMeta::default())?, output: 0 })
}
