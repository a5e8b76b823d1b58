//! End-to-end tests as data: a case is files, commands and what they must answer. See `cases/build/README.md` for the format.
#![forbid(unsafe_code)]

pub use frontend::cases as case;
pub mod corpus;
pub mod daemon;
pub mod git;
pub mod layers;
pub mod objects;
pub mod peers;
pub mod run;
pub mod setup;
pub mod ssh;
pub mod suite;
pub mod tree;
pub mod web;
pub mod wild;
