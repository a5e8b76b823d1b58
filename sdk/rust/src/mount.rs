//! Mounts of a command, one builder for each kind.

use crate::{
    Attr, State,
    attrs::{attr, setters},
    bindings::pintle::frontend::llb,
};

/// A mount of any kind; made from the builders here.
#[derive(Clone, Debug, PartialEq)]
pub struct Mount {
    pub(crate) wit: llb::Mount,
    /// What it was made from, when its edge is of use even though nothing is written.
    pub(crate) readonly_input: bool,
}

/// A tree, as the command may read and write it.
#[derive(Clone, Debug)]
#[must_use = "nothing is mounted before it is given to a command"]
pub struct Bind {
    target: String,
    input: Option<crate::Edge>,
    attrs: Vec<Attr>,
    readonly: bool,
}

impl Bind {
    /// `source` at `target`.
    pub fn new(target: impl Into<String>, source: &State) -> Self {
        Bind { target: target.into(), input: source.edge(), attrs: Vec::new(), readonly: false }
    }

    /// Whether the command may only read; what it was mounted from is then the mount's state afterwards.
    pub fn readonly(mut self, value: bool) -> Self {
        self.readonly = value;
        self
    }

    /// What the command writes is dropped.
    pub fn no_output(mut self) -> Self {
        self.attrs.push(attr("output", "false"));
        self
    }
}

setters!(Bind {
    /// A path inside the source.
    text selector = "selector";
    /// `default`, `on` or `off`: whether the contents are part of the cache key.
    text content_cache = "content-cache";
});

impl From<Bind> for Mount {
    fn from(bind: Bind) -> Self {
        let mut attrs = bind.attrs;
        if bind.readonly {
            attrs.push(attr("readonly", "true"));
        }
        let wit = llb::Mount { kind: "bind".to_owned(), target: bind.target, input: bind.input, attrs };
        Mount { wit, readonly_input: bind.readonly }
    }
}

/// Who may use a cache at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sharing {
    /// All.
    #[default]
    Shared,
    /// Each writer has its own.
    Private,
    /// One after the other.
    Locked,
}

impl Sharing {
    fn word(self) -> &'static str {
        match self {
            Sharing::Shared => "shared",
            Sharing::Private => "private",
            Sharing::Locked => "locked",
        }
    }
}

macro_rules! mount_builder {
    ($(#[$doc:meta])* $type:ident = $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        #[must_use = "nothing is mounted before it is given to a command"]
        pub struct $type {
            target: String,
            input: Option<crate::Edge>,
            attrs: Vec<Attr>,
        }

        impl From<$type> for Mount {
            fn from(mount: $type) -> Self {
                let $type { target, input, attrs } = mount;
                let wit = llb::Mount { kind: $kind.to_owned(), target, input, attrs };
                Mount { wit, readonly_input: false }
            }
        }
    };
}

mount_builder! {
    /// A directory that stays from build to build.
    Cache = "cache"
}
mount_builder! {
    /// An empty directory in memory.
    Tmpfs = "tmpfs"
}
mount_builder! {
    /// A secret of the user, as a file or as an environment variable.
    Secret = "secret"
}
mount_builder! {
    /// The user's ssh agent.
    Ssh = "ssh"
}

impl Cache {
    /// The cache `id` at `target`.
    pub fn new(target: impl Into<String>, id: impl Into<String>) -> Self {
        Cache { target: target.into(), input: None, attrs: vec![attr("id", id)] }
    }

    /// What it holds at first.
    pub fn from(mut self, source: &State) -> Self {
        self.input = source.edge();
        self
    }

    /// Who may use it at once.
    pub fn sharing(mut self, sharing: Sharing) -> Self {
        if sharing != Sharing::Shared {
            self.attrs.push(attr("sharing", sharing.word()));
        }
        self
    }
}

setters!(Cache {
    /// A path inside the cache.
    text selector = "selector";
    /// The command may only read.
    flag readonly = "readonly";
});

impl Tmpfs {
    /// At `target`.
    pub fn new(target: impl Into<String>) -> Self {
        Tmpfs { target: target.into(), input: None, attrs: Vec::new() }
    }
}

setters!(Tmpfs {
    /// In bytes; not given: no limit.
    number size = "size";
});

impl Secret {
    /// The secret `id` as a file at `target`.
    pub fn file(target: impl Into<String>, id: impl Into<String>) -> Self {
        Secret { target: target.into(), input: None, attrs: vec![attr("id", id)] }
    }

    /// The secret `id` as the environment variable `name`.
    pub fn env(name: impl Into<String>, id: impl Into<String>) -> Self {
        Secret { target: String::new(), input: None, attrs: vec![attr("id", id), attr("env", name)] }
    }
}

setters!(Secret {
    /// May be missing.
    flag optional = "optional";
    /// Of the file.
    number uid = "uid";
    /// Of the file.
    number gid = "gid";
    /// Of the file.
    octal mode = "mode";
});

impl Ssh {
    /// The agent's socket at `target`.
    pub fn new(target: impl Into<String>) -> Self {
        Ssh { target: target.into(), input: None, attrs: Vec::new() }
    }
}

setters!(Ssh {
    /// Name of the agent; not given: `default`.
    text id = "id";
    /// May be missing.
    flag optional = "optional";
    /// Of the socket.
    number uid = "uid";
    /// Of the socket.
    number gid = "gid";
    /// Of the socket.
    octal mode = "mode";
});
