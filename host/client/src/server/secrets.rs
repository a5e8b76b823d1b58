//! Secrets: values that the build asks for by id, read when they are asked for.

use std::{collections::BTreeMap, path::PathBuf};

use proto::secrets::{
    GetSecretRequest, GetSecretResponse,
    secrets_server::{Secrets, SecretsServer},
};
use session::secrets::SECRET_MAX_BYTES;
use tokio::io::AsyncReadExt;
use tonic::{Request, Response, Status};

pub(super) const METHODS: &[&str] = &["/moby.buildkit.secrets.v1.Secrets/GetSecret"];

/// Where a secret's value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A file.
    File(PathBuf),
    /// A variable of our environment.
    Env(String),
}

pub(super) fn service(secrets: BTreeMap<String, SecretSource>) -> SecretsServer<impl Secrets> {
    SecretsServer::new(Sources(secrets))
}

struct Sources(BTreeMap<String, SecretSource>);

#[tonic::async_trait]
impl Secrets for Sources {
    async fn get_secret(&self, request: Request<GetSecretRequest>) -> Result<Response<GetSecretResponse>, Status> {
        let id = request.into_inner().id;
        let source = self.0.get(&id).ok_or_else(|| Status::not_found(format!("there is no secret {id:?}")))?;
        let data = read(source).await.map_err(|why| Status::internal(format!("secret {id:?}: {why}")))?;
        if data.len() > SECRET_MAX_BYTES {
            let text = format!("secret {id:?} is longer than {SECRET_MAX_BYTES} bytes");
            return Err(Status::resource_exhausted(text));
        }
        Ok(Response::new(GetSecretResponse { data: data.into() }))
    }
}

async fn read(source: &SecretSource) -> Result<Vec<u8>, String> {
    use std::os::unix::ffi::OsStringExt;
    match source {
        SecretSource::Env(name) => {
            std::env::var_os(name).map(|value| value.into_vec()).ok_or_else(|| format!("variable {name} is not set"))
        }
        SecretSource::File(path) => {
            let failed = |e: std::io::Error| format!("cannot read {}: {e}", path.display());
            let file = tokio::fs::File::open(path).await.map_err(failed)?;
            let mut data = Vec::new();
            file.take(SECRET_MAX_BYTES as u64 + 1).read_to_end(&mut data).await.map_err(failed)?;
            Ok(data)
        }
    }
}
