//! Auth: the client's credentials for registries.

use std::time::Duration;

use anyhow::Context;
use proto::filesync::{CredentialsRequest, FetchTokenRequest, auth_client::AuthClient};
use tonic::{Code, Status};

use crate::{Error, Token, TokenRequest, remote::GrpcSession};

const CREDENTIALS: &str = "/moby.filesync.v1.Auth/Credentials";
const FETCH_TOKEN: &str = "/moby.filesync.v1.Auth/FetchToken";
/// How long the client may take: a credential helper may ask its user.
const TIMEOUT: Duration = Duration::from_secs(60);
/// What we are called in the registry's log.
const CLIENT_ID: &str = "pintle";

pub(crate) async fn credentials(session: &GrpcSession, host: &str) -> anyhow::Result<(String, String)> {
    if !session.supports(CREDENTIALS) {
        return Ok(Default::default());
    }
    let mut client = AuthClient::new(session.channel.clone());
    let call = client.credentials(CredentialsRequest { host: host.to_owned() });
    match timed(call).await.with_context(|| format!("waiting for credentials for {host}"))? {
        Ok(answer) => Ok((answer.username, answer.secret)),
        Err(status) if status.code() == Code::Unimplemented => Ok(Default::default()),
        Err(status) => Err(Error::of_call(format!("give credentials for {host}"), &status).into()),
    }
}

pub(crate) async fn fetch_token(session: &GrpcSession, request: TokenRequest) -> anyhow::Result<Option<Token>> {
    if !session.supports(FETCH_TOKEN) {
        return Ok(None);
    }
    let TokenRequest { host, realm, service, scopes } = request;
    let what = format!("fetch a token for {host}");
    let mut client = AuthClient::new(session.channel.clone());
    let request = FetchTokenRequest { client_id: CLIENT_ID.to_owned(), host, realm, service, scopes };
    match timed(client.fetch_token(request)).await.with_context(|| format!("waiting for the client to {what}"))? {
        Ok(answer) => Ok(Some(Token { token: answer.token, expires_in: answer.expires_in })),
        // A client may be told not to fetch tokens; then it gives its credentials instead.
        Err(status) if matches!(status.code(), Code::Unimplemented | Code::Unavailable) => Ok(None),
        Err(status) => Err(Error::of_call(what, &status).into()),
    }
}

async fn timed<T>(call: impl Future<Output = Result<tonic::Response<T>, Status>>) -> anyhow::Result<Result<T, Status>> {
    let answer = tokio::time::timeout(TIMEOUT, call).await;
    let answer = answer.with_context(|| format!("the client gave no answer within {} s", TIMEOUT.as_secs()))?;
    Ok(answer.map(tonic::Response::into_inner))
}
