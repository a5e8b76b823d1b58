//! `oci-layout://NAME@DIGEST`: an image in an OCI layout of the client.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use oci::{Manifest, Reference};
use store::Store;

use crate::{
    Request, Resolved, Source,
    attrs::{Attrs, after_scheme},
    layout::Layout,
    manifests::{self, Names, Origin, ResolvedImage},
};

/// Images in OCI layouts that a build's client shares.
pub struct OciLayoutSource {
    store: Store,
}

impl OciLayoutSource {
    /// Images that are unpacked into `store`.
    pub fn new(store: Store) -> OciLayoutSource {
        OciLayoutSource { store }
    }
}

#[async_trait]
impl Source for OciLayoutSource {
    fn schemes(&self) -> &'static [&'static str] {
        &["oci-layout"]
    }

    async fn resolve(&self, request: &Request) -> anyhow::Result<Box<dyn Resolved>> {
        let attrs = Attrs(&request.attrs);
        let name = after_scheme(&request.identifier);
        let reference: Reference = name.parse()?;
        let bare = name.split(['@', ':']).next().unwrap_or(name);
        let shown = format!("resolve {name}");
        (request.steps)(&shown, false);
        let layout = attrs.text("oci.store").unwrap_or(bare);
        let layout = Layout::find(&request.sessions, layout, attrs.text("oci.session"));
        let layout = Arc::new(layout.await?);
        let root = match reference.digest() {
            Some(digest) => digest.to_string(),
            None => layout.tagged(reference.tag().unwrap_or_default()).await?,
        };
        let origin = LayoutOrigin(layout.clone());
        let image = manifests::read(&self.store, &origin, name, &root, &manifests::platform(request)).await?;
        let image = image.limited(attrs.parsed("oci.layerlimit", "a number of layers")?);
        (request.steps)(&shown, true);
        let names = Names {
            pinned: format!("oci-layout://{bare}@{root}"),
            reference: reference.with_digest(&root).to_string(),
        };
        Ok(Box::new(ResolvedImage::new(&self.store, image, names, layout, request)?))
    }
}

struct LayoutOrigin(Arc<Layout>);

#[async_trait]
impl Origin for LayoutOrigin {
    async fn manifest(&self, digest: &str) -> anyhow::Result<Manifest> {
        self.0.manifest(digest).await
    }

    async fn config(&self, digest: &str, limit: u64) -> anyhow::Result<Bytes> {
        self.0.read_blob(digest, limit).await
    }
}
