//! `pintle:frontend@0.1` as a component sees it, over [`Bridge`].
//!
//! What a guest says is checked here: every word against the table, every number against the graph, every size against
//! [`Limits`]. A refusal is an `error` that the guest may handle; a breach of a limit ends the guest.

#[cfg(feature = "testing")]
mod anything;
mod convert;
mod exec;
mod extras;
mod file;
mod graph;
mod host;
mod llb;
mod vertex;

use std::sync::Arc;

use wasmtime::{
    Result, Store,
    component::{HasSelf, InstancePre, Linker, ResourceTable},
};

use crate::{
    Bridge, Error, Output, Ref, Request,
    limits::{Breach, Limits},
    meter::Meter,
    wasi::{Stream, World},
};

/// The interfaces, generated from `wit/v0.1`.
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/v0.1",
        world: "frontend",
        imports: {
            "pintle:frontend/host.solve": async | trappable,
            "pintle:frontend/host.solve-frontend": async | trappable,
            "pintle:frontend/host.resolve-sources": async | trappable,
            "pintle:frontend/host.[method]ref.wait": async | trappable,
            "pintle:frontend/host.[method]ref.read-file": async | trappable,
            "pintle:frontend/host.[method]ref.read-range": async | trappable,
            "pintle:frontend/host.[method]ref.read-text": async | trappable,
            "pintle:frontend/host.[method]ref.read-dir": async | trappable,
            "pintle:frontend/host.[method]ref.stat": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        with: { "pintle:frontend/host.ref": super::GuestRef },
    });
}

#[cfg(feature = "testing")]
pub use anything::anything;
pub(crate) use bindings::FrontendPre;
use bindings::pintle::frontend::types as wit;

/// The package that a component of this world imports, and the version that this module speaks.
pub(crate) const PACKAGE: &str = "pintle:frontend";
/// See [`PACKAGE`].
pub(crate) const VERSION: (u64, u64) = (0, 1);
/// The interfaces of the package.
pub(crate) const INTERFACES: [&str; 3] = ["types", "llb", "host"];

/// What one instance has: its bridge, its graph, its refs, and what it has used of its limits.
pub(crate) struct Guest {
    bridge: Arc<dyn Bridge>,
    graph: graph::GuestGraph,
    /// Errors that the guest was told, so that what it hands on keeps its cause.
    told: Vec<Error>,
    refs: ResourceTable,
    refs_held: usize,
    pub(crate) meter: Meter,
    limits: Limits,
    log_bytes: usize,
    warnings: usize,
    /// Bytes of the source texts that they carry, each as often as there are warnings of it.
    warned_bytes: usize,
    /// What the guest said before it trapped.
    pub(crate) panic: Option<String>,
    /// Host calls so far.
    pub(crate) calls: u64,
    /// What it sees of WASI.
    pub(crate) world: World,
}

/// A ref that the guest holds.
pub struct GuestRef {
    reference: Arc<dyn Ref>,
    /// Its edge in the guest's graph, once that is known.
    target: Option<Option<wit::Edge>>,
}

impl Guest {
    pub(crate) fn new(bridge: Arc<dyn Bridge>, limits: Limits) -> Self {
        Guest {
            bridge,
            graph: graph::GuestGraph::new(&limits),
            told: Vec::new(),
            refs: ResourceTable::new(),
            refs_held: 0,
            meter: Meter::new(&limits),
            limits,
            log_bytes: 0,
            warnings: 0,
            warned_bytes: 0,
            panic: None,
            calls: 0,
            world: World::new(),
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Logs the whole lines of what was written to a stream.
    pub(crate) fn written(&mut self, stream: Stream, bytes: &[u8]) {
        for line in self.world.write(stream, bytes) {
            self.say("info", &line);
        }
    }

    /// Logs lines that were begun and never ended.
    pub(crate) fn log_rest(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if let Some(line) = self.world.rest(stream) {
                self.say("info", &line);
            }
        }
    }

    /// What the guest said before it trapped.
    pub(crate) fn last_words(&self) -> Option<String> {
        self.panic.clone().or_else(|| self.world.last_words())
    }

    fn hold(&mut self, reference: GuestRef) -> Result<wasmtime::component::Resource<GuestRef>> {
        if self.refs_held >= self.limits.refs {
            return Err(Breach::of(
                "refs",
                format!("holds more than {} refs; drop those that are read", self.limits.refs),
            )
            .into());
        }
        self.refs_held += 1;
        Ok(self.refs.push(reference)?)
    }
}

impl wit::Host for Guest {}

/// Makes the interfaces known to a linker.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> Result<()> {
    bindings::Frontend::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)
}

/// Runs `build`, or `request` when the options name one.
pub(crate) async fn run(
    store: &mut Store<Guest>,
    frontend: &FrontendPre<Guest>,
    request: Request,
) -> Result<Result<Output, Error>> {
    let instance = frontend.instantiate_async(&mut *store).await?;
    let guest = store.data_mut();
    let inputs = match guest.graph.inputs(&request.inputs) {
        Ok(inputs) => inputs,
        Err(error) => return Ok(Err(guest.error_out(error))),
    };
    let kind = request.opts.get("requestid").map(|id| request_kind(id).to_owned());
    let opts: Vec<wit::Attr> = request.opts.into_iter().collect();
    match kind {
        None => {
            let answer = instance.call_build(&mut *store, &opts, &inputs).await?;
            let guest = store.data_mut();
            Ok(answer.map_err(|error| guest.error_out(error)).and_then(|output| guest.output(output)))
        }
        Some(kind) => {
            let answer = instance.call_request(&mut *store, &kind, &opts, &inputs).await?;
            let guest = store.data_mut();
            Ok(answer
                .map_err(|error| guest.error_out(error))
                .and_then(|entries| Ok(Output { metadata: guest.metadata(entries)?, ..Output::default() })))
        }
    }
}

/// The kind of a request for BuildKit's id of a subrequest (`frontend.outline`, `frontend.subrequests.describe`).
fn request_kind(id: &str) -> &str {
    let id = id.strip_prefix("frontend.").unwrap_or(id);
    id.strip_prefix("subrequests.").unwrap_or(id)
}

/// What an instance's store holds at most, and how it is interrupted.
pub(crate) fn prepare(store: &mut Store<Guest>) -> Result<()> {
    let limits = store.data().limits;
    store.limiter(|guest| &mut guest.meter);
    store.set_fuel(limits.instructions)?;
    store.set_epoch_deadline(1);
    store.epoch_deadline_async_yield_and_update(1);
    store.set_hostcall_fuel(limits.call_bytes);
    store.set_max_component_handles(limits.refs.saturating_mul(2).max(1000));
    Ok(())
}

/// Instructions used so far.
pub(crate) fn instructions(store: &Store<Guest>) -> u64 {
    store.data().limits.instructions.saturating_sub(store.get_fuel().unwrap_or(0))
}

/// Whether a component may be linked: everything but its exports is checked by this.
pub(crate) fn pre(instance: InstancePre<Guest>) -> Result<FrontendPre<Guest>> {
    FrontendPre::new(instance)
}
