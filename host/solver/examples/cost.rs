//! What the solver costs for each vertex, by the size and the shape of the graph: `cargo run --release -p solver --example cost`.

use std::{sync::Arc, time::Instant};

use solver::{
    Input, Limits, Look, Solver, Vertex,
    progress::Sink,
    sim::{FakeWorld, Spec},
    testing::MemDisk,
};

type Graph = Arc<Vertex<FakeWorld>>;

#[tokio::main]
async fn main() {
    println!("{:>9} {:>20} {:>12} {:>12}", "vertices", "shape", "first", "cached");
    for size in [1_000, 10_000, 100_000] {
        measure("line by key", size, line(size, &Look::Whole)).await;
        measure("line by contents", size, line(size, &Look::Contents(String::new()))).await;
        measure("fans of 1000", size, fans(size)).await;
    }
}

/// Prints microseconds a vertex, of a first build and of one that is all cached, each by a solver of its own.
async fn measure(shape: &str, size: usize, build: impl Fn(&FakeWorld) -> Graph) {
    let (world, disk) = (FakeWorld::default(), MemDisk::default());
    let mut took = vec![];
    for _ in 0..2 {
        let top = build(&world);
        let kv = disk.open();
        let begun = Instant::now();
        let solver = Solver::new(Arc::new(world.clone()), kv, Limits { max_running: 8 });
        let solved = solver.build(Sink::none()).result(&top, 0).await;
        took.push(begun.elapsed().as_secs_f64() * 1e6 / size as f64);
        solved.expect("nothing fails here");
        world.done();
    }
    println!("{size:>9} {shape:>20} {:>9.2} µs {:>9.2} µs", took[0], took[1]);
}

/// Each vertex over the one before, and over a source of its own size.
fn line(size: usize, look: &Look) -> impl Fn(&FakeWorld) -> Graph {
    let look = look.clone();
    move |world| (1..size).fold(vertex(world, 0, vec![]), |below, i| vertex(world, i, vec![input(&below, &look)]))
}

/// Fans of a thousand vertices over one, each closed by one over all of them.
fn fans(size: usize) -> impl Fn(&FakeWorld) -> Graph {
    move |world| {
        let fan = |below: Graph, fan: usize| {
            let sides = (1..1000).map(|i| vertex(world, fan * 1000 + i, vec![input(&below, &Look::Whole)]));
            let inputs = sides.map(|side| input(&side, &Look::Contents(String::new()))).collect();
            vertex(world, fan * 1000 + 1000, inputs)
        };
        (0..size / 1000).fold(vertex(world, 0, vec![]), fan)
    }
}

fn vertex(world: &FakeWorld, i: usize, inputs: Vec<Input<FakeWorld>>) -> Graph {
    let spec = Spec { key: format!("key {i}"), values: vec![format!("value {i}")], ..Spec::default() };
    Arc::new(world.make("step", spec, inputs))
}

fn input(below: &Graph, look: &Look) -> Input<FakeWorld> {
    Input { vertex: below.clone(), output: 0, look: look.clone() }
}
