//! What refers to a manifest: signatures, bills of materials and the like, which name what they are about as their subject.

use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, header};
use oci_spec::image::{Descriptor, ImageIndex};

use crate::{
    Document, MANIFEST_BYTES_MAX, Repository,
    client::Call,
    error::{Error, Kind, Result},
    hosts::Endpoint,
    media_type::OCI_INDEX,
    push::Body,
};

impl Repository {
    /// The manifests that refer to the one of this digest: as the registry lists them, or, where it keeps no such lists, as those who
    /// pushed them have listed them under the tag `sha256-HEX`.
    ///
    /// Format: <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers>.
    pub async fn referrers(&self, digest: &str) -> Result<Vec<Descriptor>> {
        match self.listed(digest).await {
            // A registry that does not know the question has its own ways to say so.
            Err(Error { kind: Kind::NotFound { .. } | Kind::Refused { .. } | Kind::Invalid { .. }, .. }) => {}
            answer => return answer,
        }
        match self.manifest(&digest.replacen(':', "-", 1)).await {
            Ok(manifest) => Ok(match manifest.parse() {
                Ok(Document::Index(index)) => index.manifests().clone(),
                _ => Vec::new(),
            }),
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn listed(&self, digest: &str) -> Result<Vec<Descriptor>> {
        self.first(self.to_read()?, |at| {
            async move {
                let call = self.referrers_call(&at, digest);
                let (_, bytes) = self.fetch(&at, &call, MANIFEST_BYTES_MAX).await?;
                let index: ImageIndex = serde_json::from_slice(&bytes).map_err(|error| {
                    call.error(&at, Kind::Invalid { why: format!("its list cannot be read: {error}") })
                })?;
                Ok(index.manifests().clone())
            }
            .boxed()
        })
        .await
    }

    fn referrers_call(&self, at: &Endpoint, digest: &str) -> Call<'static> {
        Call {
            method: Method::GET,
            url: self.url(at, &format!("referrers/{digest}")),
            headers: HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(OCI_INDEX))]),
            body: Body::Empty,
            what: format!("referrers of {}@{digest}", self.reference.name()),
            scopes: vec![self.scope(at, self.reference.repository(), "pull")],
        }
    }
}
