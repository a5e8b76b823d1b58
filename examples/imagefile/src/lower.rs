use pintle_sdk::{Error, Host, Output, Result, SourceQuery, State, VertexBuilder, VertexOptions, file, mount};
use serde_json::Value;

use crate::{
    Source,
    config::{Config, environment},
    imagefile::{Imagefile, PackageManager, Step},
};

/// Describes the build of an image file.
pub(crate) fn lower(cx: &Host, file: &Imagefile, source: &Source<'_>, platform: &str) -> Result<Output> {
    let (mut state, config) = base(cx, file, source, platform)?;
    let build = Build { env: environment(&config, &file.image), platform, source };
    state = build.packages(state, file)?;
    let total = file.steps.len();
    for (number, step) in file.steps.iter().enumerate() {
        let options = VertexOptions::new().at(source.place(step.span()));
        let place = format!("[{}/{total}]", number + 1);
        state = build
            .step(cx, &state, step.get_ref(), &place, &options)
            .map_err(|error| if error.places.is_empty() { error.at(source.place(step.span())) } else { error })?;
    }
    Ok(Output::new(state).config(&config.with(&file.image, platform)))
}

/// The image to start from, pinned, with its config.
fn base(cx: &Host, file: &Imagefile, source: &Source<'_>, platform: &str) -> Result<(State, Config)> {
    let name = file.base.get_ref();
    let place = source.place(file.base.span());
    if name == "scratch" {
        return Ok((cx.scratch(), Config::default()));
    }
    let reference = full_reference(name);
    let query = SourceQuery::image(&reference).platform(platform).log_name(format!("resolve {name}"));
    let meta = cx.resolve(vec![query]).pop().unwrap_or_else(|| Err(Error::not_found(format!("{name}: no answer"))));
    let meta = meta.map_err(|error| error.context(format_args!("base {name}")).at(place))?;
    let state = cx.source(&meta.identifier).platform(platform).name(format!("base {name}")).at(place).add()?;
    let config: Value = serde_json::from_str(meta.config.as_deref().unwrap_or("{}"))
        .map_err(|error| Error::invalid(format!("base {name}: its config is not JSON: {error}")).at(place))?;
    Ok((state, Config::new(config)))
}

/// `alpine` is `docker.io/library/alpine:latest`.
fn full_reference(name: &str) -> String {
    let has_registry = name.split_once('/').is_some_and(|(host, _)| host.contains(['.', ':']) || host == "localhost");
    let name = match (has_registry, name.contains('/')) {
        (true, _) => name.to_owned(),
        (false, true) => format!("docker.io/{name}"),
        (false, false) => format!("docker.io/library/{name}"),
    };
    let last = name.rsplit('/').next().unwrap_or_default();
    if last.contains([':', '@']) { name } else { format!("{name}:latest") }
}

struct Build<'a> {
    env: Vec<(String, String)>,
    platform: &'a str,
    source: &'a Source<'a>,
}

impl Build<'_> {
    fn packages(&self, state: State, file: &Imagefile) -> Result<State> {
        let Some(packages) = file.packages.as_ref().filter(|packages| !packages.get_ref().is_empty()) else {
            return Ok(state);
        };
        let place = self.source.place(packages.span());
        let valid = |name: &&String| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.:=_~".contains(&b));
        if let Some(name) = packages.get_ref().iter().find(|name| !valid(name) || name.starts_with('-')) {
            return Err(Error::invalid(format!("{name:?} is no package name")).at(place));
        }
        let names = packages.get_ref().join(" ");
        let (command, caches): (_, &[&str]) = match file.package_manager {
            PackageManager::Apt => (
                format!("apt-get update && apt-get install --yes --no-install-recommends {names}"),
                &["/var/cache/apt", "/var/lib/apt/lists"],
            ),
            PackageManager::Apk => (format!("apk add {names}"), &["/etc/apk/cache"]),
        };
        let options = VertexOptions::new().name(format!("install {names}")).at(place);
        self.run(&state, &command, caches, &options)
    }

    fn step(&self, cx: &Host, state: &State, step: &Step, place: &str, options: &VertexOptions) -> Result<State> {
        let needs_to = || step.to.as_deref().ok_or_else(|| Error::invalid("a step with copy or write needs \"to\""));
        match (&step.run, &step.copy, &step.write) {
            (Some(command), None, None) => {
                let caches: Vec<&str> = step.caches.iter().map(String::as_str).collect();
                self.run(state, command, &caches, &options.clone().name(format!("{place} run {command}")))
            }
            (None, Some(from), None) => {
                let context = cx.local("context").shared_key("context").name("load build context").add()?;
                let mut copy = file::Copy::new(&context, format!("/{}", from.trim_start_matches("./")), needs_to()?)
                    .contents_only(true)
                    .create_parents(true);
                if let Some(mode) = &step.mode {
                    copy = copy.chmod(mode);
                }
                if let Some(owner) = &step.owner {
                    copy = copy.owner(owner);
                }
                state.file().copy(copy).with(options).name(format!("{place} copy {from}")).add()
            }
            (None, None, Some(text)) => {
                let to = needs_to()?;
                let mode = step.mode.as_deref().unwrap_or("644");
                let mode = u32::from_str_radix(mode, 8);
                let mut made = file::Mkfile::new(to, text.as_str())
                    .mode(mode.map_err(|_| Error::invalid("a file's mode is octal digits"))?);
                if let Some(owner) = &step.owner {
                    made = made.owner(owner);
                }
                state.file().mkfile(made).with(options).name(format!("{place} write {to}")).add()
            }
            _ => Err(Error::invalid("a step has one of run, copy and write")),
        }
    }

    fn run(&self, state: &State, command: &str, caches: &[&str], options: &VertexOptions) -> Result<State> {
        let mut exec = state.run(["/bin/sh", "-c", command]).envs(self.env.iter().cloned());
        for path in caches {
            exec = exec.mount(mount::Cache::new(*path, *path).sharing(mount::Sharing::Locked));
        }
        exec.with(options).platform(self.platform).root()
    }
}
