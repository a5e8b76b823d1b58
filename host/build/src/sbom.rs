//! Bills of materials: an image that knows how to find out what is in files is run over each result (BuildKit's scanner protocol,
//! `docs/attestations/sbom-protocol.md`).
//!
//! The generator finds the files under `BUILDKIT_SCAN_SOURCE`, and writes in-toto statements into `BUILDKIT_SCAN_DESTINATION`. It is a
//! step like others: of the same files and the same image it is not run twice.

use std::{fmt, sync::Arc};

use exporters::{Attestation, Predicate};
use frontend::{Bridge, Definition, Extra, Ref as _, SourceQuery};
use llb::{
    Edge, Graph, Op, VertexMeta,
    op::{ExecOp, Mount, MountKind, SourceOp},
};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    Failure, SbomOptions,
    bridge::{BuildBridge, State},
    cache::Top,
    lazy::LazyRef,
};

/// The largest statement that is read, in bytes. BuildKit's own limit.
pub const STATEMENT_BYTES_MAX: u64 = 40 << 20;
/// The most statements of one result.
pub const STATEMENTS_MAX: usize = 256;
const SOURCE: &str = "/run/src/core/sbom";
/// Trees that were used on the way, each as `sbom-NAME`.
const EXTRAS: &str = "/run/src/extras/";
const DESTINATION: &str = "/run/out/";
/// What a bill of materials is.
const SPDX: &str = "https://spdx.dev/Document";
/// What its main statement is called, before the dot.
const CORE: &str = "sbom";

/// The image, and how it is started.
pub(crate) struct Generator {
    identifier: String,
    args: Vec<String>,
    env: Vec<String>,
    cwd: String,
    name: String,
}

/// What is read of an image's config.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Config {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    working_dir: String,
}

#[derive(Deserialize)]
struct Image {
    #[serde(default)]
    config: Config,
}

/// A statement of the generator's.
#[derive(Deserialize)]
struct Statement {
    #[serde(rename = "predicateType")]
    predicate_type: String,
    #[serde(default)]
    subject: Option<Vec<Value>>,
    predicate: Value,
}

impl Generator {
    /// Looks the image up.
    pub(crate) async fn find(state: &Arc<State>, options: &SbomOptions) -> Result<Generator, Failure> {
        let name = &options.generator;
        let about = |why: &dyn fmt::Display| format!("sbom generator {name}: {why}");
        let invalid = |why: String| Failure::new("invalid-argument", about(&why));
        let reference: oci::Reference = name.parse().map_err(|error| invalid(format!("{error}")))?;
        let bridge = BuildBridge::new(state.clone(), 0);
        let query = SourceQuery { identifier: format!("docker-image://{reference}"), ..SourceQuery::default() };
        let answer = bridge.resolve_sources(vec![query]).await.pop();
        let answer = answer.ok_or_else(|| invalid("no answer".into()))?;
        let meta = answer.map_err(|error| {
            // Most errors begin with the name.
            let why = error.message.strip_prefix(&format!("{name}: ")).unwrap_or(&error.message);
            Failure { message: about(&why), ..Failure::from(error.clone()) }
        })?;
        let image = serde_json::from_slice::<Image>(&meta.config.unwrap_or_default());
        let config = image.map_err(|error| invalid(format!("its config cannot be read: {error}")))?.config;
        let args: Vec<String> = config.entrypoint.into_iter().chain(config.cmd).flatten().collect();
        if args.is_empty() {
            return Err(invalid("it has neither an entrypoint nor a command".into()));
        }
        let mut env = config.env.unwrap_or_default();
        env.push(format!("BUILDKIT_SCAN_DESTINATION={DESTINATION}"));
        env.push(format!("BUILDKIT_SCAN_SOURCE={SOURCE}"));
        env.extend(options.parameters.iter().map(|(key, value)| format!("BUILDKIT_SCAN_{key}={value}")));
        let cwd = if config.working_dir.is_empty() { "/".into() } else { config.working_dir };
        Ok(Generator { identifier: meta.identifier, args, env, cwd, name: name.clone() })
    }

    /// What is in each result.
    pub(crate) async fn attest(
        &self,
        state: &Arc<State>,
        tops: &[Top],
        extras: &[Extra],
    ) -> Result<Vec<Attestation>, Failure> {
        let mut attestations = Vec::new();
        for top in tops {
            let extras: Vec<&Extra> = extras.iter().filter(|extra| extra.platform == top.platform).collect();
            attestations.extend(self.scan(state, top, &extras).await?);
        }
        Ok(attestations)
    }

    async fn scan(&self, state: &Arc<State>, top: &Top, extras: &[&Extra]) -> Result<Vec<Attestation>, Failure> {
        let definition =
            self.definition(state, top, extras).map_err(|error| Failure::new("internal", error.to_string()))?;
        let output = LazyRef::new(state.clone(), definition);
        let mut statements = Vec::new();
        for entry in output.read_dir("/", None).await? {
            if statements.len() == STATEMENTS_MAX {
                let message = format!("sbom generator {}: it wrote more than {STATEMENTS_MAX} statements", self.name);
                return Err(Failure::new("limit", message));
            }
            let bytes = output.read_file(&entry.path, None, STATEMENT_BYTES_MAX).await?;
            statements.push(self.attestation(&top.platform, &entry.path, &bytes)?);
        }
        // What describes the result itself comes first, before what was used on the way.
        statements.sort_by_key(|one| one.path.split('.').next() != Some(CORE));
        Ok(statements)
    }

    fn attestation(&self, platform: &str, path: &str, bytes: &[u8]) -> Result<Attestation, Failure> {
        let invalid =
            |why: String| Failure::new("failed-precondition", format!("sbom generator {}: {path}: {why}", self.name));
        let read: Statement =
            serde_json::from_slice(bytes).map_err(|error| invalid(format!("it is no in-toto statement: {error}")))?;
        if read.predicate_type != SPDX {
            return Err(invalid(format!("it says {:?}, and is to say {SPDX:?}", read.predicate_type)));
        }
        Ok(Attestation {
            platform: platform.to_owned(),
            predicate_type: read.predicate_type,
            predicate: Predicate::Known(read.predicate.to_string().into()),
            subjects: read.subject.unwrap_or_default(),
            path: path.to_owned(),
            inline_only: false,
        })
    }

    /// The step that makes the statements of a result.
    fn definition(&self, state: &State, top: &Top, extras: &[&Extra]) -> Result<Definition, llb::GraphError> {
        let (mut graph, result) = top.definition.graph.subgraph(top.edge)?;
        let mut inputs = vec![result];
        let mut scanned = Vec::with_capacity(extras.len());
        for extra in extras {
            let mut input = None;
            if let Some(edge) = extra.definition.edge {
                let (tree, edge) = extra.definition.graph.subgraph(edge)?;
                inputs.extend(graph.append(&tree)?.edge(edge));
                // The generator's image is the first input of all.
                input = Some(inputs.len() as u32);
            }
            scanned.push((input, format!("{EXTRAS}{CORE}-{}", extra.name)));
        }
        let image = Op::Source(SourceOp { identifier: self.identifier.clone(), attrs: Default::default() });
        let platform = Some(state.environment.platform.clone());
        let image = graph.add(image, vec![], platform.clone(), vec![], VertexMeta::default())?;
        let image = Edge { vertex: image, output: 0 };
        let bind = |input, dest: &str, output, readonly| Mount {
            input,
            dest: dest.to_owned(),
            output,
            readonly,
            ..Mount::default()
        };
        let tmp = Mount { dest: "/tmp".into(), kind: MountKind::Tmpfs { size: 0 }, ..Mount::default() };
        let mut mounts = vec![bind(Some(0), "/", Some(0), false), tmp, bind(Some(1), SOURCE, None, true)];
        mounts.extend(scanned.iter().map(|(input, dest)| bind(*input, dest, None, true)));
        mounts.push(bind(None, DESTINATION, Some(1), false));
        let mut env = self.env.clone();
        env.extend((!extras.is_empty()).then(|| format!("BUILDKIT_SCAN_SOURCE_EXTRAS={EXTRAS}")));
        let exec = ExecOp { args: self.args.clone(), env, cwd: self.cwd.clone(), mounts, ..ExecOp::default() };
        let platform_name = if top.platform.is_empty() { String::new() } else { format!("[{}] ", top.platform) };
        let name = format!("{platform_name}generating sbom using {}", self.name);
        let meta = VertexMeta { description: [("llb.customname".into(), name)].into(), ..VertexMeta::default() };
        let exec = graph.add(Op::Exec(exec), [vec![image], inputs].concat(), platform, vec![], meta)?;
        Ok(Definition { graph: Arc::new(graph) as Arc<Graph>, edge: Some(Edge { vertex: exec, output: 1 }) })
    }
}
