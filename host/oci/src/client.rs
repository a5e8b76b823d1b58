//! A registry as one party sees it: requests with authorization, retries, and errors that say what to do.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use url::Url;

use crate::{
    Hosts, Reference,
    auth::{Credentials, Tokens},
    error::{Error, Kind, Result, chain, detail},
    hosts::Endpoint,
    pull::read_limited,
    push::Body,
};

/// The largest error answer that is read.
const ERROR_BYTES_MAX: u64 = 64 << 10;
/// How often a registry that cannot be reached is tried: less than one that answers, or else a wrong name is found out slowly.
const CONNECTS_MAX: u32 = 3;

/// Registries as one party sees them: its credentials and the tokens that these earned. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    pub(crate) hosts: Arc<Hosts>,
    pub(crate) tokens: Arc<Tokens>,
}

impl Client {
    /// A client that logs in with `credentials`. Tokens are kept in it and shared with nobody.
    pub fn new(hosts: Arc<Hosts>, credentials: Arc<dyn Credentials>) -> Client {
        Client { hosts, tokens: Arc::new(Tokens::new(credentials)) }
    }

    /// The repository that `reference` is in.
    pub fn repository(&self, reference: &Reference) -> Repository {
        Repository { client: self.clone(), reference: reference.clone(), insecure: false }
    }
}

/// One repository of a registry. Cheap to clone.
#[derive(Clone)]
pub struct Repository {
    pub(crate) client: Client,
    pub(crate) reference: Reference,
    insecure: bool,
}

impl Repository {
    /// Takes any certificate, and plain http where https fails, whatever the configuration says.
    pub fn insecure(self, insecure: bool) -> Repository {
        Repository { insecure, ..self }
    }

    /// The name that it was made for.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    pub(crate) fn to_read(&self) -> Result<Vec<Endpoint>> {
        self.client.hosts.to_read(&self.reference, self.insecure).map_err(|source| self.local(source))
    }

    pub(crate) fn to_write(&self) -> Result<Vec<Endpoint>> {
        self.client.hosts.to_write(&self.reference, self.insecure).map_err(|source| self.local(source))
    }

    fn local(&self, source: anyhow::Error) -> Error {
        let reference = &self.reference;
        Error::new(reference.to_string(), reference.host(), Kind::Local { source })
    }

    /// `repository:NAME:ACTIONS` at this endpoint.
    pub(crate) fn scope(&self, at: &Endpoint, repository: &str, actions: &str) -> String {
        format!("repository:{}{repository}:{actions}", at.prefix)
    }

    /// The URL of `rest` (`manifests/latest`) in this repository.
    pub(crate) fn url(&self, at: &Endpoint, rest: &str) -> Url {
        let mut url = at.base.clone();
        let path = format!("{}{}{}/{rest}", at.base.path(), at.prefix, self.reference.repository());
        url.set_path(&path);
        if let Some(registry) = &at.mirror_of {
            url.query_pairs_mut().append_pair("ns", registry);
        }
        url
    }

    /// Calls each endpoint in turn until one answers well. Else the error is that of the last, the registry itself, and has with it
    /// what the others said.
    pub(crate) async fn first<'a, T>(
        &self,
        endpoints: Vec<Endpoint>,
        call: impl Fn(Endpoint) -> BoxFuture<'a, Result<T>>,
    ) -> Result<T> {
        let last = endpoints.len().saturating_sub(1);
        let mut before = Vec::new();
        for (index, endpoint) in endpoints.into_iter().enumerate() {
            let is_mirror = endpoint.mirror_of.is_some();
            match call(endpoint).await {
                Err(error) if index < last && (is_mirror || matches!(error.kind, Kind::Unreachable { .. })) => {
                    tracing::warn!("{error}; trying the next place");
                    before.push(error);
                }
                outcome => return outcome.map_err(|error| Error { before, ..error }),
            }
        }
        Err(self.local(anyhow::anyhow!("no place to ask is configured")))
    }
}

/// One request, which can be sent again.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body<'a>,
    /// For error texts.
    pub(crate) what: String,
    /// Sorted.
    pub(crate) scopes: Vec<String>,
}

impl Call<'_> {
    pub(crate) fn error(&self, at: &Endpoint, kind: Kind) -> Error {
        Error::new(&self.what, &at.host, kind)
    }
}

impl Client {
    /// Sends until there is an answer that is no failure worth another try. Any status but success is an error.
    pub(crate) async fn send(&self, at: &Endpoint, call: &Call<'_>) -> Result<reqwest::Response> {
        let mut tries = Tries::default();
        loop {
            match self.send_once(at, call).await {
                Ok(response) => return Ok(response),
                Err(error) => match tries.next(&self.hosts, &error.kind) {
                    Some(delay) => tokio::time::sleep(delay).await,
                    None => return Err(error),
                },
            }
        }
    }

    /// Sends, and once more with other credentials when the registry asks for them.
    pub(crate) async fn send_once(&self, at: &Endpoint, call: &Call<'_>) -> Result<reqwest::Response> {
        if self.hosts.is_offline() {
            return Err(call.error(at, Kind::Offline));
        }
        // A location elsewhere, to which an upload was sent, gets no credentials of this registry.
        let ours = call.url.origin() == at.base.origin();
        let first = match ours {
            true => self.tokens.header(at, &call.what, &call.scopes).await?,
            false => None,
        };
        let response = self.attempt(at, call, first.as_ref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED || !ours {
            return self.check(at, call, response).await;
        }
        let answer = self.tokens.answer(at, &call.what, &call.scopes, response.headers(), first.as_ref()).await?;
        match answer {
            Some(second) => {
                let response = self.attempt(at, call, Some(&second)).await?;
                self.check(at, call, response).await
            }
            None => self.check(at, call, response).await,
        }
    }

    async fn attempt(
        &self,
        at: &Endpoint,
        call: &Call<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<reqwest::Response> {
        let mut request = at.http().request(call.method.clone(), call.url.clone()).headers(call.headers.clone());
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value.clone());
        }
        let (request, trouble) =
            call.body.attach(request).await.map_err(|source| call.error(at, Kind::Local { source }))?;
        request.send().await.map_err(|error| match trouble.take() {
            Some(source) => call.error(at, Kind::Local { source }),
            None => call.error(at, Kind::Unreachable { cause: chain(error) }),
        })
    }

    /// Turns a status that is no success into an error.
    async fn check(&self, at: &Endpoint, call: &Call<'_>, response: reqwest::Response) -> Result<reqwest::Response> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = retry_after(response.headers());
        let body = read_limited(response, ERROR_BYTES_MAX).await.unwrap_or_default();
        let detail = detail(&body);
        Err(call.error(
            at,
            match status.as_u16() {
                401 => Kind::Unauthorized { detail },
                403 => Kind::Forbidden { detail },
                404 => Kind::NotFound { detail },
                429 => Kind::TooManyRequests { retry_after, detail },
                status @ (408 | 500..) => Kind::Server { status, detail },
                status => Kind::Refused { status, detail },
            },
        ))
    }
}

/// The seconds of a `Retry-After`; a date is taken as "unknown".
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Counts the tries of one thing.
#[derive(Default)]
pub(crate) struct Tries {
    failed: u32,
}

impl Tries {
    /// Notes a failure. How long to wait before the next try, or `None` when that would not help or was done often enough.
    pub(crate) fn next(&mut self, hosts: &Hosts, kind: &Kind) -> Option<Duration> {
        self.failed += 1;
        let retry = hosts.retry();
        let wait = match kind {
            Kind::Unreachable { .. } if self.failed < CONNECTS_MAX => None,
            Kind::Server { .. } | Kind::Truncated { .. } => None,
            Kind::TooManyRequests { retry_after, .. } => *retry_after,
            _ => return None,
        };
        if self.failed >= retry.attempts || wait.is_some_and(|wait| wait > retry.retry_after_max) {
            return None;
        }
        let doubled = retry.first_delay.saturating_mul(1 << (self.failed - 1).min(16)).min(retry.delay_max);
        // Spread, so that those who failed together do not come back together.
        let spread = doubled.mul_f64(rand::random_range(0.75..1.25));
        Some(wait.unwrap_or(Duration::ZERO).max(spread))
    }
}
