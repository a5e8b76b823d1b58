//! The protocol against a server that misbehaves in scripted ways, and against a real registry.

mod auth;
mod pull;
mod push;
mod real;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::io::AsyncReadExt as _;

use crate::{
    Anonymous, Client, Hosts, Reference, Repository, Retry,
    testing::{Request, Response, Server},
};

/// Patience that costs no time.
fn quick() -> Retry {
    let short = Duration::from_millis(1);
    Retry { attempts: 4, first_delay: short, delay_max: short, retry_after_max: Duration::from_secs(2) }
}

fn hosts() -> Arc<Hosts> {
    Arc::new(Hosts::default().with_retry(quick()))
}

fn reference(server: &Server, name: &str) -> Reference {
    format!("{}/{name}", server.address).parse().unwrap()
}

/// The repository `name` at `server`, as seen without a login.
fn repository(server: &Server, name: &str) -> Repository {
    Client::new(hosts(), Arc::new(Anonymous)).repository(&reference(server, name))
}

/// Answers the first requests by the script, one each, and the others by `rest`.
fn script(
    first: Vec<Response>,
    rest: impl Fn(&Request) -> Response + Send + Sync + 'static,
) -> impl Fn(&Request) -> Response + Send + Sync + 'static {
    let done = AtomicUsize::new(0);
    move |request| match first.get(done.fetch_add(1, Ordering::SeqCst)) {
        Some(response) => response.clone(),
        None => rest(request),
    }
}

/// All bytes of a blob, or the error's text.
async fn read(repository: &Repository, digest: &str, size: u64, offset: u64) -> Result<Vec<u8>, String> {
    let mut reader = repository.blob(digest, size, offset).await.map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).await.map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// What uses this crate spawns its calls, and names them in traits.
#[test]
fn calls_can_move_between_threads() {
    fn is_send<T: Send>(_: impl FnOnce(&'static Repository) -> T) {}
    let source: &'static bytes::Bytes = Box::leak(Box::default());
    let manifest: &'static crate::Manifest = Box::leak(Box::new(crate::Manifest::new(bytes::Bytes::new(), "")));
    is_send(|repository| repository.manifest(""));
    is_send(|repository| repository.head_manifest(""));
    is_send(|repository| repository.referrers(""));
    is_send(|repository| repository.small_blob("", 0));
    is_send(|repository| repository.blob("", 0, 0));
    is_send(|repository| repository.blob_size(""));
    is_send(|repository| repository.push_blob("", 0, source, &[], Arc::new(|_| {})));
    is_send(|repository| repository.put_manifest("", manifest));
}
