//! Servers for the tests of this crate and of those that pull and push through it: a real registry, and one that misbehaves as told.

mod registry;
mod server;

pub use registry::Registry;
pub use server::{Content, Request, Response, Server};
