//! The Dockerfile frontend: a component when shipped, a plain library in its own tests.
//!
//! In the order in which a text goes through them:
//!
//! - [`lex`], [`parse`]: lines, then a tree that prints back what it read, and a list of problems. Nothing fails.
//! - [`instruction`], [`stage`]: each instruction understood; instructions as stages.
//! - [`plan`]: for one platform, which stages are needed and what they begin with. Says which images it must know.
//! - [`lower`]: variables resolved, paths made absolute: operations, and an image config.
//! - [`emit`]: operations into the host's graph.
//!
//! [`build`] drives them; it and [`load`], [`emit`] alone talk to the host. [`lint`] gathers what is likely a mistake.
#![forbid(unsafe_code)]

pub mod build;
pub mod context;
pub mod emit;
pub mod env;
pub mod git;
pub mod ignore;
pub mod image;
pub mod instruction;
pub mod lex;
pub mod lint;
pub mod load;
pub mod lower;
pub mod options;
pub mod parse;
pub mod plan;
pub mod platform;
pub mod reference;
pub mod shell;
pub mod source;
pub mod stage;
pub mod text;

use pintle_sdk::{Host, Output, Request, Result};

/// The frontend.
pub struct Dockerfile;

impl pintle_sdk::Frontend for Dockerfile {
    fn build(&self, cx: &Host, request: Request) -> Result<Output> {
        build::build(cx, request)
    }
}

pintle_sdk::frontend!(crate::Dockerfile);
