//! The Dockerfile frontend.
#![forbid(unsafe_code)]

pub mod instruction;
pub mod lex;
pub mod parse;
pub mod shell;
pub mod source;
pub mod text;
