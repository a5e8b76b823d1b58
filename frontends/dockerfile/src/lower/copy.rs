//! COPY, and what ADD has in common with it.

use std::borrow::Cow;

use super::{
    ops::{CopyAction, CopyFrom, CopyOp, Op, Tree},
    stage::Lowerer,
    workdir::owner,
};
use crate::{
    instruction::{Copy, Inline, Instruction},
    lint::Rule,
    shell::Rules,
    source::{Problem, Span, Token},
    text::path,
};

/// A copy with its variables resolved.
pub(super) struct Resolved {
    pub sources: Vec<Token>,
    pub destination: String,
    /// The same as a path of the tree.
    directory: String,
    pub chown: Option<String>,
    pub chmod: Option<String>,
    pub checksum: Option<Token>,
    inline: Vec<Inline>,
}

impl Lowerer<'_, '_> {
    pub(super) fn copy(
        &mut self,
        copy: &Copy,
        from: Option<usize>,
        is_add: bool,
        at: &Instruction,
    ) -> Result<(), Problem> {
        let resolved = self.resolve(copy, is_add, at)?;
        let text = self.shown_text(&at.text, Rules::new(self.plan.file.escape), &self.state.env);
        let platform = self.state.platform.clone();
        let tree = self.copy_source(copy, from)?;
        let shown = self.shown(&text, Some(&platform), at, true);
        let mut actions = Vec::with_capacity(resolved.sources.len() + resolved.inline.len());
        for source in &resolved.sources {
            actions.push(self.action(copy, &resolved, source, tree, is_add, at)?);
        }
        for file in &resolved.inline {
            let name = self.slashed(&file.name, at.span)?;
            let src = path::resolve("/", &name);
            let from = CopyFrom::Inline { name: name.into_owned(), data: file.data.clone() };
            actions.push(CopyAction { from, src, ..self.plain(copy, &resolved) });
        }
        self.note_read(&resolved, from, is_add);
        let link = (copy.link && resolved.chmod.is_none())
            .then(|| self.named(&format!("LINK {text}"), Some(&platform), at.trigger));
        self.state.ops.push(Op::Copy(Box::new(CopyOp { shown, link, actions, platform })));
        self.history(copy_history(copy, &resolved, is_add), true);
        Ok(())
    }

    fn resolve(&mut self, copy: &Copy, is_add: bool, at: &Instruction) -> Result<Resolved, Problem> {
        let mut flag = |token: &Option<Token>| -> Result<Option<Token>, Problem> {
            let Some(token) = token else { return Ok(None) };
            let text = self.expand(&token.text, token.span, at)?;
            Ok(Some(Token::new(text, token.span)).filter(|token| !token.text.is_empty()))
        };
        let (chown, chmod, checksum) = (flag(&copy.chown)?, flag(&copy.chmod)?, flag(&copy.checksum)?);
        // With --chmod it is no layer of its own, and lies over what has the users.
        let is_linked = copy.link && chmod.is_none();
        if let Some(chown) = chown.as_ref().filter(|chown| is_linked && names_somebody(&chown.text)) {
            let message = format!(
                "--chown={}: user and group names can't be resolved when used with --link, use numeric uid[:gid] instead",
                chown.text
            );
            return Err(Problem::new(message, chown.span));
        }
        if let Some(chmod) = &chmod {
            check_mode(&chmod.text).map_err(|why| Problem::new(why, chmod.span))?;
        }
        let mut sources = Vec::with_capacity(copy.sources.len());
        for source in &copy.sources {
            sources.push(Token::new(self.expand(&source.text, source.span, at)?, source.span));
        }
        let destination = self.expand(&copy.destination.text, copy.destination.span, at)?;
        let directory = self.slashed(&destination, copy.destination.span)?.into_owned();
        let mut inline = Vec::with_capacity(copy.inline.len());
        for file in &copy.inline {
            inline.push(self.resolve_inline(file, at)?);
        }
        let resolved = Resolved {
            sources,
            destination,
            directory,
            chown: chown.map(|chown| chown.text),
            chmod: chmod.map(|chmod| chmod.text),
            checksum,
            inline,
        };
        self.check_checksum(&resolved, is_add)?;
        Ok(resolved)
    }

    fn resolve_inline(&mut self, file: &Inline, at: &Instruction) -> Result<Inline, Problem> {
        let data = if file.expand {
            let rules = Rules { ignore_quotes: true, ..Rules::new('\\') };
            self.expand_with(&file.data, rules, at.span, at)?.text
        } else {
            file.data.clone()
        };
        Ok(Inline { data, ..file.clone() })
    }

    fn copy_source(&self, copy: &Copy, from: Option<usize>) -> Result<Tree, Problem> {
        let (Some(node), Some(token)) = (from, &copy.from) else { return Ok(Tree::Context) };
        let checked = self.check_before(node, || format!("cannot copy from stage {:?}", token.text));
        checked.map_err(|why| Problem::new(why, token.span)).map(|()| Tree::Node(node))
    }

    /// A path of the stage's system as one of the tree.
    fn slashed<'t>(&self, text: &'t str, span: Span) -> Result<Cow<'t, str>, Problem> {
        self.state.slashed(text).map_err(|why| Problem::new(why, span))
    }

    /// An action with everything but where from.
    pub(super) fn plain(&self, copy: &Copy, resolved: &Resolved) -> CopyAction {
        let dest = match resolved.directory.as_str() {
            "" | "." => "./",
            dest => dest,
        };
        CopyAction {
            from: CopyFrom::Tree(Tree::Empty),
            src: "/".to_string(),
            dest: path::resolve_keeping_slash(&self.state.dir, dest),
            chown: resolved.chown.as_deref().map(owner),
            chmod: resolved.chmod.clone(),
            exclude: copy.exclude.clone(),
            include: Vec::new(),
            required: Vec::new(),
            unpack: false,
        }
    }

    fn action(
        &mut self,
        copy: &Copy,
        resolved: &Resolved,
        source: &Token,
        tree: Tree,
        is_add: bool,
        at: &Instruction,
    ) -> Result<CopyAction, Problem> {
        if let Some(remote) = self.remote(copy, resolved, source, is_add)? {
            return Ok(remote);
        }
        self.check_ignored(source, tree, is_add, at);
        let unpack = copy.unpack.unwrap_or(is_add);
        let action = CopyAction { from: CopyFrom::Tree(tree), unpack, ..self.plain(copy, resolved) };
        if !copy.parents {
            return Ok(CopyAction { src: path::resolve("/", &self.slashed(&source.text, source.span)?), ..action });
        }
        // What stands before `/./` is not kept.
        let (parent, pattern) = source.text.split_once("/./").unwrap_or(("/", &source.text));
        let (parent, pattern) = (&*self.slashed(parent, source.span)?, &*self.slashed(pattern, source.span)?);
        // An absolute pattern stays as it is: a slash at its end asks for a directory.
        let pattern = if pattern.starts_with('/') { pattern.to_string() } else { path::resolve("/", pattern) };
        let exact = !path::has_wildcard(parent) && !path::has_wildcard(&pattern);
        Ok(CopyAction {
            src: path::resolve("/", parent),
            include: vec![pattern.strip_prefix('/').unwrap_or(&pattern).to_string()],
            required: exact.then(|| path::join("/", &path::join(parent, &pattern))).into_iter().collect(),
            ..action
        })
    }

    /// Notes what is read, so that contexts are asked for no more.
    fn note_read(&mut self, resolved: &Resolved, from: Option<usize>, is_add: bool) {
        for source in &resolved.sources {
            let read = path::join("/", &source.text);
            match from {
                Some(node) => self.lowered.read(self.plan, node, read),
                None if is_add && is_http(&source.text) => {}
                None => drop(self.lowered.context_paths.insert(read)),
            }
        }
    }

    fn check_ignored(&mut self, source: &Token, tree: Tree, is_add: bool, at: &Instruction) {
        if tree == Tree::Context && self.ignore.excludes(&source.text) {
            let (keyword, path) = (if is_add { "Add" } else { "Copy" }, path::clean(&source.text));
            let message = format!("Attempting to {keyword} file {path:?} that is excluded by .dockerignore");
            self.lint.warn(Rule::CopyIgnoredFile, message, at);
        }
    }
}

/// Whether an owner must be looked up in the tree that is copied into: a layer of its own has no users.
fn names_somebody(chown: &str) -> bool {
    owner(chown).split(':').any(|part| part.parse::<u32>().is_err())
}

/// Whether a source is a URL of a download.
pub fn is_http(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

fn copy_history(copy: &Copy, resolved: &Resolved, is_add: bool) -> String {
    let mut words = vec![if is_add { "ADD" } else { "COPY" }.to_string()];
    if copy.parents {
        words.push("--parents".to_string());
    }
    words.extend(resolved.chown.iter().map(|chown| format!("--chown={chown}")));
    words.extend(resolved.chmod.iter().map(|chmod| format!("--chmod={chmod}")));
    words.extend(resolved.sources.iter().map(|source| source.text.clone()));
    words.extend(resolved.inline.iter().map(|file| format!("<<{}", file.name)));
    words.push(resolved.destination.clone());
    format!("{} # buildkit", words.join(" "))
}

/// Octal digits up to 7777, or symbolic clauses such as `u+x,go-w`.
fn check_mode(text: &str) -> Result<(), String> {
    let octal = || format!("invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777");
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
        return mode.map(drop).ok_or_else(octal);
    }
    if text.split(',').all(is_symbolic_clause) { Ok(()) } else { Err(octal()) }
}

/// Who, and then one or more changes: an operator and permissions.
fn is_symbolic_clause(clause: &str) -> bool {
    let changes = clause.trim_start_matches(['u', 'g', 'o', 'a']);
    let mut parts = changes.split(['+', '-', '=']);
    let begins_with_operator = parts.next() == Some("") && !changes.is_empty();
    let permissions = |part: &str| {
        part.chars().all(|c| "rwxXst".contains(c)) || (part.len() == 1 && part.chars().all(|c| "ugo".contains(c)))
    };
    begins_with_operator && parts.all(permissions)
}

#[cfg(test)]
mod tests {
    use super::check_mode;

    #[test]
    fn modes() {
        for good in ["755", "0644", "7777", "u+x", "go-w,u=rwX", "a=", "+x", "g=u", "u+r-w"] {
            assert!(check_mode(good).is_ok(), "{good}");
        }
        for bad in ["10000", "9", "x", "u", "u+q", "u+x,", "rwx", "7-7"] {
            assert!(check_mode(bad).is_err(), "{bad}");
        }
    }
}
