//! What an author of a build language writes against.
//!
//! A frontend implements [`Frontend`] and is exported as a component by [`frontend!`]. It describes a build through [`Host`] and
//! [`State`], and answers an [`Output`]:
//!
//! ```
//! use pintle_sdk::{Frontend, Host, Output, Request, Result, VertexBuilder, file, mount};
//!
//! struct Make;
//!
//! impl Frontend for Make {
//!     fn build(&self, cx: &Host, _request: Request) -> Result<Output> {
//!         let context = cx.local("context").exclude([".git"]).add()?;
//!         let base = cx.image("docker.io/library/gcc:14").name("compiler").add()?;
//!         let built = base
//!             .run(["make"])
//!             .cwd("/src")
//!             .mount(mount::Bind::new("/src", &context))
//!             .mount(mount::Cache::new("/root/.cache", "cc"))
//!             .add()?;
//!         let source = built.mount("/src").expect("it was mounted writable");
//!         let output = cx.scratch().file().copy(file::Copy::new(&source, "/app", "/app")).add()?;
//!         Ok(Output::new(output))
//!     }
//! }
//!
//! pintle_sdk::frontend!(Make);
//! ```
//!
//! On `wasm32` the calls go to the engine. In a native build, which is how a frontend's own tests run, they go to what the
//! [`Host`] was made from, for instance to [`testing::FakeHost`].

pub mod answer;
mod attrs;
pub mod bindings;
mod calls;
mod error;
pub mod exec;
pub mod file;
mod frontend;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod guest;
mod host;
pub mod mount;
#[doc(hidden)]
pub mod print;
pub mod source;
mod state;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod vertex;

pub use bindings::pintle::frontend::{
    host::{FileInfo, SourceMeta},
    types::{Attr, Content, Edge, Location},
};
pub use calls::{Calls, RefCalls, SolvedCalls};
pub use error::{Error, Result};
pub use exec::{Exec, Network, Ran, Security};
pub use file::FileBuilder;
pub use frontend::{Answer, Frontend, Output, Request};
pub use host::{Host, Level, Ref, Solved, SourceFile, SourceQuery, Warning};
pub use state::State;
pub use vertex::{LinuxResources, VertexBuilder, VertexOptions};

/// Exports a [`Frontend`] as the component of this crate.
///
/// Takes an expression that makes the frontend; it is made anew for each call. In a native build it is only checked. A panic is
/// told to the host with its message and place before the instance traps.
#[macro_export]
macro_rules! frontend {
    ($frontend:expr) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Component;

            impl $crate::bindings::Guest for Component {
                fn build(
                    opts: $crate::guest::Attrs,
                    inputs: $crate::guest::Inputs,
                ) -> ::core::result::Result<$crate::guest::WitOutput, $crate::guest::WitError> {
                    $crate::guest::build(&$frontend, opts, inputs)
                }

                fn request(
                    kind: ::std::string::String,
                    opts: $crate::guest::Attrs,
                    inputs: $crate::guest::Inputs,
                ) -> ::core::result::Result<$crate::guest::WitAnswer, $crate::guest::WitError> {
                    $crate::guest::request(&$frontend, &kind, opts, inputs)
                }
            }

    $crate::bindings::export!(Component with_types_in $crate::bindings);
        };

        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() = || {
            let _: &dyn $crate::Frontend = &$frontend;
        };
    };
}
