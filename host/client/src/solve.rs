//! One build: the request, its progress, its answer.

use std::{collections::BTreeMap, time::Duration};

use futures::StreamExt;
use proto::control;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use crate::{
    connect::Connection,
    errors::BuildError,
    progress::{Display, SolveStatus, drive},
    server::{Attachments, SessionHandle},
};

/// How long the progress may be silent after the build has ended before it is taken to be complete.
const STATUS_SILENCE: Duration = Duration::from_secs(5);

/// What is to be built. See BuildKit's `SolveRequest`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SolveRequest {
    /// The frontend that makes the graph; empty when `definition` is the graph.
    pub frontend: String,
    /// The frontend's options.
    pub frontend_attrs: BTreeMap<String, String>,
    /// A ready-made graph.
    pub definition: Option<proto::pb::Definition>,
    /// Where results go, in the order of [`Attachments::exports`].
    pub exports: Vec<Export>,
    /// Caches to look in.
    pub cache_imports: Vec<CacheOption>,
    /// Caches to fill.
    pub cache_exports: Vec<CacheOption>,
    /// What the build may do beyond the usual, such as `network.host`.
    pub entitlements: Vec<String>,
    /// Which sources it may have.
    pub source_policy: Option<proto::sourcepolicy::Policy>,
}

/// An exporter and its options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Export {
    /// `image`, `local`, `tar`, `oci`, `docker`, `registry`.
    pub kind: String,
    /// The exporter's options, without what is our own business (`dest`).
    pub attrs: BTreeMap<String, String>,
}

/// A cache and its options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CacheOption {
    pub kind: String,
    pub attrs: BTreeMap<String, String>,
}

/// What came of a build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SolveResponse {
    /// What the exporters say, such as `containerimage.digest`.
    pub exporter: BTreeMap<String, String>,
}

/// Runs a build to its end and shows how it goes on: opens a session, solves, follows the status. Dropping the future cancels it.
///
/// The build is a task of its own, so that one thread does all of it, whoever shows it: threads that wake each other for each message
/// would take longer than the messages.
pub async fn build(
    connection: &Connection,
    session_id: String,
    shared_key: &str,
    attachments: Attachments,
    request: SolveRequest,
    display: &mut dyn Display,
) -> Result<SolveResponse, BuildError> {
    let (news, incoming) = mpsc::unbounded_channel();
    let (connection, shared_key) = (connection.clone(), shared_key.to_owned());
    let solving = AbortOnDropHandle::new(tokio::spawn(async move {
        let session = SessionHandle::open(&connection, session_id.clone(), &shared_key, attachments);
        // The engine waits for the session, so it need not be there when the build is asked for.
        let session = async {
            match session.await {
                Ok(_open) => std::future::pending().await,
                Err(status) => Err(BuildError::from_status("cannot open a session", status)),
            }
        };
        tokio::select! {
            biased;
            failed = session => failed,
            solved = solve(&connection, &session_id, request, news) => solved,
        }
    }));
    drive(display, incoming).await;
    solving.await.map_err(|error| BuildError::from_status("the build ended", Status::internal(error.to_string())))?
}

/// Runs a build within an open session. Its news go to `news`, which is closed at the end.
pub async fn solve(
    connection: &Connection,
    session: &str,
    request: SolveRequest,
    news: mpsc::UnboundedSender<SolveStatus>,
) -> Result<SolveResponse, BuildError> {
    let build = SessionHandle::new_id();
    let wire = to_wire(request, build.clone(), session.to_owned());
    let mut control = connection.control();
    let (ended, has_ended) = tokio::sync::oneshot::channel();
    let solve = async {
        let result = control.solve(wire).await;
        let _ = ended.send(());
        result
    };
    let (solved, ()) = tokio::join!(solve, follow(connection, build, news, has_ended));
    let response = solved.map_err(|status| BuildError::from_status("failed to solve", status))?;
    Ok(SolveResponse { exporter: response.into_inner().exporter_response })
}

/// Forwards the news of a build until there are no more.
///
/// They are read by a task of their own, and as many as there are: a terminal may stand still, and news that nobody reads let the
/// HTTP/2 library close the connection (too many small messages are an attack to it). The engine bounds what a build may say.
async fn follow(
    connection: &Connection,
    build: String,
    news: mpsc::UnboundedSender<SolveStatus>,
    has_ended: tokio::sync::oneshot::Receiver<()>,
) {
    let mut control = connection.control();
    let mut has_ended = std::pin::pin!(has_ended);
    let mut over = false;
    let mut stream = AbortOnDropHandle::new(tokio::spawn(async move {
        let mut stream = match control.status(control::StatusRequest { r#ref: build }).await {
            Ok(answer) => answer.into_inner(),
            // The build itself says what is wrong.
            Err(status) => return tracing::debug!(%status, "no progress to be had"),
        };
        while let Some(item) = stream.next().await {
            match item {
                Ok(status) => {
                    if news.send(status.into()).is_err() {
                        return;
                    }
                }
                Err(status) => return tracing::debug!(%status, "progress ended early"),
            }
        }
    }));
    loop {
        tokio::select! {
            _ = &mut stream => return,
            _ = &mut has_ended, if !over => over = true,
            () = tokio::time::sleep(STATUS_SILENCE), if over => return,
        }
    }
}

fn to_wire(request: SolveRequest, build: String, session: String) -> control::SolveRequest {
    let cache = |options: Vec<CacheOption>| {
        options.into_iter().map(|o| control::CacheOptionsEntry { r#type: o.kind, attrs: o.attrs }).collect()
    };
    // Engines of before several exporters look at the first in fields of its own.
    let first = request.exports.first().cloned().unwrap_or_default();
    let exporters = request.exports.into_iter().map(|e| control::Exporter { r#type: e.kind, attrs: e.attrs });
    control::SolveRequest {
        r#ref: build,
        session,
        frontend: request.frontend,
        frontend_attrs: request.frontend_attrs,
        definition: request.definition,
        exporter_deprecated: first.kind,
        exporter_attrs_deprecated: first.attrs,
        exporters: exporters.collect(),
        cache: Some(control::CacheOptions {
            exports: cache(request.cache_exports),
            imports: cache(request.cache_imports),
            ..Default::default()
        }),
        entitlements: request.entitlements,
        source_policy: request.source_policy,
        ..Default::default()
    }
}
