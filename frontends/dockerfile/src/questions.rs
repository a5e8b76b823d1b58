//! Questions about a Dockerfile, answered without building it.

use pintle_sdk::{
    Answer, Error, Host, Request, Result,
    answer::{Broken, Lint as LintAnswer, Outline, Requests, Target, Targets, Warned},
};

use crate::{
    build::{self, Build, Opened},
    context::Contexts,
    epoch,
    lint::{self, Finding, Lint},
    load::Loaded,
    lower::{Lowered, lower},
    options::Options,
    outline::{outline, pair},
    parse::parse,
    plan::Plan,
    stage::{Dockerfile, Stage},
};

/// Answers a question: `describe`, `outline`, `targets` or `lint`.
///
/// # Errors
/// `unsupported` for any other, and what building would fail with; mistakes in the Dockerfile are part of the answer to `lint`.
pub fn answer(cx: &Host, kind: &str, request: &Request) -> Result<Answer> {
    let loaded = match build::open(cx, request)? {
        Opened::Here(loaded) => loaded,
        Opened::Elsewhere(solved) => return Ok(Answer { metadata: solved.metadata }),
    };
    let mut options = Options::parse(request)?;
    // Questions are about the Dockerfile, not about a platform.
    options.platforms.clear();
    match kind {
        "describe" => Ok(Requests { outline: true, targets: true }.into()),
        "targets" => Ok(Answer::from(&targets(&loaded)?)),
        "outline" => Ok(Answer::from(&read(cx, request, &mut options, &loaded)?)),
        "lint" => {
            // Nobody named a target: all are meant.
            options.all_stages = options.target.is_empty();
            Ok(Answer::from(&check(cx, request, &mut options, &loaded)))
        }
        other => Err(Error::unsupported(format!("no answer to request {other:?}"))),
    }
}

fn targets(loaded: &Loaded) -> Result<Targets> {
    let (tree, mut problems) = parse(&loaded.text);
    let file = Dockerfile::look(&tree, &mut problems);
    if !problems.is_empty() {
        return Err(build::all_problems(loaded, &problems));
    }
    let target = |(number, stage): (usize, &Stage)| {
        let name = stage.name.clone().unwrap_or_default();
        Target {
            default: number + 1 == file.stages.len(),
            description: stage.head.description(&name).to_string(),
            base: stage.from.base.text.clone(),
            platform: stage.from.platform.as_ref().map(|token| token.text.clone()).unwrap_or_default(),
            lines: pair(stage.head.lines),
            name,
        }
    };
    Ok(Targets { targets: file.stages.iter().enumerate().map(target).collect(), source: loaded.text.clone() })
}

fn read(cx: &Host, request: &Request, options: &mut Options, loaded: &Loaded) -> Result<Outline> {
    build::checked(cx, request, options, loaded, |build, lint| {
        let (plan, lowered) = one(build, lint)?;
        Ok(outline(&plan, &lowered, &loaded.text))
    })
}

/// Plans and lowers for one platform.
fn one<'a>(build: &Build<'a>, lint: &mut Lint) -> Result<(Plan<'a>, Lowered)> {
    let mut plans = build.plans(lint)?;
    let ignore = build.ignore(&plans)?;
    let plan = plans.pop().ok_or_else(|| Error::new("internal", "no platform to look at"))?;
    let lowered = lower(&plan, &ignore, lint).map_err(|problem| build.loaded.source.error(&problem))?;
    Ok((plan, lowered))
}

fn check(cx: &Host, request: &Request, options: &mut Options, loaded: &Loaded) -> LintAnswer {
    let mut lint = Lint::default();
    let error = find_all(cx, request, options, loaded, &mut lint).err();
    let lines = |finding: &Finding| match finding.lines {
        Some(lines) => pair(lines),
        None => {
            let place = loaded.source.place(finding.span);
            (place.start_line, place.end_line)
        }
    };
    let warned = |finding: &Finding| Warned {
        rule: finding.rule.name().to_string(),
        description: finding.rule.description().to_string(),
        url: finding.rule.url(),
        detail: finding.message.clone(),
        lines: lines(finding),
    };
    LintAnswer {
        warnings: lint.findings.iter().map(warned).collect(),
        error: error.map(|error| {
            let mut lines: Vec<_> = error.places.iter().map(|place| (place.start_line, place.end_line)).collect();
            lines.sort_unstable();
            lines.dedup();
            Broken { message: error.message, lines }
        }),
        filename: loaded.filename.clone(),
        language: crate::load::DOCKERFILE.to_string(),
        source: loaded.text.clone(),
    }
}

/// Gathers findings; the error is what a build would fail with.
fn find_all(cx: &Host, request: &Request, options: &mut Options, loaded: &Loaded, lint: &mut Lint) -> Result<()> {
    let (tree, mut problems) = parse(&loaded.text);
    *lint = Lint::new(build::settings(request, loaded)?);
    let file = Dockerfile::read(&tree, &mut problems);
    lint::check(&tree, &file, lint);
    if !problems.is_empty() {
        return Err(build::all_problems(loaded, &problems));
    }
    let contexts = Contexts::new(request);
    epoch::settle(cx, options, &contexts, loaded, &file)?;
    let build = Build { cx, request, options, contexts: &contexts, loaded, file: &file };
    one(&build, lint)?;
    lint.error().map_or(Ok(()), |message| Err(Error::invalid(message)))
}
