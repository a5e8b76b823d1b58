use std::sync::Arc;

use async_trait::async_trait;
use llb::{Platform, op::SourceOp};
use session::Session;
use solver::{
    Context, Op,
    progress::{Event, EventKind},
};
use sources::{Request, Resolved, Sources};
use store::Snapshot;
use tokio::sync::OnceCell;

use crate::{Files, Pins};

/// A source: resolved once for its key, and read only when its files are needed.
pub(crate) struct SourceVertex {
    pub id: Arc<str>,
    pub op: SourceOp,
    pub platform: Platform,
    pub sources: Sources,
    pub sessions: Vec<Arc<dyn Session>>,
    pub resolved: OnceCell<Box<dyn Resolved>>,
    pub pins: Pins,
}

impl SourceVertex {
    async fn resolved(&self, cx: &Context) -> anyhow::Result<&dyn Resolved> {
        let resolve = || async {
            let resolved = self.sources.resolve(&self.request(cx)).await?;
            if let Some(pin) = pin(resolved.as_ref()) {
                self.pins.set(&self.id, pin);
            }
            anyhow::Ok(resolved)
        };
        Ok(self.resolved.get_or_try_init(resolve).await?.as_ref())
    }

    fn request(&self, cx: &Context) -> Request {
        let (sink, vertex) = (cx.progress.clone(), self.id.clone());
        let progress = move |id: &str, name: &str, current: u64, total: u64| {
            let now = std::time::SystemTime::now();
            let kind = EventKind::Status {
                id: id.into(),
                name: name.into(),
                current: current as i64,
                total: total as i64,
                started: Some(now),
                completed: (total > 0 && current >= total).then_some(now),
            };
            sink.send(Event { vertex: vertex.clone(), time: now, kind });
        };
        Request {
            identifier: self.op.identifier.clone(),
            attrs: self.op.attrs.clone(),
            platform: (self.platform.os.clone(), self.platform.architecture.clone(), self.platform.variant.clone()),
            sessions: self.sessions.clone(),
            progress: Arc::new(progress),
        }
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
        Ok(self.resolved(cx).await?.key())
    }

    async fn run(&self, _: Vec<Snapshot>, cx: &Context) -> anyhow::Result<Vec<Snapshot>> {
        Ok(vec![self.resolved(cx).await?.snapshot().await?])
    }
}
