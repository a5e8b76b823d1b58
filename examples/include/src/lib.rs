//! A frontend for Dockerfiles that include others, with values for their placeholders. The README beside it shows one.
//!
//! It reads with the Dockerfile frontend's library, puts the included texts in place, and leaves the rest to the Dockerfile frontend,
//! which it calls.

mod expand;
mod template;

use dockerfile::load::{Loaded, MainContext, load};
use pintle_sdk::{Answer, Frontend, Host, Output, Request, Result, Solved, VertexBuilder, file};

pub use expand::{DEPTH_MAX, expanded};

/// The frontend that lowers what became of the file.
const DOCKERFILE: &str = "dockerfile.v0";

/// The frontend.
pub struct Include;

impl Frontend for Include {
    fn build(&self, cx: &Host, request: Request) -> Result<Output> {
        let solved = lowered(cx, &request)?;
        let mut output = Output { metadata: solved.metadata, ..Output::multi_platform() };
        for (platform, result) in solved.refs {
            output = output.platform(&platform, result.state()?);
        }
        Ok(output)
    }

    fn request(&self, cx: &Host, _kind: &str, request: Request) -> Result<Answer> {
        Ok(Answer { metadata: lowered(cx, &request)?.metadata })
    }
}

/// What the Dockerfile frontend makes of the expanded file.
fn lowered(cx: &Host, request: &Request) -> Result<Solved> {
    let loaded = load(cx, request)?;
    let text = expanded(cx, request, &loaded)?;
    let Loaded { filename, state, context, .. } = loaded;
    // What lies beside the file, such as its ignore file, stays there.
    let written = file::Mkfile::new(format!("/{filename}"), text);
    let state = state.file().mkfile(written).name(format!("[internal] expand {filename}")).add()?;
    let mut inputs = request.inputs.clone();
    let mut opts = request.opts.clone();
    opts.remove("dockerfilekey");
    // The expanded text still has the line that names this frontend.
    opts.insert("cmdline".to_owned(), DOCKERFILE.to_owned());
    opts.insert("filename".to_owned(), filename);
    if let MainContext::Tree(context) = context {
        for word in ["context", "contextkey", "contextsubdir"] {
            opts.remove(word);
        }
        inputs.insert("context".to_owned(), context);
    }
    inputs.insert("dockerfile".to_owned(), state);
    let (opts, inputs): (Vec<_>, Vec<_>) = (opts.into_iter().collect(), inputs.into_iter().collect());
    cx.solve_frontend(DOCKERFILE, &opts, &inputs)
}

pintle_sdk::frontend!(Include);
