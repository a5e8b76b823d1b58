//! A simulated world to test the solver in: ops that wait, fail, panic and change their mind, results that get lost, and the plain
//! evaluation that every answer is compared with. Time is tokio's, so a test that pauses it is exact and fast.

mod scenario;
mod spec;
mod world;

pub use scenario::run_scenario;
pub use spec::{Fault, InputSpec, Spec, Specs};
pub use world::{Did, FakeWorld, Text};
