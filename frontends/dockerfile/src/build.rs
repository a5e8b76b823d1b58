//! A build from the request to the answer.

use std::collections::{HashMap, HashSet};

use pintle_sdk::{Error, Host, Output, Request, Result, Solved, SourceMeta, State, Warning};

use crate::{
    caps,
    context::Contexts,
    emit::{Emitted, emit},
    epoch,
    ignore::Ignore,
    image::Image,
    lint::{self, Lint, Settings},
    load::{Loaded, load},
    lower::{Lowered, lower},
    options::Options,
    parse::parse,
    plan::{Plan, Query},
    platform::Platform,
    source::{Problem, Span},
    stage::Dockerfile,
    syntax::{self, Syntax},
    text::nearest,
};

/// So many problems are told at once.
const MAX_PROBLEMS: usize = 10;

/// Builds what a request asks for.
///
/// # Errors
/// What is wrong with the Dockerfile, with its place, or with an option; and errors of the host.
pub fn build(cx: &Host, request: Request) -> Result<Output> {
    let mut options = Options::parse(&request)?;
    let loaded = match open(cx, &request)? {
        Opened::Here(loaded) => loaded,
        Opened::Elsewhere(solved) => return output_of(solved),
    };
    checked(cx, &request, &mut options, &loaded, |build, lint| build.run(lint))
}

/// What `work` makes of the Dockerfile. What is found on the way is told, and is an error where the settings say so.
pub(crate) fn checked<T>(
    cx: &Host,
    request: &Request,
    options: &mut Options,
    loaded: &Loaded,
    work: impl FnOnce(&Build, &mut Lint) -> Result<T>,
) -> Result<T> {
    let (tree, mut problems) = parse(&loaded.text);
    let file = Dockerfile::read(&tree, &mut problems);
    if !problems.is_empty() {
        return Err(all_problems(loaded, &problems));
    }
    let mut lint = Lint::new(settings(request, loaded)?);
    lint::check(&tree, &file, &mut lint);
    let contexts = Contexts::new(request);
    epoch::settle(cx, options, &contexts, loaded, &file)?;
    let build = Build { cx, request, options, contexts: &contexts, loaded, file: &file };
    let made = work(&build, &mut lint);
    // What was found is told also when the work fails.
    build.tell(&lint)?;
    let made = made?;
    match lint.error() {
        Some(message) => Err(Error::invalid(message)),
        None => Ok(made),
    }
}

/// Who reads the Dockerfile.
pub(crate) enum Opened {
    /// This frontend.
    Here(Box<Loaded>),
    /// Another one, which has answered.
    Elsewhere(Solved),
}

/// Loads the Dockerfile, and asks another frontend when the Dockerfile or the user names one.
pub(crate) fn open(cx: &Host, request: &Request) -> Result<Opened> {
    let mut unknown = caps::check(request).err();
    if let Some(unknown) = unknown.take_if(|unknown| !unknown.forward) {
        return Err(unknown.error());
    }
    let loaded = load(cx, request)?;
    if let Some(solved) = other_frontend(cx, request, &loaded)? {
        return Ok(Opened::Elsewhere(solved));
    }
    match unknown {
        Some(unknown) => Err(unknown.error()),
        None => Ok(Opened::Here(Box::new(loaded))),
    }
}

/// The answer of another frontend, when one is wanted.
fn other_frontend(cx: &Host, request: &Request, loaded: &Loaded) -> Result<Option<Solved>> {
    if request.opts.contains_key("cmdline") {
        return Ok(None);
    }
    let asked = request.opt("build-arg:BUILDKIT_SYNTAX").map(|cmdline| {
        let cmdline = cmdline.trim();
        let name = cmdline.split(' ').next().unwrap_or_default().to_string();
        Syntax { name, cmdline: cmdline.to_string(), span: Span::default() }
    });
    let Some(syntax) = asked.or_else(|| syntax::detect(&loaded.text)) else { return Ok(None) };
    if is_this_language(&syntax.name) && !is_image_wanted(request, &syntax.name) {
        return Ok(None);
    }
    let mut opts = request.opts.clone();
    opts.insert("cmdline".to_string(), syntax.cmdline);
    opts.insert("source".to_string(), syntax.name.clone());
    let opts: Vec<(String, String)> = opts.into_iter().collect();
    let inputs: Vec<(String, State)> = request.inputs.clone().into_iter().collect();
    let solved = cx.solve_frontend(&syntax.name, &opts, &inputs);
    solved.map(Some).map_err(|error| match (error.places.is_empty(), syntax.span) {
        (false, _) => error,
        (true, span) if span == Span::default() => error.context("failed with BUILDKIT_SYNTAX"),
        (true, span) => error.at(loaded.source.place(span)),
    })
}

fn output_of(solved: Solved) -> Result<Output> {
    let mut output = Output { metadata: solved.metadata, ..Output::multi_platform() };
    for (platform, result) in solved.refs {
        output = output.platform(&platform, result.state()?);
    }
    Ok(output)
}

/// The names under which BuildKit ships the Dockerfile's language.
fn is_this_language(name: &str) -> bool {
    let name = name.split('@').next().unwrap_or(name);
    let name = name.rsplit_once(':').map_or(name, |(name, _)| name);
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    matches!(name, "docker/dockerfile" | "docker/dockerfile-upstream" | "dockerfile.v0")
}

/// Whether the image is to be run that has the name, as the user or the host says.
fn is_image_wanted(request: &Request, name: &str) -> bool {
    name != "dockerfile.v0" && request.opt("dockerfile-image") == Some("true")
}

/// Problems as one error, which points at each.
pub(crate) fn all_problems(loaded: &Loaded, problems: &[Problem]) -> Error {
    let mut problems: Vec<&Problem> = problems.iter().collect();
    problems.sort_by_key(|problem| problem.span.start);
    let mut error = loaded.source.error(problems[0]);
    for problem in problems.iter().skip(1).take(MAX_PROBLEMS - 1) {
        let place = loaded.source.place(problem.span);
        error.message.push_str(&format!("\nline {}: {}", place.start_line, problem.message));
        error.places.push(place);
    }
    if problems.len() > MAX_PROBLEMS {
        error.message.push_str(&format!("\nand {} more", problems.len() - MAX_PROBLEMS));
    }
    error
}

/// Which checks are made: as the user says, else as the Dockerfile does.
pub(crate) fn settings(request: &Request, loaded: &Loaded) -> Result<Settings> {
    if let Some(text) = request.opt("build-arg:BUILDKIT_DOCKERFILE_CHECK") {
        return Settings::parse(text).map_err(|why| Error::invalid(format!("BUILDKIT_DOCKERFILE_CHECK: {why}")));
    }
    let Some(directive) = syntax::directive(&loaded.text, "check") else { return Ok(Settings::default()) };
    Settings::parse(&directive.value).map_err(|why| loaded.source.error(&Problem::new(why, directive.span)))
}

/// What all platforms of a build have in common.
#[derive(Clone, Copy)]
pub(crate) struct Build<'a> {
    pub cx: &'a Host,
    pub request: &'a Request,
    pub options: &'a Options,
    pub contexts: &'a Contexts,
    pub loaded: &'a Loaded,
    pub file: &'a Dockerfile,
}

impl<'a> Build<'a> {
    /// Plans for all platforms, with all that they must know answered.
    pub fn plans(&self, lint: &mut Lint) -> Result<Vec<Plan<'a>>> {
        let platforms: Vec<Option<&Platform>> = match self.options.platforms.as_slice() {
            [] => vec![None],
            platforms => platforms.iter().map(Some).collect(),
        };
        // What is found for one platform is mostly found for all: it is told once.
        let mut quiet = Lint::default();
        let mut plans = Vec::with_capacity(platforms.len());
        for (number, platform) in platforms.iter().enumerate() {
            let lint = if number == 0 { &mut *lint } else { &mut quiet };
            let inputs = &self.request.inputs;
            let plan = Plan::new(self.file, self.options, self.contexts, inputs, *platform, lint);
            plans.push(plan.map_err(|problem| self.loaded.source.error(&problem))?);
        }
        self.resolve(&mut plans, lint)?;
        Ok(plans)
    }

    /// What is left out of the build context; asked for only when something of the context is read.
    pub fn ignore(&self, plans: &[Plan]) -> Result<Ignore> {
        if plans.iter().any(Plan::reads_context) { self.loaded.ignore(self.cx) } else { Ok(Ignore::default()) }
    }

    fn run(&self, lint: &mut Lint) -> Result<Output> {
        let plans = self.plans(lint)?;
        let ignore = self.ignore(&plans)?;
        // What is found for one platform is mostly found for all: it is told once.
        let mut quiet = Lint::default();
        let mut output = Output::multi_platform();
        let mut exported = Vec::new();
        for (number, plan) in plans.iter().enumerate() {
            let lint = if number == 0 { &mut *lint } else { &mut quiet };
            let lowered = lower(plan, &ignore, lint).map_err(|problem| self.loaded.source.error(&problem))?;
            let emitted = emit(self.cx, plan, &lowered, self.loaded, &ignore)?;
            output = self.answer(output, plan, &lowered, emitted, &mut exported);
        }
        Ok(output.metadata("refs.platforms", serde_json::json!({ "Platforms": exported }).to_string()))
    }

    /// Asks for all images that the plans need, until they need no more.
    fn resolve(&self, plans: &mut [Plan], lint: &mut Lint) -> Result<()> {
        let mut known: HashMap<Query, Result<SourceMeta>> = HashMap::new();
        let mut quiet = Lint::default();
        loop {
            let mut wanted: Vec<(usize, usize, Query)> = Vec::new();
            for (plan, it) in plans.iter_mut().enumerate() {
                let pending = it.pending().map_err(|problem| self.loaded.source.error(&problem))?;
                wanted.extend(pending.into_iter().map(|(node, query)| (plan, node, query)));
            }
            if wanted.is_empty() {
                return Ok(());
            }
            let mut asked: HashSet<&Query> = HashSet::new();
            let queries = wanted.iter().map(|(_, _, query)| query);
            let new: Vec<Query> =
                queries.filter(|query| !known.contains_key(query) && asked.insert(query)).cloned().collect();
            let answers = self.cx.resolve(new.iter().map(|query| query.to_sdk(self.options.resolve_mode)).collect());
            known.extend(new.into_iter().zip(answers));
            for (plan, node, query) in wanted {
                let lint = if plan == 0 { &mut *lint } else { &mut quiet };
                let missing = || Error::new("internal", format!("no answer for {}", query.identifier));
                let meta = known.get(&query).cloned().unwrap_or_else(|| Err(missing()));
                let meta = meta.map_err(|error| self.not_resolved(&plans[plan], node, error))?;
                let answered = plans[plan].answer(node, &meta, lint);
                answered.map_err(|problem| self.loaded.source.error(&problem))?;
            }
        }
    }

    /// Why a base image is not to be had, and what may have been meant.
    fn not_resolved(&self, plan: &Plan, node: usize, error: Error) -> Error {
        let written = plan.written(node);
        let mut error = if error.message.starts_with(written) { error } else { error.context(written) };
        if error.code == "not-found" {
            let images = COMMON_IMAGES.iter().copied();
            error.message = nearest::suggest(error.message, written, self.file.names().chain(images));
        }
        if error.places.is_empty() {
            error = error.at(self.loaded.source.place(plan.nodes[node].span));
        }
        error
    }

    fn answer(
        &self,
        output: Output,
        plan: &Plan,
        lowered: &Lowered,
        emitted: Emitted,
        exported: &mut Vec<serde_json::Value>,
    ) -> Output {
        let id = plan.platform.normalized().to_string();
        let image: Image = lowered.image(plan);
        let platform = plan.platform.normalized().extended(&image.platform);
        exported.push(serde_json::json!({ "ID": id, "Platform": platform }));
        let (result, suffix) =
            if self.options.multi_platform { (id.as_str(), format!("/{id}")) } else { ("", String::new()) };
        let mut output =
            output.platform(result, emitted.state).metadata(format!("containerimage.config{suffix}"), image.to_json());
        if let Some(base) = lowered.base_image(plan) {
            output = output.metadata(format!("containerimage.base.config{suffix}"), base.to_json());
        }
        if !emitted.scanned.is_empty() {
            output = output.scanned(result, &emitted.scanned);
        }
        if let Some(epoch) = plan.args.epoch {
            output = output.metadata(format!("source.date.epoch{suffix}"), epoch.to_string());
        }
        output
    }

    fn tell(&self, lint: &Lint) -> Result<()> {
        for finding in &lint.findings {
            let place = self.loaded.source.place(finding.span);
            let message = format!("{}: {} (line {})", finding.rule.name(), finding.message, place.start_line);
            let warning = Warning::new(message).about(&self.loaded.state).detail([finding.rule.description()]);
            let warning = match finding.lines.filter(|lines| lines.first < lines.last) {
                Some(lines) => self.loaded.source.lines(lines).fold(warning, Warning::at),
                None => warning.at(place),
            };
            let url = finding.rule.url();
            self.cx.warn(&if url.is_empty() { warning } else { warning.url(url) })?;
        }
        Ok(())
    }
}

/// Images that are often mistyped.
const COMMON_IMAGES: [&str; 7] = ["alpine", "busybox", "centos", "debian", "fedora", "golang", "ubuntu"];
