//! 100,000 vertices, deep and wide: no recursion along the graph, and the same work for each vertex.

use llb::{Edge, Graph, Limits, Op, VertexId, VertexMeta, op::*};

const VERTICES: usize = 100_000;
/// Far less than one frame a vertex.
const STACK_BYTES: usize = 256 << 10;

fn on_a_small_stack(test: fn()) {
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(test).unwrap().join().unwrap();
}

fn source(number: usize) -> Op {
    Op::Source(SourceOp { identifier: format!("local://{number}"), attrs: Default::default() })
}

fn mkdir() -> Op {
    let kind =
        FileActionKind::Mkdir { path: "/a".into(), mode: 0o755, make_parents: false, owner: None, timestamp: None };
    Op::File(FileOp { actions: vec![FileAction { input: Some(0), secondary_input: None, output: Some(0), kind }] })
}

fn add(graph: &mut Graph, op: Op, inputs: Vec<Edge>) -> Edge {
    let vertex = graph.add(op, inputs, None, vec![], VertexMeta::default()).unwrap();
    Edge { vertex, output: 0 }
}

fn round_trip(graph: &Graph, edge: Edge) {
    assert_eq!(graph.len(), VERTICES);
    let mut definition = graph.encode(edge).unwrap();
    // The worst order: every op before its inputs.
    let last = definition.def.len() - 1;
    definition.def[..last].reverse();
    let (again, found) = Graph::decode(definition, &Limits::default()).unwrap();
    let found = found.unwrap();
    assert_eq!(again.len(), VERTICES);
    assert_eq!(again.vertex(found.vertex).digest, graph.vertex(edge.vertex).digest);
    assert!(again.iter().all(|(id, vertex)| vertex.inputs.iter().all(|input| input.vertex < id)));

    let mut joined = graph.clone();
    let map = joined.append(&again).unwrap();
    assert_eq!(joined.len(), VERTICES);
    assert_eq!(map.edge(found), Some(edge));
    assert_eq!(map.edge(Edge { vertex: VertexId(u32::MAX), output: 0 }), None);
    assert_eq!(graph.subgraph(edge).unwrap().0.len(), VERTICES);
    assert_eq!(llb::text::text(graph, Some(edge), None).unwrap().matches("mkdir").count(), graph_files(graph));
}

fn graph_files(graph: &Graph) -> usize {
    graph.iter().filter(|(_, vertex)| matches!(vertex.op, Op::File(_))).count()
}

#[test]
fn deep() {
    on_a_small_stack(|| {
        let mut graph = Graph::new();
        let mut edge = add(&mut graph, source(0), vec![]);
        for _ in 1..VERTICES {
            edge = add(&mut graph, mkdir(), vec![edge]);
        }
        round_trip(&graph, edge);
    });
}

#[test]
fn wide() {
    on_a_small_stack(|| {
        let mut graph = Graph::new();
        let inputs: Vec<Edge> = (1..VERTICES).map(|number| add(&mut graph, source(number), vec![])).collect();
        let merge = Op::Merge(MergeOp { inputs: (0..inputs.len() as u32).map(Some).collect() });
        let edge = add(&mut graph, merge, inputs);
        round_trip(&graph, edge);
    });
}

#[test]
fn the_same_vertex_twice_is_one() {
    let mut graph = Graph::new();
    let first = add(&mut graph, source(0), vec![]);
    let meta = VertexMeta { ignore_cache: true, ..VertexMeta::default() };
    let second = graph.add(source(0), vec![], None, vec![], meta).unwrap();
    assert_eq!((graph.len(), first.vertex), (1, second));
    assert!(graph.vertex(second).meta.ignore_cache);
}

/// It would take hours if it took the square of the number.
#[test]
fn a_vertex_in_many_places() {
    let mut graph = Graph::new();
    let file = graph.add_source(SourceFile::default());
    let vertex = add(&mut graph, source(0), vec![]).vertex;
    let place = |number: usize| Location {
        file,
        ranges: vec![Range { start_line: number as i32, end_line: number as i32, ..Range::default() }],
    };
    for _ in 0..2 {
        graph.locate(vertex, (0..2 * VERTICES).map(|number| place(number / 2)).collect()).unwrap();
    }
    assert_eq!(graph.vertex(vertex).meta.locations, (0..VERTICES).map(place).collect::<Vec<_>>());
}

#[test]
fn a_subgraph_leaves_out_the_rest() {
    let mut graph = Graph::new();
    let file = graph.add_source(SourceFile { filename: "unused".into(), ..SourceFile::default() });
    let used = graph.add_source(SourceFile { filename: "used".into(), ..SourceFile::default() });
    assert_eq!(graph.add_source(SourceFile { filename: "unused".into(), ..SourceFile::default() }), file);
    let other = add(&mut graph, source(1), vec![]);
    let base = add(&mut graph, source(2), vec![]);
    let top = add(&mut graph, mkdir(), vec![base]);
    graph.locate(top.vertex, vec![Location { file: used, ranges: vec![Range::default()] }]).unwrap();
    let (small, edge) = graph.subgraph(top).unwrap();
    assert_eq!(small.len(), 2);
    assert_eq!(small.find(&graph.vertex(other.vertex).digest), None);
    assert_eq!(small.sources()[small.vertex(edge.vertex).meta.locations[0].file as usize].filename, "used");
    assert_eq!(graph.encode(top).unwrap().source.unwrap().infos.len(), 1);
}
