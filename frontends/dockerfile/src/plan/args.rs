//! Arguments above the first stage, and those that are always there.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    env::Env,
    image,
    instruction::{Command, Instruction},
    options::Options,
    platform::Platform,
    shell::{self, Rules},
    source::{Lines, Problem, Span},
    stage::Dockerfile,
};

/// Values of arguments that `FROM` lines may use, and that stages may ask for with `ARG NAME`.
#[derive(Debug, Default)]
pub struct GlobalArgs {
    /// Their values.
    pub env: Env,
    /// All that were declared, also those without a value, by name.
    pub declared: BTreeMap<String, Declared>,
    /// `SOURCE_DATE_EPOCH`: seconds since 1970.
    pub epoch: Option<i64>,
}

/// An argument as an `ARG` declares it.
#[derive(Debug, Clone, Default)]
pub struct Declared {
    /// Its value in this build; empty when it has none.
    pub value: String,
    /// From the comment above it.
    pub description: String,
    /// Where it is declared.
    pub lines: Lines,
    /// Arguments that its default is made of.
    pub needs: BTreeSet<String>,
}

/// What times are set to, in reproducible builds.
pub const EPOCH: &str = "SOURCE_DATE_EPOCH";

impl GlobalArgs {
    /// The arguments of a build for `platform`.
    ///
    /// # Errors
    /// A default that cannot be resolved, or a time that is none.
    pub fn new(file: &Dockerfile, options: &Options, platform: &Platform) -> Result<Self, Problem> {
        let mut args = Self::with_defaults(file, options, platform, true)?;
        args.epoch = parse_epoch(options, &args.env)?;
        match args.epoch {
            Some(seconds) => args.env.set(EPOCH, &seconds.to_string()),
            None => args.env.unset(EPOCH),
        }
        Ok(args)
    }

    /// As they would be without the user's values when `given` is false.
    pub fn with_defaults(
        file: &Dockerfile,
        options: &Options,
        platform: &Platform,
        given: bool,
    ) -> Result<Self, Problem> {
        let mut args = GlobalArgs { env: predefined(file, options, platform), ..Default::default() };
        let rules = Rules::new(file.escape);
        for instruction in &file.globals {
            let Command::Arg(list) = &instruction.command else { continue };
            for arg in list {
                let (value, needs) = match (options.build_args.get(&arg.name).filter(|_| given), &arg.default) {
                    (Some(value), _) => (Some(value.clone()), BTreeSet::new()),
                    (None, Some(default)) => {
                        let expanded = shell::expand_text(default, rules, &args.env);
                        let expanded = expanded.map_err(|why| Problem::new(why, arg.span))?;
                        (Some(expanded.text), expanded.used)
                    }
                    (None, None) => (None, BTreeSet::new()),
                };
                if let Some(value) = &value {
                    args.env.set(&arg.name, value);
                }
                args.declare(&arg.name, value.unwrap_or_default(), needs, instruction);
            }
        }
        Ok(args)
    }

    fn declare(&mut self, name: &str, value: String, mut needs: BTreeSet<String>, at: &Instruction) {
        // An argument that is declared anew from its own value needs what it needed before.
        if let (true, Some(before)) = (needs.remove(name), self.declared.get(name)) {
            needs.extend(before.needs.iter().cloned());
        }
        let description = at.description(name).to_string();
        self.declared.insert(name.to_string(), Declared { value, description, lines: at.lines, needs });
    }
}

/// Arguments that need no `ARG`: the build machine's platform, the target's, and the target stage.
fn predefined(file: &Dockerfile, options: &Options, platform: &Platform) -> Env {
    let build = &options.build_platform;
    let last = file.stages.last().and_then(|stage| stage.name.as_deref());
    let stage = if options.target.is_empty() { last.unwrap_or("default") } else { &options.target };
    let (build_short, target_long) = (build.short(), platform.to_string());
    let values = [
        ("BUILDPLATFORM", build_short.as_str()),
        ("BUILDOS", &build.os),
        ("BUILDOSVERSION", &build.os_version),
        ("BUILDARCH", &build.architecture),
        ("BUILDVARIANT", &build.variant),
        ("TARGETPLATFORM", &target_long),
        ("TARGETOS", &platform.os),
        ("TARGETOSVERSION", &platform.os_version),
        ("TARGETARCH", &platform.architecture),
        ("TARGETVARIANT", &platform.variant),
        ("TARGETSTAGE", stage),
    ];
    let mut env = Env::new();
    for (name, value) in values {
        env.set(name, options.build_args.get(name).map_or(value, String::as_str));
    }
    env
}

/// The time that is asked for, as a number; what is no number has been looked up before.
fn parse_epoch(options: &Options, env: &Env) -> Result<Option<i64>, Problem> {
    let given = options.build_args.get(EPOCH).map(String::as_str);
    let Some(text) = given.or(shell::Variables::get(env, EPOCH)).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let seconds = text.parse::<i64>().ok().filter(|seconds| image::rfc3339(*seconds).is_some());
    let message = || format!("invalid {EPOCH}: {text:?} is not a number of seconds since 1970");
    match (seconds, options.found_epoch) {
        (Some(seconds), _) => Ok(Some(seconds)),
        (None, Some(found)) => Ok(found),
        (None, None) => Err(Problem::new(message(), Span::default())),
    }
}
