//! The component's side: the exports that [`crate::frontend!`] makes, and the calls that go to the engine.

use std::{collections::BTreeMap, rc::Rc};

use crate::{
    Attr, Calls, Content, Edge, FileInfo, Frontend, Host, Location, RefCalls, Request, Result, SolvedCalls, SourceMeta,
    State,
    bindings::{
        self,
        pintle::frontend::{
            host,
            llb::{self, FileAction, Mount},
        },
    },
};

/// Options as they cross the interface.
pub type Attrs = Vec<Attr>;
/// Inputs as they cross the interface.
pub type Inputs = Vec<(String, Option<Edge>)>;
/// What `build` answers.
pub type WitOutput = bindings::Output;
/// What `request` answers.
pub type WitAnswer = Vec<(String, Content)>;
/// What both fail with.
pub type WitError = bindings::pintle::frontend::types::Error;

/// Runs [`Frontend::build`].
pub fn build(frontend: &dyn Frontend, opts: Attrs, inputs: Inputs) -> Result<WitOutput, WitError> {
    let (host, request) = enter(opts, inputs);
    let output = frontend.build(&host, request)?;
    let results = output.results.into_iter().map(|(platform, state)| (platform, state.edge())).collect();
    Ok(WitOutput { results, metadata: output.metadata })
}

/// Runs [`Frontend::request`].
pub fn request(frontend: &dyn Frontend, kind: &str, opts: Attrs, inputs: Inputs) -> Result<WitAnswer, WitError> {
    let (host, request) = enter(opts, inputs);
    Ok(frontend.request(&host, kind, request)?.metadata)
}

fn enter(opts: Attrs, inputs: Inputs) -> (Host, Request) {
    std::panic::set_hook(Box::new(|info| host::log("panic", &info.to_string())));
    let host = Host::new(Rc::new(Engine));
    let inputs: BTreeMap<String, State> = inputs.into_iter().map(|(name, edge)| (name, host.state(edge))).collect();
    (host, Request { opts: opts.into_iter().collect(), inputs })
}

/// The engine behind the component's imports.
struct Engine;

impl Calls for Engine {
    fn supports(&self, feature: &str) -> bool {
        llb::supports(feature)
    }

    fn add_source(&self, identifier: &str, attrs: &[Attr]) -> Result<Edge> {
        Ok(llb::add_source(identifier, attrs)?)
    }

    fn add_exec(
        &self,
        root: Option<Edge>,
        args: &[String],
        env: &[Attr],
        mounts: &[Mount],
        attrs: &[Attr],
    ) -> Result<Edge> {
        Ok(llb::add_exec(root, args, env, mounts, attrs)?)
    }

    fn add_file(&self, base: Option<Edge>, actions: &[FileAction], attrs: &[Attr]) -> Result<Edge> {
        Ok(llb::add_file(base, actions, attrs)?)
    }

    fn add_merge(&self, inputs: &[Edge], attrs: &[Attr]) -> Result<Edge> {
        Ok(llb::add_merge(inputs, attrs)?)
    }

    fn add_diff(&self, lower: Option<Edge>, upper: Option<Edge>, attrs: &[Attr]) -> Result<Edge> {
        Ok(llb::add_diff(lower, upper, attrs)?)
    }

    fn add_op(
        &self,
        kind: &str,
        inputs: &[Option<Edge>],
        params: &[Attr],
        content: Option<&Content>,
        attrs: &[Attr],
    ) -> Result<Edge> {
        Ok(llb::add_op(kind, inputs, params, content, attrs)?)
    }

    fn add_definition(&self, definition: &[u8]) -> Result<Option<Edge>> {
        Ok(llb::add_definition(definition)?)
    }

    fn add_source_file(&self, name: &str, language: &str, text: &Content, definition: Option<Edge>) -> Result<u32> {
        Ok(llb::add_source_file(name, language, text, definition)?)
    }

    fn locate(&self, vertex: u32, places: &[Location]) -> Result<()> {
        Ok(llb::locate(vertex, places)?)
    }

    fn solve(&self, target: Option<Edge>, attrs: &[Attr]) -> Result<Box<dyn RefCalls>> {
        Ok(Box::new(host::solve(target, attrs)?))
    }

    fn solve_frontend(&self, source: &str, opts: &[Attr], inputs: &[(String, Option<Edge>)]) -> Result<SolvedCalls> {
        let solved = host::solve_frontend(source, opts, inputs)?;
        let boxed = |(platform, it): (String, host::Ref)| (platform, Box::new(it) as Box<dyn RefCalls>);
        Ok(SolvedCalls { refs: solved.refs.into_iter().map(boxed).collect(), metadata: solved.metadata })
    }

    fn resolve_sources(&self, queries: &[host::SourceQuery]) -> Vec<Result<SourceMeta>> {
        host::resolve_sources(queries).into_iter().map(|answer| Ok(answer?)).collect()
    }

    fn log(&self, level: &str, message: &str) {
        host::log(level, message);
    }

    fn warn(&self, vertex: Option<u32>, message: &str, places: &[Location], attrs: &[Attr]) -> Result<()> {
        Ok(host::warn(vertex, message, places, attrs)?)
    }
}

impl RefCalls for host::Ref {
    fn start(&self) {
        host::Ref::start(self);
    }

    fn wait(&self) -> Result<()> {
        Ok(host::Ref::wait(self)?)
    }

    fn read_file(&self, path: &str) -> Result<Vec<u8>> {
        Ok(host::Ref::read_file(self, path)?)
    }

    fn read_range(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
        Ok(host::Ref::read_range(self, path, offset, length)?)
    }

    fn read_text(&self, path: &str) -> Result<String> {
        Ok(host::Ref::read_text(self, path)?)
    }

    fn read_dir(&self, path: &str, attrs: &[Attr]) -> Result<Vec<FileInfo>> {
        Ok(host::Ref::read_dir(self, path, attrs)?)
    }

    fn stat(&self, path: &str) -> Result<FileInfo> {
        Ok(host::Ref::stat(self, path)?)
    }

    fn target(&self) -> Result<Option<Edge>> {
        Ok(host::Ref::target(self)?)
    }
}
