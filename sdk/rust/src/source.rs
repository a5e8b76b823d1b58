//! Files from outside, one builder for each kind.

use crate::{
    Attr, Host, Result, State, VertexBuilder, VertexOptions,
    attrs::{attr, setters},
};

macro_rules! source_builder {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[must_use = "nothing is added before `add`"]
        pub struct $type {
            host: Host,
            identifier: String,
            attrs: Vec<Attr>,
            options: VertexOptions,
        }

        impl $type {
            pub(crate) fn new(host: &Host, identifier: String) -> Self {
                Self { host: host.clone(), identifier, attrs: Vec::new(), options: VertexOptions::new() }
            }

            /// Adds the source to the graph.
            ///
            /// # Errors
            /// What the host refuses: an identifier or an attribute that it does not take.
            #[track_caller]
            pub fn add(mut self) -> Result<State> {
                let attrs = self.options.attrs_with(self.attrs);
                let edge = self.options.located(&self.host, self.host.calls().add_source(&self.identifier, &attrs))?;
                Ok(self.host.state(Some(edge)))
            }
        }

        impl VertexBuilder for $type {
            fn vertex_options(&mut self) -> &mut VertexOptions {
                &mut self.options
            }
        }
    };
}

source_builder! {
    /// An image from a registry.
    Image
}
source_builder! {
    /// An image from a layout that the client holds.
    OciLayout
}
source_builder! {
    /// A blob of an image's repository, as a file.
    ImageBlob
}
source_builder! {
    /// A blob of a layout that the client holds, as a file.
    OciLayoutBlob
}
source_builder! {
    /// A directory of the client.
    Local
}
source_builder! {
    /// A tree of a git repository.
    Git
}
source_builder! {
    /// A file by URL.
    Http
}
source_builder! {
    /// A source by its identifier alone, with attributes as words.
    Source
}

/// Whether the registry is asked when an image is there already.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ResolveMode {
    /// As the host is configured.
    #[default]
    Default,
    /// Always ask.
    Pull,
    /// Only when it is not there.
    Local,
}

impl ResolveMode {
    pub(crate) fn word(self) -> &'static str {
        match self {
            ResolveMode::Default => "default",
            ResolveMode::Pull => "pull",
            ResolveMode::Local => "local",
        }
    }
}

impl Image {
    /// Whether the registry is asked.
    pub fn resolve_mode(mut self, mode: ResolveMode) -> Self {
        if mode != ResolveMode::Default {
            self.attrs.push(attr("resolve-mode", mode.word()));
        }
        self
    }
}

setters!(Image {
    /// Digest that the image must have.
    text checksum = "checksum";
    /// Only so many layers, from the lowest.
    number layer_limit = "layer-limit";
    /// Kind of cache record: internal, frontend.
    text record_type = "record-type";
});

setters!(OciLayout {
    /// Session that holds the layout.
    text session = "session";
    /// Name of the layout in the session.
    text store = "store";
    /// Only so many layers, from the lowest.
    number layer_limit = "layer-limit";
});

setters!(ImageBlob {
    /// Name of the file.
    text filename = "filename";
    /// Of the file.
    octal mode = "mode";
    /// Of the file.
    number uid = "uid";
    /// Of the file.
    number gid = "gid";
});

setters!(OciLayoutBlob {
    /// Session that holds the layout.
    text session = "session";
    /// Name of the layout in the session.
    text store = "store";
    /// Name of the file.
    text filename = "filename";
    /// Of the file.
    octal mode = "mode";
    /// Of the file.
    number uid = "uid";
    /// Of the file.
    number gid = "gid";
});

setters!(Local {
    /// Only what matches one of these patterns.
    list include = "include";
    /// Not what matches one of these patterns.
    list exclude = "exclude";
    /// Also what these paths lead to through symlinks.
    list follow = "follow";
    /// Names the mirror that transfers share.
    text shared_key = "shared-key";
    /// `none` or `metadata`: how changed files are told.
    text differ = "differ";
    /// Session to read from.
    text session = "session";
    /// Makes the vertex differ from its like.
    text unique = "unique";
    /// Send names and metadata, no contents.
    flag metadata_only = "metadata-only";
    /// Send contents of what matches all the same.
    list metadata_only_except = "metadata-only-except";
});

setters!(Git {
    /// Leave .git in the tree.
    flag keep_git_dir = "keep-git-dir";
    /// The URL as the user wrote it, with its transport.
    text full_url = "full-url";
    /// Commit, or a prefix of it, that the ref must have.
    text checksum = "checksum";
    /// Leave submodules out.
    flag skip_submodules = "skip-submodules";
    /// `checkout` or `commit`: which time files get.
    text mtime = "mtime";
    /// Ask the server for the checksum, not for the ref.
    flag fetch_by_commit = "fetch-by-commit";
    /// Read from this bundle instead of the server.
    text bundle = "bundle";
    /// Give a bundle instead of a tree.
    flag checkout_bundle = "checkout-bundle";
    /// Id of the secret with a token.
    text auth_token_secret = "auth-token-secret";
    /// Id of the secret with a whole header.
    text auth_header_secret = "auth-header-secret";
    /// Lines of a known_hosts file.
    text known_ssh_hosts = "known-ssh-hosts";
    /// Id of the agent to forward.
    text mount_ssh_sock = "mount-ssh-sock";
    /// Key that must have signed the commit or tag.
    text signature_key = "signature-key";
    /// An expired key is no key.
    flag signature_reject_expired = "signature-reject-expired";
    /// The tag must be signed.
    flag signature_require_tag = "signature-require-tag";
    /// Only the commit's signature counts.
    flag signature_ignore_tag = "signature-ignore-tag";
});

setters!(Http {
    /// Digest that the file must have.
    text checksum = "checksum";
    /// Name of the file.
    text filename = "filename";
    /// Of the file.
    octal mode = "mode";
    /// Of the file.
    number uid = "uid";
    /// Of the file.
    number gid = "gid";
    /// Id of the secret with the Authorization header.
    text auth_header_secret = "auth-header-secret";
    /// PGP key that must have signed the file.
    text signature_key = "signature-key";
    /// The detached signature.
    text signature = "signature";
});

impl Http {
    /// A header of the request.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.attrs.push((format!("header.{}", name.to_ascii_lowercase()), value.into()));
        self
    }
}
