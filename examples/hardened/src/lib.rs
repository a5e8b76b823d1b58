//! A frontend for images that are described by packages, files and accounts, in YAML. The README beside it shows one.

mod accounts;
mod builds;
mod condition;
mod config;
mod includes;
mod lower;
mod packages;
mod placed;
mod spec;
mod steps;
mod vars;

use pintle_sdk::{Frontend, Host, Output, Request, Result};

/// The file that is read unless option `filename` names another.
const FILENAME: &str = "image.yaml";

/// The frontend.
pub struct Hardened;

impl Frontend for Hardened {
    fn build(&self, cx: &Host, request: Request) -> Result<Output> {
        let (spec, sources) = includes::read(cx, request.opt("filename").unwrap_or(FILENAME))?;
        lower::lower(cx, &spec, &sources, &request)
    }
}

pintle_sdk::frontend!(Hardened);
