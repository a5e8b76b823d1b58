//! Auth: this machine's logins for registries. A login leaves this machine only when the engine asks for it by name.

use std::sync::Arc;

use oci::{Credentials, Login};
use proto::filesync::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest,
    GetTokenAuthorityResponse, VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse,
    auth_server::{Auth, AuthServer},
};
use tonic::{Request, Response, Status};

use super::internal;

pub(super) const METHODS: &[&str] = &["/moby.filesync.v1.Auth/Credentials", "/moby.filesync.v1.Auth/FetchToken"];

/// Seconds that a token lives that does not say.
const TOKEN_SECONDS_DEFAULT: i64 = 60;

pub(super) fn service(credentials: Arc<dyn Credentials>) -> AuthServer<impl Auth> {
    AuthServer::new(Logins(credentials))
}

struct Logins(Arc<dyn Credentials>);

#[tonic::async_trait]
impl Auth for Logins {
    async fn credentials(&self, request: Request<CredentialsRequest>) -> Result<Response<CredentialsResponse>, Status> {
        let login = self.0.login(&request.into_inner().host).await.map_err(internal)?;
        let (username, secret) = match login {
            Some(Login::Password { username, password }) => (username, password),
            // A secret without a name is an identity token.
            Some(Login::IdentityToken(token)) => (String::new(), token),
            None => Default::default(),
        };
        Ok(Response::new(CredentialsResponse { username, secret }))
    }

    async fn fetch_token(&self, request: Request<FetchTokenRequest>) -> Result<Response<FetchTokenResponse>, Status> {
        let FetchTokenRequest { host, realm, service, scopes, .. } = request.into_inner();
        let request = oci::TokenRequest { host, realm, service, scopes };
        let token = match self.0.token(&request).await.map_err(internal)? {
            Some(token) => token,
            None => {
                let login = self.0.login(&request.host).await.map_err(internal)?;
                let fetched = oci::token_for(&request, login.as_ref()).await;
                fetched.map_err(|e| internal(anyhow::Error::new(e)))?
            }
        };
        let expires_in = token.expires_in.and_then(|life| i64::try_from(life.as_secs()).ok());
        let expires_in = expires_in.unwrap_or(TOKEN_SECONDS_DEFAULT);
        Ok(Response::new(FetchTokenResponse { token: token.token, expires_in, issued_at: 0 }))
    }

    async fn get_token_authority(
        &self,
        _: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        // This answer makes BuildKit ask for credentials instead.
        Err(Status::unavailable("there is no token authority here"))
    }

    async fn verify_token_authority(
        &self,
        _: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unavailable("there is no token authority here"))
    }
}
