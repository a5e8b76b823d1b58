//! The credentials of a build: those of its clients.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use futures::{FutureExt as _, future::BoxFuture};
use oci::{Credentials, Login, Token, TokenRequest};
use session::Session;

/// Asks clients for logins and tokens, for as long as they are connected; the first that has one wins.
pub(crate) struct SessionCredentials(Vec<Weak<dyn Session>>);

impl SessionCredentials {
    pub(crate) fn new(sessions: &[Arc<dyn Session>]) -> SessionCredentials {
        SessionCredentials(sessions.iter().map(Arc::downgrade).collect())
    }

    /// Whether any of the clients is still there.
    pub(crate) fn is_live(&self) -> bool {
        self.0.iter().any(|session| session.strong_count() > 0)
    }

    fn live(&self) -> impl Iterator<Item = Arc<dyn Session>> {
        self.0.iter().filter_map(Weak::upgrade)
    }
}

/// The first that has something; if none has, the last error; else nothing.
async fn first<T>(
    sessions: impl Iterator<Item = Arc<dyn Session>>,
    ask: impl Fn(Arc<dyn Session>) -> BoxFuture<'static, anyhow::Result<Option<T>>>,
) -> anyhow::Result<Option<T>> {
    let mut failed = None;
    for session in sessions {
        match ask(session).await {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => {}
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(None), Err)
}

#[async_trait]
impl Credentials for SessionCredentials {
    async fn login(&self, host: &str) -> anyhow::Result<Option<Login>> {
        let ask = |session: Arc<dyn Session>| {
            let host = host.to_string();
            async move {
                let (username, password) = session.credentials(&host).await?;
                Ok(match (username.is_empty(), password.is_empty()) {
                    (true, true) => None,
                    // A secret without a name is an identity token: so BuildKit's clients send it.
                    (true, false) => Some(Login::IdentityToken(password)),
                    (false, _) => Some(Login::Password { username, password }),
                })
            }
            .boxed()
        };
        first(self.live(), ask).await
    }

    async fn token(&self, request: &TokenRequest) -> anyhow::Result<Option<Token>> {
        let ask = |session: Arc<dyn Session>| {
            let asked = session::TokenRequest {
                host: request.host.clone(),
                realm: request.realm.clone(),
                service: request.service.clone(),
                scopes: request.scopes.clone(),
            };
            async move {
                let token = session.fetch_token(asked).await?.filter(|token| !token.token.is_empty());
                let life = |token: &session::Token| u64::try_from(token.expires_in).ok().filter(|s| *s > 0);
                Ok(token.map(|token| Token { expires_in: life(&token).map(Duration::from_secs), token: token.token }))
            }
            .boxed()
        };
        first(self.live(), ask).await
    }
}
