//! Frontends in OCI layouts of the client: `oci-layout://LAYOUT[:TAG][@DIGEST]`.
//!
//! LAYOUT is what the client calls a layout that it shares, or, where it begins with `./`, a directory beside the Dockerfile.

use std::sync::Arc;

use anyhow::ensure;
use session::Session;
use sources::Layout;

/// What such names begin with.
const SCHEME: &str = "oci-layout://";
/// The directory of the client that the Dockerfile lies in.
const DOCKERFILE_DIR: &str = "dockerfile";
/// A frontend's name among sources, which tell layouts by their attributes.
const SOURCE: &str = "oci-layout://frontend";
/// The file that says what is in a layout.
const INDEX: &str = "index.json";
/// The attribute of a source that names its layout.
const STORE: &str = "oci.store";

/// Whether a frontend's name is that of an OCI layout.
pub(crate) fn is_layout(name: &str) -> bool {
    name.starts_with(SCHEME)
}

/// The name of a frontend in a layout.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LayoutName {
    /// The layout, as the user wrote it.
    place: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl LayoutName {
    /// Reads a name.
    ///
    /// # Errors
    /// One that names no layout, or whose digest is none.
    pub fn parse(name: &str) -> anyhow::Result<LayoutName> {
        let rest = name.strip_prefix(SCHEME).unwrap_or(name);
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (rest, None),
        };
        let (place, tag) = match rest.rsplit_once(':') {
            Some((place, tag)) if !tag.contains('/') => (place, Some(tag)),
            _ => (rest, None),
        };
        let want = "want oci-layout://LAYOUT[:TAG][@DIGEST]";
        ensure!(!place.is_empty() && tag != Some(""), "{want}");
        if let Some(digest) = digest {
            ensure!(oci::is_digest(digest), "{digest:?} is no digest: {want}");
        }
        Ok(LayoutName { place: place.into(), tag: tag.map(Into::into), digest: digest.map(Into::into) })
    }

    /// The layout, as the user wrote it: a path, where the user is at this machine.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The name without tag and digest.
    pub fn bare(&self) -> String {
        format!("{SCHEME}{}", self.place)
    }

    /// Whether it says by its digest what it means.
    pub(super) fn is_pinned(&self) -> bool {
        self.digest.is_some()
    }

    /// What the client calls the layout.
    fn id(&self) -> anyhow::Result<String> {
        let Some(path) = self.place.strip_prefix("./") else {
            ensure!(
                !self.place.starts_with(['/', '.']),
                "want a layout that the client shares, or a path beside the Dockerfile that begins with ./"
            );
            return Ok(self.place.clone());
        };
        ensure!(
            !path.split('/').any(|name| name == ".."),
            "the layout is to lie in the Dockerfile's directory, or below it"
        );
        Ok(format!("{DOCKERFILE_DIR}/{}", if path.is_empty() { "." } else { path }))
    }

    /// The layout of a client of the build.
    pub(super) async fn find(&self, sessions: &[Arc<dyn Session>]) -> anyhow::Result<Layout> {
        Layout::find(sessions, &self.id()?, None).await
    }

    /// The directory of the client that the layout lies in, by the client's name for it, and the path of its index there.
    pub(super) fn index_file(&self) -> anyhow::Result<(String, String)> {
        let id = self.id()?;
        Ok(match id.split_once('/') {
            None => (id, INDEX.to_owned()),
            Some((dir, ".")) => (dir.to_owned(), INDEX.to_owned()),
            Some((dir, path)) => (dir.to_owned(), format!("{}/{INDEX}", path.trim_end_matches('/'))),
        })
    }

    /// The digest of what it means.
    pub async fn digest_in(&self, layout: &Layout) -> anyhow::Result<String> {
        match &self.digest {
            Some(digest) => Ok(digest.clone()),
            None => layout.chosen(self.tag.as_deref()).await,
        }
    }

    /// The image of this digest, as a source.
    pub(super) fn source(&self, digest: &str) -> anyhow::Result<llb::op::SourceOp> {
        let attrs = [(STORE.to_owned(), self.id()?)].into();
        Ok(llb::op::SourceOp { identifier: format!("{SOURCE}@{digest}"), attrs })
    }
}

/// Whether a source is an image of a directory in one that the client shares, which is a part of that.
pub(super) fn is_in_shared_dir(source: &llb::op::SourceOp) -> bool {
    source.identifier.starts_with("oci-layout") && source.attrs.get(STORE).is_some_and(|store| store.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn names() {
        for (name, place, tag, pinned, id) in [
            ("oci-layout://langs", "langs", None, false, Ok("langs")),
            ("oci-layout://langs:1", "langs", Some("1"), false, Ok("langs")),
            ("oci-layout://langs:1@D", "langs", Some("1"), true, Ok("langs")),
            ("oci-layout://./a/b", "./a/b", None, false, Ok("dockerfile/a/b")),
            ("oci-layout://./", "./", None, false, Ok("dockerfile/.")),
            ("oci-layout://./a:b/c", "./a:b/c", None, false, Ok("dockerfile/a:b/c")),
            ("oci-layout://./a/../../b", "./a/../../b", None, false, Err("Dockerfile's directory")),
            ("oci-layout://../a", "../a", None, false, Err("begins with ./")),
            ("oci-layout:///etc", "/etc", None, false, Err("begins with ./")),
            ("/srv/langs:1", "/srv/langs", Some("1"), false, Err("begins with ./")),
        ] {
            let read = LayoutName::parse(&name.replace('D', DIGEST)).unwrap();
            assert_eq!((read.place(), read.tag.as_deref(), read.is_pinned()), (place, tag, pinned), "{name}");
            match (read.id(), id) {
                (Ok(own), Ok(id)) => assert_eq!(own, id),
                (Err(error), Err(why)) => assert!(error.to_string().contains(why), "{error}"),
                (own, id) => panic!("{name}: {own:?}, and not {id:?}"),
            }
        }
        for bad in ["oci-layout://", "oci-layout://:1", "oci-layout://a:", "oci-layout://a@sha256:1", "oci-layout://@"]
        {
            assert!(LayoutName::parse(bad).is_err(), "{bad}");
        }
    }
}
