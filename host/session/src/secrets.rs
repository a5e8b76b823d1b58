//! Secrets: values that steps see and nothing keeps.

use proto::secrets::{GetSecretRequest, secrets_client::SecretsClient};
use tonic::Code;

use crate::{Error, remote::GrpcSession};

const METHOD: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";
/// The largest secret, in bytes; BuildKit's clients send no larger one.
pub const SECRET_MAX_BYTES: usize = 500 << 10;

pub(crate) async fn secret(session: &GrpcSession, id: &str) -> anyhow::Result<Option<Vec<u8>>> {
    if !session.supports(METHOD) {
        return Ok(None);
    }
    let mut client = SecretsClient::new(session.channel.clone());
    match client.get_secret(GetSecretRequest { id: id.to_owned(), ..Default::default() }).await {
        Ok(answer) => {
            let data = answer.into_inner().data;
            anyhow::ensure!(
                data.len() <= SECRET_MAX_BYTES,
                "secret {id:?} has {} bytes; at most {SECRET_MAX_BYTES} are accepted",
                data.len()
            );
            Ok(Some(data.into()))
        }
        Err(status) if matches!(status.code(), Code::NotFound | Code::Unimplemented) => Ok(None),
        Err(status) => Err(Error::of_call(format!("give secret {id:?}"), &status).into()),
    }
}
