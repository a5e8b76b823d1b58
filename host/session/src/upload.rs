//! Upload: bytes that the client reads from its standard input, such as a context as a tar.

use futures::StreamExt;
use proto::upload::{BytesMessage, upload_client::UploadClient};
use tokio_util::io::StreamReader;
use tonic::Request;

use crate::{Error, metadata, remote::GrpcSession};

const METHOD: &str = "/moby.upload.v1.Upload/Pull";
/// The host of URLs that name an upload.
pub const UPLOAD_HOST: &str = "buildkit-session";

pub(crate) async fn pull(
    session: &GrpcSession,
    path: &str,
) -> anyhow::Result<Box<dyn tokio::io::AsyncRead + Send + Unpin>> {
    if !session.supports(METHOD) {
        let hint = "an upload URL is only good in the build whose client made it";
        return Err(Error::Unsupported { what: "upload anything", hint }.into());
    }
    let mut request = Request::new(futures::stream::pending::<BytesMessage>());
    metadata::insert_list(request.metadata_mut(), metadata::UPLOAD_PATH, &[path.to_owned()]);
    metadata::insert_list(request.metadata_mut(), metadata::UPLOAD_HOST, &[UPLOAD_HOST.to_owned()]);
    let mut client = UploadClient::new(session.channel.clone()).max_decoding_message_size(proto::MAX_MESSAGE_BYTES);
    let answer = client.pull(request).await;
    let incoming = answer.map_err(|status| Error::of_call(format!("upload {path:?}"), &status))?.into_inner();
    let incoming = incoming.map(|message| {
        message.map(|m| m.data).map_err(|status| std::io::Error::other(Error::of_call("upload", &status)))
    });
    Ok(Box::new(StreamReader::new(incoming.boxed())))
}
