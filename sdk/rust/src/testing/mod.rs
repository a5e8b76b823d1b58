//! A host for a frontend's own tests: scripted images and files, and the graph that was described, as text.
//!
//! It is stricter than the engine in what it takes (every word is checked against `wit/v0.1/attributes.md`) and knows nothing
//! that was not scripted: a file or an image that the test did not name is an error.

mod fake;
mod paths;
mod table;
mod text;

pub use fake::{Built, FakeHost, Logged, Warned};
pub use table::{Table, Word};
