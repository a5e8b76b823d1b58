//! Changing files.

use crate::{
    Attr, Content, Result, State, VertexBuilder, VertexOptions,
    attrs::{attr, setters},
    bindings::pintle::frontend::llb::FileAction,
};

/// File actions on a tree, in order, as one vertex. Made by [`State::file`].
#[must_use = "nothing is added before `add`"]
pub struct FileBuilder {
    base: State,
    actions: Vec<FileAction>,
    options: VertexOptions,
}

impl FileBuilder {
    pub(crate) fn new(base: &State) -> Self {
        FileBuilder { base: base.clone(), actions: Vec::new(), options: VertexOptions::new() }
    }

    /// Copies files.
    pub fn copy(self, copy: Copy) -> Self {
        self.push("copy", copy.dest, copy.from, None, copy.attrs)
    }

    /// Makes a file.
    pub fn mkfile(self, file: Mkfile) -> Self {
        self.push("mkfile", file.path, None, Some(file.content), file.attrs)
    }

    /// Makes a directory.
    pub fn mkdir(self, directory: Mkdir) -> Self {
        self.push("mkdir", directory.path, None, None, directory.attrs)
    }

    /// Removes a file or a directory.
    pub fn rm(self, rm: Rm) -> Self {
        self.push("rm", rm.path, None, None, rm.attrs)
    }

    /// Makes a symbolic link.
    pub fn symlink(self, link: Symlink) -> Self {
        self.push("symlink", link.path, None, None, link.attrs)
    }

    fn push(
        mut self,
        kind: &str,
        path: String,
        input: Option<crate::Edge>,
        content: Option<Content>,
        attrs: Vec<Attr>,
    ) -> Self {
        self.actions.push(FileAction { kind: kind.to_owned(), path, input, content, attrs });
        self
    }

    /// Whether there is nothing to do yet.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// Adds the actions to the graph.
    ///
    /// # Errors
    /// What the host refuses.
    #[track_caller]
    pub fn add(mut self) -> Result<State> {
        let host = self.base.host();
        let attrs = self.options.attrs_with(Vec::new());
        let edge = self.options.located(host, host.calls().add_file(self.base.edge(), &self.actions, &attrs))?;
        Ok(host.state(Some(edge)))
    }
}

impl VertexBuilder for FileBuilder {
    fn vertex_options(&mut self) -> &mut VertexOptions {
        &mut self.options
    }
}

/// Copies files from a tree.
#[derive(Clone, Debug)]
#[must_use = "nothing is changed before it is given to a file vertex"]
pub struct Copy {
    from: Option<crate::Edge>,
    dest: String,
    attrs: Vec<Attr>,
}

impl Copy {
    /// `src` in `from` to `dest`. A `dest` that ends in `/` is a directory to copy into.
    pub fn new(from: &State, src: impl Into<String>, dest: impl Into<String>) -> Self {
        Copy { from: from.edge(), dest: dest.into(), attrs: vec![attr("src", src)] }
    }

    /// Octal mode of all that is copied.
    pub fn mode(self, mode: u32) -> Self {
        self.chmod(format!("{mode:o}"))
    }
}

setters!(Copy {
    /// Mode of all that is copied, octal digits or symbolic (`u+x,go-w`).
    text chmod = "mode";
    /// user[:group] of all that is copied, names or numbers; not given: root.
    text owner = "owner";
    /// Resolve symlinks in the source path.
    flag follow_links = "follow-links";
    /// Of a directory, what is in it.
    flag contents_only = "contents-only";
    /// Make the directories above the destination.
    flag create_parents = "create-parents";
    /// The source path is a pattern, such as `*.txt`; without this, `*`, `?` and `[` are taken as they are.
    flag wildcard = "wildcard";
    /// A pattern that matches nothing is no error.
    flag empty_wildcard = "empty-wildcard";
    /// If the source is an archive, what is in it.
    flag unpack = "unpack";
    /// Only what matches one of these patterns.
    list include = "include";
    /// Not what matches one of these patterns.
    list exclude = "exclude";
    /// With `include`: paths that must be among what is copied.
    list required = "required";
    /// What is in the way and of another kind is replaced.
    flag replace = "replace";
    /// Modification time in nanoseconds since 1970; not given: as it is.
    number created = "created";
});

/// Makes a file.
#[derive(Clone, Debug)]
#[must_use = "nothing is changed before it is given to a file vertex"]
pub struct Mkfile {
    path: String,
    content: Content,
    attrs: Vec<Attr>,
}

impl Mkfile {
    /// A file at `path` that holds `content`.
    pub fn new(path: impl Into<String>, content: impl Into<Content>) -> Self {
        Mkfile { path: path.into(), content: content.into(), attrs: Vec::new() }
    }
}

setters!(Mkfile {
    /// Not given: 644.
    octal mode = "mode";
    /// user[:group], names or numbers; not given: root.
    text owner = "owner";
    /// Modification time in nanoseconds since 1970; not given: now.
    number created = "created";
});

macro_rules! path_action {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        #[must_use = "nothing is changed before it is given to a file vertex"]
        pub struct $type {
            path: String,
            attrs: Vec<Attr>,
        }
    };
}

path_action! {
    /// Makes a directory.
    Mkdir
}
path_action! {
    /// Removes a file or a directory.
    Rm
}
path_action! {
    /// Makes a symbolic link.
    Symlink
}

impl Mkdir {
    /// A directory at `path`.
    pub fn new(path: impl Into<String>) -> Self {
        Mkdir { path: path.into(), attrs: Vec::new() }
    }
}

setters!(Mkdir {
    /// Not given: 755.
    octal mode = "mode";
    /// Make the directories above; an existing one is no error.
    flag parents = "parents";
    /// user[:group], names or numbers; not given: root.
    text owner = "owner";
    /// Modification time in nanoseconds since 1970; not given: now.
    number created = "created";
});

impl Rm {
    /// What is at `path`.
    pub fn new(path: impl Into<String>) -> Self {
        Rm { path: path.into(), attrs: Vec::new() }
    }
}

setters!(Rm {
    /// Nothing there is no error.
    flag allow_not_found = "allow-not-found";
    /// The path is a pattern, such as `*.txt`; without this, `*`, `?` and `[` are taken as they are.
    flag wildcard = "wildcard";
});

impl Symlink {
    /// A link at `path` that points to `to`.
    pub fn new(path: impl Into<String>, to: impl Into<String>) -> Self {
        Symlink { path: path.into(), attrs: vec![attr("to", to)] }
    }
}

setters!(Symlink {
    /// user[:group], names or numbers; not given: root.
    text owner = "owner";
    /// Modification time in nanoseconds since 1970; not given: now.
    number created = "created";
});

impl From<String> for Content {
    fn from(text: String) -> Self {
        Content::Text(text)
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Content::Text(text.to_owned())
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Content::Bytes(bytes)
    }
}

impl Content {
    /// The bytes, whichever it is.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Content::Text(text) => text.as_bytes(),
            Content::Bytes(bytes) => bytes,
        }
    }
}
