//! Credentials, challenges and tokens.
//!
//! A registry answers 401 with a challenge. Basic is answered with a name and password. Bearer names a realm that gives tokens for
//! scopes: asked by GET with a name and password (or nobody's), or by an OAuth2 POST with an identity token.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use base64::Engine as _;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::time::Instant;
use url::Url;

use crate::{
    error::{Error, Kind, Result, chain, detail},
    hosts::{Endpoint, HostConfig, http_client, is_loopback},
    pull::read_limited,
};

/// The largest answer of a token server.
const TOKEN_BYTES_MAX: u64 = 1 << 20;
/// How long a token lives that does not say: what the distribution specification has.
const TOKEN_LIFE_DEFAULT: Duration = Duration::from_secs(60);
/// A token this near its end is fetched anew.
const TOKEN_LIFE_MARGIN: Duration = Duration::from_secs(10);
/// Who we say we are to a token server.
const CLIENT_ID: &str = "pintle";

/// Where credentials come from: the client of a build, a docker config.
#[async_trait]
pub trait Credentials: Send + Sync + 'static {
    /// The login for a registry's host (`registry-1.docker.io`, `localhost:5000`); `None` when there is none.
    async fn login(&self, host: &str) -> anyhow::Result<Option<Login>>;
    /// A token that somebody else fetches, so that the login never comes here. `None`: it is fetched here.
    async fn token(&self, request: &TokenRequest) -> anyhow::Result<Option<Token>> {
        let _ = request;
        Ok(None)
    }
}

/// What one logs in with.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// A name and a password.
    Password {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
    /// A refresh token for OAuth2.
    IdentityToken(String),
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Login::Password { .. } => "Password(..)",
            Login::IdentityToken(_) => "IdentityToken(..)",
        })
    }
}

/// What a token is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenRequest {
    /// The registry's host.
    pub host: String,
    /// The URL of the token server.
    pub realm: String,
    /// What the registry calls itself; may be empty.
    pub service: String,
    /// `repository:library/alpine:pull`, sorted.
    pub scopes: Vec<String>,
}

/// A bearer token.
#[derive(Clone)]
pub struct Token {
    /// The token.
    pub token: String,
    /// How long it lives, where that is said.
    pub expires_in: Option<Duration>,
}

/// No credentials: what everybody may have.
pub struct Anonymous;

#[async_trait]
impl Credentials for Anonymous {
    async fn login(&self, _: &str) -> anyhow::Result<Option<Login>> {
        Ok(None)
    }
}

/// What a registry wants.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: Url, service: String, scopes: Vec<String> },
}

impl Challenge {
    /// What it says of the host, not of the repository that was asked for.
    fn in_general(&self) -> Challenge {
        match self.clone() {
            Challenge::Bearer { realm, service, .. } => Challenge::Bearer { realm, service, scopes: Vec::new() },
            Challenge::Basic => Challenge::Basic,
        }
    }
}

/// The tokens that one party's credentials earned.
pub(crate) struct Tokens {
    credentials: Arc<dyn Credentials>,
    challenges: Mutex<HashMap<String, Challenge>>,
    slots: Mutex<HashMap<SlotKey, Arc<Slot>>>,
}

/// Host and scopes.
type SlotKey = (String, Vec<String>);

/// The header for some scopes at a host. The lock makes all who want it wait for the one who fetches it.
type Slot = tokio::sync::Mutex<Option<Cached>>;

#[derive(Clone)]
struct Cached {
    value: HeaderValue,
    until: Option<Instant>,
}

impl Tokens {
    pub(crate) fn new(credentials: Arc<dyn Credentials>) -> Tokens {
        Tokens { credentials, challenges: Mutex::default(), slots: Mutex::default() }
    }

    /// The `Authorization` for a first try: none until the host was heard to want one.
    pub(crate) async fn header(&self, at: &Endpoint, what: &str, scopes: &[String]) -> Result<Option<HeaderValue>> {
        let known = self.challenges.lock().unwrap_or_else(PoisonError::into_inner).get(&at.host).cloned();
        match known {
            Some(challenge) => self.obtain(at, what, scopes, &challenge, None).await,
            None => Ok(None),
        }
    }

    /// The `Authorization` that answers a 401, if there can be another than the `rejected` one.
    pub(crate) async fn answer(
        &self,
        at: &Endpoint,
        what: &str,
        scopes: &[String],
        headers: &HeaderMap,
        rejected: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>> {
        let Some(challenge) = parse_challenges(headers) else { return Ok(None) };
        self.challenges.lock().unwrap_or_else(PoisonError::into_inner).insert(at.host.clone(), challenge.in_general());
        let found = self.obtain(at, what, scopes, &challenge, rejected).await?;
        Ok(found.filter(|value| Some(value) != rejected))
    }

    async fn obtain(
        &self,
        at: &Endpoint,
        what: &str,
        scopes: &[String],
        challenge: &Challenge,
        rejected: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>> {
        let key = (at.host.clone(), scopes.to_vec());
        let slot = self.slots.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone();
        let mut slot = slot.lock().await;
        let good = slot.as_ref().filter(|cached| {
            cached.until.is_none_or(|until| Instant::now() < until) && Some(&cached.value) != rejected
        });
        if let Some(cached) = good {
            return Ok(Some(cached.value.clone()));
        }
        let fetched = match challenge {
            Challenge::Basic => self.basic(at, what).await?,
            Challenge::Bearer { realm, service, scopes: wanted } => {
                let request = TokenRequest {
                    host: at.host.clone(),
                    realm: realm.to_string(),
                    service: service.clone(),
                    scopes: union(scopes, wanted),
                };
                Some(self.bearer(at, what, &request, realm).await?)
            }
        };
        slot.clone_from(&fetched);
        Ok(fetched.map(|cached| cached.value))
    }

    async fn basic(&self, at: &Endpoint, what: &str) -> Result<Option<Cached>> {
        match self.login(at, what).await? {
            Some(Login::Password { username, password }) => {
                let value = basic_header(&username, &password).map_err(|kind| error(at, what, kind))?;
                Ok(Some(Cached { value, until: None }))
            }
            Some(Login::IdentityToken(_)) | None => Ok(None),
        }
    }

    async fn bearer(&self, at: &Endpoint, what: &str, request: &TokenRequest, realm: &Url) -> Result<Cached> {
        check_realm(at, realm).map_err(|kind| error(at, what, kind))?;
        let asked = self.credentials.token(request).await;
        let token = match asked.map_err(|source| error(at, what, Kind::Local { source }))? {
            Some(token) => token,
            None => {
                let login = self.login(at, what).await?;
                fetch_token(at.http(), request, login.as_ref()).await.map_err(|kind| error(at, what, kind))?
            }
        };
        let life = token.expires_in.unwrap_or(TOKEN_LIFE_DEFAULT).saturating_sub(TOKEN_LIFE_MARGIN);
        let value = secret_header(format!("Bearer {}", token.token)).map_err(|kind| error(at, what, kind))?;
        Ok(Cached { value, until: Some(Instant::now() + life.min(Duration::from_secs(24 * 3600))) })
    }

    async fn login(&self, at: &Endpoint, what: &str) -> Result<Option<Login>> {
        let found = self.credentials.login(&at.host).await;
        found.map_err(|source| {
            let source = source.context(format!("credentials for {}", at.host));
            error(at, what, Kind::Local { source })
        })
    }
}

/// Fetches a token with a login that stays here: for an engine elsewhere, which was asked for the token by the registry.
///
/// Whoever asks names the realm, so a login goes to no unsafe place unless that is this machine.
pub async fn token_for(request: &TokenRequest, login: Option<&Login>) -> Result<Token> {
    let fetch = async {
        let realm = Url::parse(&request.realm).map_err(|why| Kind::Invalid { why: format!("its realm: {why}") })?;
        let safe = realm.scheme() == "https" || realm.host_str().is_some_and(is_loopback);
        if login.is_some() && !safe {
            return Err(Kind::Invalid { why: format!("it sends logins to {realm}, which is not https") });
        }
        let http = http_client(&request.host, &HostConfig::default()).map_err(|source| Kind::Local { source })?;
        fetch_token(&http, request, login).await
    };
    let error = |kind| Error::new("an access token", &request.host, kind);
    fetch.await.map_err(error)
}

fn error(at: &Endpoint, what: &str, kind: Kind) -> Error {
    Error::new(what, &at.host, kind)
}

fn union(ours: &[String], theirs: &[String]) -> Vec<String> {
    let mut all: Vec<_> = ours.iter().chain(theirs).cloned().collect();
    all.sort();
    all.dedup();
    all
}

/// A registry that is reached safely must not send us to an unsafe place with a password.
fn check_realm(at: &Endpoint, realm: &Url) -> std::result::Result<(), Kind> {
    let same_safety = realm.scheme() == "https" || (realm.scheme() == "http" && at.base.scheme() == "http");
    match same_safety {
        true => Ok(()),
        false => Err(Kind::Invalid { why: format!("it sends logins to {realm}, which is not https") }),
    }
}

/// The challenge to answer: bearer before basic. `None` when there is none that is known here.
fn parse_challenges(headers: &HeaderMap) -> Option<Challenge> {
    let mut basic = None;
    for value in headers.get_all(header::WWW_AUTHENTICATE) {
        let Ok(text) = value.to_str() else { continue };
        for challenge in http_auth::parse_challenges(text).unwrap_or_default() {
            if challenge.scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Challenge::Basic);
            } else if challenge.scheme.eq_ignore_ascii_case("bearer") {
                let param = |name: &str| {
                    let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.to_unescaped()).unwrap_or_default()
                };
                let scopes = param("scope").split_whitespace().map(String::from).collect();
                if let Ok(realm) = Url::parse(&param("realm")) {
                    return Some(Challenge::Bearer { realm, service: param("service"), scopes });
                }
            }
        }
    }
    basic
}

fn basic_header(username: &str, password: &str) -> std::result::Result<HeaderValue, Kind> {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
    secret_header(format!("Basic {pair}"))
}

fn secret_header(text: String) -> std::result::Result<HeaderValue, Kind> {
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| Kind::Invalid { why: "the token has characters that no header may have".into() })?;
    value.set_sensitive(true);
    Ok(value)
}

async fn fetch_token(
    http: &reqwest::Client,
    request: &TokenRequest,
    login: Option<&Login>,
) -> std::result::Result<Token, Kind> {
    let outcome = match login {
        Some(Login::IdentityToken(token)) => {
            let grant = [("grant_type", "refresh_token"), ("refresh_token", token)];
            return read_token(post_token(http, request, &grant).await?).await;
        }
        Some(Login::Password { username, password }) => get_token(http, request, Some((username, password))).await?,
        None => get_token(http, request, None).await?,
    };
    match (outcome.status(), login) {
        // Some token servers know OAuth2 alone.
        (StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED, Some(Login::Password { username, password })) => {
            let grant = [("grant_type", "password"), ("username", username), ("password", password)];
            read_token(post_token(http, request, &grant).await?).await
        }
        _ => read_token(outcome).await,
    }
}

async fn get_token(
    http: &reqwest::Client,
    request: &TokenRequest,
    login: Option<(&String, &String)>,
) -> std::result::Result<reqwest::Response, Kind> {
    let mut url = Url::parse(&request.realm).map_err(|why| Kind::Invalid { why: why.to_string() })?;
    {
        let mut query = url.query_pairs_mut();
        if !request.service.is_empty() {
            query.append_pair("service", &request.service);
        }
        for scope in &request.scopes {
            query.append_pair("scope", scope);
        }
        if let Some((username, _)) = login {
            query.append_pair("account", username);
        }
    }
    let mut call = http.get(url);
    if let Some((username, password)) = login {
        call = call.header(header::AUTHORIZATION, basic_header(username, password)?);
    }
    call.send().await.map_err(unreachable)
}

async fn post_token(
    http: &reqwest::Client,
    request: &TokenRequest,
    grant: &[(&str, &str)],
) -> std::result::Result<reqwest::Response, Kind> {
    let form = {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(grant).append_pair("client_id", CLIENT_ID).append_pair("service", &request.service);
        form.append_pair("scope", &request.scopes.join(" "));
        form.finish()
    };
    let call = http.post(&request.realm).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
    call.send().await.map_err(unreachable)
}

fn unreachable(error: reqwest::Error) -> Kind {
    Kind::Unreachable { cause: format!("its token server: {}", chain(error)) }
}

async fn read_token(response: reqwest::Response) -> std::result::Result<Token, Kind> {
    #[derive(serde::Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
        expires_in: Option<u64>,
    }
    let status = response.status();
    let body = read_limited(response, TOKEN_BYTES_MAX).await?;
    if !status.is_success() {
        return Err(refusal(status, detail(&body)));
    }
    let answer: Answer = serde_json::from_slice(&body)
        .map_err(|error| Kind::Invalid { why: format!("its token server's answer: {error}") })?;
    let token = answer.token.filter(|token| !token.is_empty()).or(answer.access_token).unwrap_or_default();
    if token.is_empty() {
        return Err(Kind::Invalid { why: "its token server gave no token".into() });
    }
    Ok(Token { token, expires_in: answer.expires_in.filter(|s| *s > 0).map(Duration::from_secs) })
}

/// A token server that refuses is a registry that refuses; the words say which it was.
fn refusal(status: StatusCode, detail: String) -> Kind {
    let detail = match detail.is_empty() {
        true => "from its token server".to_string(),
        false => format!("from its token server: {detail}"),
    };
    match status.as_u16() {
        400 | 401 | 403 => Kind::Unauthorized { detail },
        429 => Kind::TooManyRequests { retry_after: None, detail },
        status @ 500.. => Kind::Server { status, detail },
        status => Kind::Refused { status, detail },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges() {
        let bearer = |realm: &str, service: &str, scopes: &[&str]| {
            let scopes = scopes.iter().map(|s| s.to_string()).collect();
            Some(Challenge::Bearer { realm: Url::parse(realm).unwrap(), service: service.into(), scopes })
        };
        let table = [
            (vec![r#"Basic realm="x""#], Some(Challenge::Basic)),
            (vec![r#"basic realm="x", charset="UTF-8""#], Some(Challenge::Basic)),
            (
                vec![r#"Bearer realm="https://a.b/token",service="r",scope="repository:x:pull repository:y:pull""#],
                bearer("https://a.b/token", "r", &["repository:x:pull", "repository:y:pull"]),
            ),
            (vec![r#"Basic realm="x""#, r#"Bearer realm="https://a.b/t""#], bearer("https://a.b/t", "", &[])),
            (vec![r#"Bearer realm="not a url""#], None),
            (vec![r#"Negotiate abc"#], None),
            (vec![""], None),
            (vec![], None),
        ];
        for (values, want) in table {
            let mut headers = HeaderMap::new();
            for value in &values {
                headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static(value));
            }
            assert_eq!(parse_challenges(&headers), want, "{values:?}");
        }
    }
}
