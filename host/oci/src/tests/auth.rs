use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base64::Engine as _;

use super::*;
use crate::{
    Credentials, Kind, Login, Token, TokenRequest,
    media_type::OCI_MANIFEST,
    testing::{Content, Request},
};

/// Credentials as a test wants them, which note what they were asked.
#[derive(Default)]
struct Given {
    login: Option<Login>,
    token: Option<Token>,
    asked: Mutex<Vec<TokenRequest>>,
}

#[async_trait]
impl Credentials for Given {
    async fn login(&self, _: &str) -> anyhow::Result<Option<Login>> {
        Ok(self.login.clone())
    }

    async fn token(&self, request: &TokenRequest) -> anyhow::Result<Option<Token>> {
        self.asked.lock().unwrap().push(request.clone());
        Ok(self.token.clone())
    }
}

fn password() -> Option<Login> {
    Some(Login::Password { username: "user".into(), password: "pass".into() })
}

fn is_user(request: &Request) -> bool {
    let pair = base64::engine::general_purpose::STANDARD.encode("user:pass");
    request.header("authorization") == format!("Basic {pair}")
}

fn manifest(request: &Request) -> Response {
    let mut content = Content::default();
    content.manifest(Some("latest"), OCI_MANIFEST, "{}");
    content.answer(request)
}

/// Wants a token for each repository, which `tokens` gives.
async fn bearer(tokens: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Server {
    let own = Arc::new(Mutex::new(String::new()));
    let realm = own.clone();
    let server = Server::start(move |request| {
        if request.path == "/token" {
            return tokens(request);
        }
        let repository = request.path.trim_start_matches("/v2/").split('/').next().unwrap_or_default();
        if request.header("authorization") == format!("Bearer for-repository:{repository}:pull") {
            return manifest(request);
        }
        let realm = realm.lock().unwrap().clone();
        let challenge = format!(r#"Bearer realm="{realm}",service="test",scope="repository:{repository}:pull""#);
        Response::status(401).with("www-authenticate", challenge)
    })
    .await;
    *own.lock().unwrap() = format!("http://{}/token", server.address);
    server
}

/// The token that is for what was asked.
fn grant(scope: &str) -> Response {
    Response::ok(format!(r#"{{"token":"for-{scope}","expires_in":300}}"#))
}

fn client(credentials: Given) -> (Client, Arc<Given>) {
    let credentials = Arc::new(credentials);
    (Client::new(hosts(), credentials.clone()), credentials)
}

#[tokio::test]
async fn basic() {
    let challenge = || Response::status(401).with("www-authenticate", r#"Basic realm="r""#);
    let server = Server::start(move |request| if is_user(request) { manifest(request) } else { challenge() }).await;
    let (user, _) = client(Given { login: password(), ..Given::default() });
    let repository = user.repository(&reference(&server, "a"));
    repository.manifest("latest").await.unwrap();
    repository.manifest("latest").await.unwrap();
    assert_eq!(server.requests().len(), 3, "once a host was heard to want a login, it gets it at once");
    let wrong = Some(Login::Password { username: "user".into(), password: "no".into() });
    for login in [None, wrong] {
        let (other, _) = client(Given { login, ..Given::default() });
        let error = other.repository(&reference(&server, "a")).manifest("latest").await.unwrap_err();
        assert!(matches!(error.kind, Kind::Unauthorized { .. }), "{error}");
        assert!(error.is_auth());
    }
}

#[tokio::test]
async fn a_token_for_each_repository_and_no_more() {
    let server = bearer(|request| match request.method.as_str() {
        "GET" if is_user(request) => grant(&request.param("scope")[0]),
        _ => Response::status(401),
    })
    .await;
    let (user, _) = client(Given { login: password(), ..Given::default() });
    for name in ["a", "a", "b"] {
        user.repository(&reference(&server, name)).manifest("latest").await.unwrap();
    }
    let lines = ["GET /v2/a/manifests/latest", "GET /token", "GET /v2/a/manifests/latest"];
    let more = ["GET /v2/a/manifests/latest", "GET /token", "GET /v2/b/manifests/latest"];
    assert_eq!(server.lines(), [lines, more].concat());
    assert_eq!(server.requests()[1].param("service"), ["test"]);
}

#[tokio::test]
async fn many_at_once_fetch_one_token() {
    let server = bearer(|request| grant(&request.param("scope")[0])).await;
    let (nobody, _) = client(Given::default());
    let repository = nobody.repository(&reference(&server, "a"));
    futures::future::try_join_all((0..8).map(|_| repository.manifest("latest"))).await.unwrap();
    assert_eq!(server.lines().iter().filter(|line| *line == "GET /token").count(), 1);
}

#[tokio::test]
async fn an_identity_token_goes_by_post() {
    let server = bearer(|request| {
        let form: Vec<(String, String)> = url::form_urlencoded::parse(&request.body).into_owned().collect();
        let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        assert_eq!(request.method, "POST");
        assert_eq!(field("grant_type").as_deref(), Some("refresh_token"));
        assert_eq!(field("refresh_token").as_deref(), Some("identity"));
        let scope = field("scope").unwrap();
        Response::ok(format!(r#"{{"access_token":"for-{scope}"}}"#))
    })
    .await;
    let (user, _) = client(Given { login: Some(Login::IdentityToken("identity".into())), ..Given::default() });
    user.repository(&reference(&server, "a")).manifest("latest").await.unwrap();
}

#[tokio::test]
async fn a_token_server_that_knows_oauth2_alone() {
    let server = bearer(|request| match request.method.as_str() {
        "POST" if request.body.starts_with(b"grant_type=password&username=user") => grant("repository:a:pull"),
        _ => Response::status(405),
    })
    .await;
    let (user, _) = client(Given { login: password(), ..Given::default() });
    user.repository(&reference(&server, "a")).manifest("latest").await.unwrap();
}

#[tokio::test]
async fn a_token_that_somebody_else_fetches() {
    let server = bearer(|_| Response::status(500)).await;
    let token = Some(Token { token: "for-repository:a:pull".into(), expires_in: None });
    let (user, given) = client(Given { token, ..Given::default() });
    user.repository(&reference(&server, "a")).manifest("latest").await.unwrap();
    assert!(!server.lines().contains(&"GET /token".to_string()));
    let asked = given.asked.lock().unwrap()[0].clone();
    let (host, realm) = (server.address.to_string(), format!("http://{}/token", server.address));
    assert_eq!(asked, TokenRequest { host, realm, service: "test".into(), scopes: vec!["repository:a:pull".into()] });
}

#[tokio::test]
async fn token_servers_that_refuse() {
    // The answer of the token server; words of the error.
    let table = [
        (Response::status(401), "wants a login (401: from its token server)"),
        (Response { body: r#"{"details":"wrong password"}"#.into(), ..Response::status(401) }, "wrong password"),
        (Response::status(500), "failed repeatedly (500: from its token server)"),
        (Response::ok("{}"), "its token server gave no token"),
        (Response::ok("no"), "its token server's answer"),
        (Response::ok(r#"{"token":"a\nb"}"#), "characters that no header may have"),
        (Response::ok(r#"{"token":"for-somebody-else"}"#), "wants a login (401)"),
    ];
    for (response, words) in table {
        let answer = response.clone();
        let server = bearer(move |_| answer.clone()).await;
        let error = client(Given::default()).0.repository(&reference(&server, "a")).manifest("latest").await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains(words), "{response:?}: {error}");
    }
}

#[tokio::test]
async fn a_token_that_is_refused_is_fetched_anew() {
    let count = Arc::new(AtomicUsize::new(0));
    let given = count.clone();
    let own = Arc::new(Mutex::new(String::new()));
    let realm = own.clone();
    // Every token is good for one request.
    let server = Server::start(move |request| {
        if request.path == "/token" {
            return Response::ok(format!(r#"{{"token":"t{}"}}"#, given.fetch_add(1, Ordering::SeqCst) + 1));
        }
        let latest = format!("Bearer t{}", given.load(Ordering::SeqCst));
        if request.header("authorization") == latest && request.query != "used" {
            return manifest(request);
        }
        let challenge = format!(r#"Bearer realm="{}""#, realm.lock().unwrap());
        Response::status(401).with("www-authenticate", challenge)
    })
    .await;
    *own.lock().unwrap() = format!("http://{}/token", server.address);
    let (nobody, _) = client(Given::default());
    let repository = nobody.repository(&reference(&server, "a"));
    repository.manifest("latest").await.unwrap();
    // Somebody else gets a token, so that ours is no longer good.
    client(Given::default()).0.repository(&reference(&server, "a")).manifest("latest").await.unwrap();
    repository.manifest("latest").await.unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn logins_are_not_shown() {
    let login = password().unwrap();
    assert_eq!(format!("{login:?}"), "Password(..)");
}
