use std::sync::Arc;

use wasmtime::{Result, component::Resource};

use super::{
    Guest, GuestRef,
    bindings::pintle::frontend::host::{FileInfo, Host, HostRef, Solved, SourceMeta, SourceQuery},
    convert::{Answer, Fault, answer, cut, cut_lines, file_info, locations},
    llb::scheme_words,
    wit::{self, Attr, Content, Edge, Location},
};
use crate::{
    Error, Ref, Request, SolveOptions, Warning,
    limits::{Breach, shown_bytes},
    words::{Table, from_wire, platform},
};

/// Bytes of source texts that the warnings of one call carry: each carries its own, and is kept, and sent to the client, with it.
const WARNED_BYTES_MAX: usize = 16 << 20;

impl HostRef for Guest {
    fn start(&mut self, this: Resource<GuestRef>) -> Result<()> {
        self.reference(&this)?.start();
        Ok(())
    }

    async fn wait(&mut self, this: Resource<GuestRef>) -> Answer<()> {
        let outcome = self.reference(&this)?.evaluate().await;
        Ok(outcome.map_err(|error| self.error_in(error)))
    }

    async fn read_file(&mut self, this: Resource<GuestRef>, path: String) -> Answer<Vec<u8>> {
        self.read(&this, &path, None).await
    }

    async fn read_range(
        &mut self,
        this: Resource<GuestRef>,
        path: String,
        offset: u64,
        length: u64,
    ) -> Answer<Vec<u8>> {
        self.read(&this, &path, Some((offset, length))).await
    }

    async fn read_text(&mut self, this: Resource<GuestRef>, path: String) -> Answer<String> {
        let bytes = self.read(&this, &path, None).await?;
        Ok(bytes.and_then(|bytes| {
            String::from_utf8(bytes).map_err(|error| {
                let at = error.utf8_error().valid_up_to();
                let message = format!("{path}: not UTF-8 at byte {at}");
                wit::Error { code: "not-utf8".to_owned(), message, detail: Vec::new(), places: Vec::new() }
            })
        }))
    }

    async fn read_dir(&mut self, this: Resource<GuestRef>, path: String, attrs: Vec<Attr>) -> Answer<Vec<FileInfo>> {
        let reference = self.reference(&this)?;
        let include = match Table::get().check(&["read-dir"], &attrs) {
            Ok(attrs) => attrs.get("include"),
            Err(error) => return answer(Err(error.into())),
        };
        let listed = match reference.read_dir(&path, include).await {
            Ok(listed) => listed,
            Err(error) => return Ok(Err(self.error_in(error))),
        };
        let bytes: usize =
            listed.iter().map(|stat| stat.path.len() + stat.linkname.len() + size_of::<FileInfo>()).sum();
        if bytes > self.limits.value_bytes {
            return answer(Err(self.too_large(&format!("the listing of {path}"))));
        }
        Ok(Ok(listed.into_iter().map(file_info).collect()))
    }

    async fn stat(&mut self, this: Resource<GuestRef>, path: String) -> Answer<FileInfo> {
        let outcome = self.reference(&this)?.stat(&path).await;
        Ok(outcome.map(file_info).map_err(|error| self.error_in(error)))
    }

    fn target(&mut self, this: Resource<GuestRef>) -> Answer<Option<Edge>> {
        self.calls += 1;
        let held = self.refs.get(&this)?;
        if let Some(target) = held.target {
            return Ok(Ok(target));
        }
        let reference = held.reference.clone();
        let target = self.graph.append(reference.definition());
        if let Ok(target) = target {
            self.refs.get_mut(&this)?.target = Some(target);
        }
        answer(target)
    }

    fn drop(&mut self, this: Resource<GuestRef>) -> Result<()> {
        self.refs.delete(this)?;
        self.refs_held -= 1;
        Ok(())
    }
}

impl Host for Guest {
    async fn solve(&mut self, target: Option<Edge>, attrs: Vec<Attr>) -> Answer<Resource<GuestRef>> {
        self.calls += 1;
        let prepared = Table::get().check(&["solve"], &attrs).map_err(Fault::from).and_then(|attrs| {
            Ok((
                self.graph.definition(target)?,
                SolveOptions { evaluate: attrs.flag("evaluate"), ..SolveOptions::default() },
            ))
        });
        let (definition, options) = match prepared {
            Ok(prepared) => prepared,
            Err(fault) => return answer(Err(fault)),
        };
        match self.bridge.clone().solve(definition, options).await {
            Ok(reference) => Ok(Ok(self.hold(GuestRef { reference, target: Some(target) })?)),
            Err(error) => Ok(Err(self.error_in(error))),
        }
    }

    async fn solve_frontend(
        &mut self,
        source: String,
        opts: Vec<Attr>,
        inputs: Vec<(String, Option<Edge>)>,
    ) -> Answer<Solved> {
        self.calls += 1;
        let named = inputs.into_iter().map(|(name, edge)| Ok((name, self.graph.definition(edge)?)));
        let inputs = match named.collect::<Result<_, Fault>>() {
            Ok(inputs) => inputs,
            Err(fault) => return answer(Err(fault)),
        };
        let request = Request { opts: opts.into_iter().collect(), inputs };
        let solved = match self.bridge.clone().solve_frontend(&source, request).await {
            Ok(solved) => solved,
            Err(error) => return Ok(Err(self.error_in(error))),
        };
        let mut refs = Vec::with_capacity(solved.refs.len());
        for (platform, reference) in solved.refs {
            refs.push((platform, self.hold(GuestRef { reference, target: None })?));
        }
        let metadata = solved.metadata.into_iter().map(|(key, value)| (key, content(value)));
        Ok(Ok(Solved { refs, metadata: metadata.collect() }))
    }

    async fn resolve_sources(&mut self, queries: Vec<SourceQuery>) -> Result<Vec<Result<SourceMeta, wit::Error>>> {
        self.calls += 1;
        if queries.len() > self.limits.queries {
            return Err(Breach::of(
                "queries",
                format!("resolves more than {} sources in one call", self.limits.queries),
            )
            .into());
        }
        let checked: Vec<Result<crate::SourceQuery, Fault>> = queries.iter().map(query).collect();
        let valid: Vec<crate::SourceQuery> = checked.iter().filter_map(|query| query.as_ref().ok().cloned()).collect();
        let mut answers =
            if valid.is_empty() { Vec::new() } else { self.bridge.clone().resolve_sources(valid).await }.into_iter();
        let mut all = Vec::with_capacity(checked.len());
        for query in checked {
            all.push(match query {
                Err(fault) => answer(Err(fault))?,
                Ok(query) => match answers.next() {
                    Some(Ok(meta)) => self.source_meta(&query.identifier, meta),
                    Some(Err(error)) => Err(self.error_in(error)),
                    None => Err(self.error_in(Error::internal(format!("no answer for {}", query.identifier)))),
                },
            });
        }
        Ok(all)
    }

    fn log(&mut self, level: String, message: String) -> Result<()> {
        self.calls += 1;
        if level == "panic" {
            self.panic = Some(cut(message, self.limits.error_bytes));
            return Ok(());
        }
        self.say(&level, &message);
        Ok(())
    }

    fn warn(&mut self, vertex: Option<u32>, message: String, places: Vec<Location>, attrs: Vec<Attr>) -> Answer<()> {
        self.calls += 1;
        answer(self.warning(vertex, message, &places, &attrs))
    }
}

impl Guest {
    /// Logs a line, as far as the limit of all lines goes.
    pub(super) fn say(&mut self, level: &str, message: &str) {
        let level = if matches!(level, "debug" | "warn" | "error") { level } else { "info" };
        if self.log_bytes > self.limits.log_bytes {
            return;
        }
        let left = self.limits.log_bytes - self.log_bytes;
        // An empty line counts too.
        self.log_bytes += message.len() + 1;
        self.bridge.log(level, &cut(message.to_owned(), left));
        if self.log_bytes > self.limits.log_bytes {
            let limit = self.limits.log_bytes;
            self.bridge.log("warn", &format!("the frontend logged more than {limit} bytes: the rest is left out"));
        }
    }

    fn reference(&mut self, this: &Resource<GuestRef>) -> Result<Arc<dyn Ref>> {
        self.calls += 1;
        Ok(self.refs.get(this)?.reference.clone())
    }

    async fn read(&mut self, this: &Resource<GuestRef>, path: &str, range: Option<(u64, u64)>) -> Answer<Vec<u8>> {
        let limit = self.limits.value_bytes;
        let range = range.map(|(offset, length)| (offset, length.min(limit as u64)));
        match self.reference(this)?.read_file(path, range, limit as u64).await {
            Ok(bytes) if bytes.len() > limit => answer(Err(self.too_large(path))),
            Ok(bytes) => Ok(Ok(bytes)),
            Err(error) => Ok(Err(self.error_in(error))),
        }
    }

    fn too_large(&self, what: &str) -> Fault {
        Fault::new(
            "limit",
            format!("{what}: larger than the {} that a frontend may read", shown_bytes(self.limits.value_bytes)),
        )
    }

    fn source_meta(&mut self, asked: &str, meta: crate::SourceMeta) -> Result<SourceMeta, wit::Error> {
        let on = scheme_words(&meta.identifier).unwrap_or_default();
        let config = meta.config.map(String::from_utf8).transpose();
        let config =
            config.map_err(|_| self.error_in(Error::invalid(format!("{asked}: the image config is not UTF-8"))))?;
        Ok(SourceMeta {
            attrs: from_wire(&on, &meta.attrs),
            identifier: meta.identifier,
            digest: meta.digest,
            config,
            facts: facts(meta.git, meta.modified),
        })
    }

    fn warning(
        &mut self,
        vertex: Option<u32>,
        message: String,
        places: &[Location],
        attrs: &[Attr],
    ) -> Result<(), Fault> {
        let attrs = Table::get().check(&["warn"], attrs)?;
        let vertex = vertex.map(|vertex| self.graph.digest(vertex)).transpose()?;
        let location = locations(places, self.graph.sources())?.into_iter().next();
        let limit = self.limits.warnings;
        self.warnings += 1;
        if self.warnings > limit {
            if self.warnings == limit + 1 {
                let short = format!("the frontend gave more than {limit} warnings: the rest is left out");
                self.bridge.warn(Warning { level: 1, short, ..Warning::default() });
            }
            return Ok(());
        }
        let source = location.map(|found| (self.warned_of(found.file), found.ranges));
        let bytes = self.limits.error_bytes;
        self.bridge.warn(Warning {
            level: attrs.number("level").unwrap_or(1),
            short: cut(message, bytes),
            detail: cut_lines(attrs.list("detail"), bytes),
            url: cut(attrs.text("url"), bytes),
            source,
            vertex,
        });
        Ok(())
    }

    /// The source text that a warning is about, or its name alone where warnings have carried enough of texts.
    fn warned_of(&mut self, file: u32) -> Arc<llb::op::SourceFile> {
        let source = &self.graph.sources()[file as usize];
        self.warned_bytes = self.warned_bytes.saturating_add(source.data.len());
        if self.warned_bytes <= WARNED_BYTES_MAX {
            return source.clone();
        }
        let (filename, language) = (source.filename.clone(), source.language.clone());
        Arc::new(llb::op::SourceFile { filename, language, ..llb::op::SourceFile::default() })
    }
}

/// A question in the bridge's terms.
fn query(query: &SourceQuery) -> Result<crate::SourceQuery, Fault> {
    let on = scheme_words(&query.identifier)?;
    let attrs = Table::get().check(&["query", &on], &query.attrs)?;
    let platform = query
        .platform
        .as_ref()
        .map(|text| platform(text).ok_or_else(|| Fault::invalid(format!("platform {text:?}: want os/arch[/variant]"))));
    Ok(crate::SourceQuery {
        identifier: query.identifier.clone(),
        attrs: attrs.wire(),
        platform: platform.transpose()?,
        resolve_mode: attrs.get("resolve-mode").unwrap_or("default").to_owned(),
        no_config: attrs.flag("no-config"),
        git_objects: attrs.flag("objects"),
        log_name: attrs.text("log-name"),
    })
}

/// What is known of a commit, and of a download.
fn facts(git: Option<crate::GitMeta>, modified: Option<i64>) -> Vec<(String, Content)> {
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: Content| facts.push((name.to_owned(), value));
    if let Some(git) = git {
        fact("ref", Content::Text(git.reference));
        if let Some(commit) = git.commit {
            fact("commit", Content::Text(commit));
        }
        for (name, object) in [("commit-object", git.commit_object), ("tag-object", git.tag_object)] {
            if !object.is_empty() {
                fact(name, content(object));
            }
        }
    }
    if let Some(seconds) = modified {
        fact("modified", Content::Text(seconds.to_string()));
    }
    facts
}

/// Metadata of another frontend: text where it is text.
fn content(value: Vec<u8>) -> Content {
    String::from_utf8(value).map_or_else(|error| Content::Bytes(error.into_bytes()), Content::Text)
}
