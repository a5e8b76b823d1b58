//! The Dockerfile frontend: a library, of which `component` makes what is shipped.
//!
//! In the order in which a text goes through them:
//!
//! - [`lex`], [`parse`]: lines, then a tree that prints back what it read, and a list of problems. Nothing fails.
//! - [`instruction`], [`stage`]: each instruction understood; instructions as stages.
//! - [`plan`]: for one platform, which stages are needed and what they begin with. Says which images it must know.
//! - [`lower`]: variables resolved, paths made absolute: operations, and an image config.
//! - [`emit`]: operations into the host's graph.
//!
//! [`build`] drives them, and [`questions`] as far as answers without building need; they and [`load`], [`emit`] alone talk to the
//! host. [`lint`] gathers what is likely a mistake, [`syntax`] finds out whether another frontend is wanted.
#![forbid(unsafe_code)]

pub mod build;
pub mod caps;
pub mod context;
pub mod emit;
pub mod env;
pub mod epoch;
pub mod git;
pub mod ignore;
pub mod image;
pub mod instruction;
pub mod lex;
pub mod lint;
pub mod load;
pub mod lower;
pub mod options;
pub mod outline;
pub mod parse;
pub mod plan;
pub mod platform;
pub mod questions;
pub mod reference;
pub mod shell;
pub mod source;
pub mod stage;
pub mod syntax;
pub mod text;

use pintle_sdk::{Answer, Host, Output, Request, Result};

/// The frontend.
pub struct Dockerfile;

impl pintle_sdk::Frontend for Dockerfile {
    fn build(&self, cx: &Host, request: Request) -> Result<Output> {
        build::build(cx, request)
    }

    fn request(&self, cx: &Host, kind: &str, request: Request) -> Result<Answer> {
        questions::answer(cx, kind, &request)
    }
}
