use std::sync::Arc;

use async_trait::async_trait;
use llb::{Platform, op::SourceOp};
use session::Session;
use solver::{Context, Op, progress::EventKind};
use sources::{Request, Resolved, Sources};
use store::Snapshot;
use tokio::sync::OnceCell;

use crate::{Files, Pins, parts::Parts};

/// A source: resolved once for its key, and read only when its files are needed.
pub(crate) struct SourceVertex {
    pub id: Arc<str>,
    pub op: SourceOp,
    pub platform: Platform,
    pub sources: Sources,
    pub sessions: Vec<Arc<dyn Session>>,
    pub found: OnceCell<Found>,
    pub pins: Pins,
}

/// What a source turned out to be.
pub(crate) struct Found {
    source: Box<dyn Resolved>,
    parts: Arc<Parts>,
}

impl SourceVertex {
    async fn found(&self, cx: &Context) -> anyhow::Result<&Found> {
        let resolve = || async {
            let parts = Parts::new(self.id.clone(), cx.progress.clone());
            let source = self.sources.resolve(&self.request(&parts)).await?;
            if let Some(pin) = pin(source.as_ref()) {
                self.pins.set(&self.id, pin);
            }
            anyhow::Ok(Found { source, parts })
        };
        self.found.get_or_try_init(resolve).await
    }

    fn request(&self, parts: &Arc<Parts>) -> Request {
        Request {
            identifier: self.op.identifier.clone(),
            attrs: self.op.attrs.clone(),
            platform: (self.platform.os.clone(), self.platform.architecture.clone(), self.platform.variant.clone()),
            sessions: self.sessions.clone(),
            progress: parts.progress(),
            steps: parts.steps(),
        }
    }

    /// An image is always shown to be resolved, as with BuildKit.
    fn is_image(&self) -> bool {
        ["docker-image://", "oci-layout://"].iter().any(|scheme| self.op.identifier.starts_with(scheme))
    }
}

/// What a source turned out to be: the digest of an image or of a file, or a commit.
fn pin(resolved: &dyn Resolved) -> Option<String> {
    if let Some(image) = resolved.image() {
        return Some(image.digest);
    }
    if let Some(git) = resolved.git() {
        return Some(git.commit_checksum.unwrap_or(git.checksum));
    }
    let pinned = resolved.pinned();
    pinned.rsplit_once('@').map(|(_, digest)| digest).filter(|digest| digest.starts_with("sha256:")).map(String::from)
}

#[async_trait]
impl Op<Files> for SourceVertex {
    async fn key(&self, cx: &Context) -> anyhow::Result<String> {
        if self.is_image() {
            cx.say(EventKind::Started);
        }
        let Found { source, parts } = self.found(cx).await?;
        parts.set_idle(true);
        Ok(source.key())
    }

    async fn run(&self, _: Vec<Snapshot>, cx: &Context) -> anyhow::Result<Vec<Snapshot>> {
        let Found { source, parts } = self.found(cx).await?;
        parts.set_idle(false);
        let snapshot = source.snapshot().await?;
        parts.set_idle(true);
        Ok(vec![snapshot])
    }

    fn works_for_key(&self) -> bool {
        self.op.identifier.starts_with("local://")
    }
}
