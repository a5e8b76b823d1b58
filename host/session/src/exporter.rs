//! Exporters that the client names once it is told what was built.

use std::collections::BTreeMap;

use proto::exporter::{FinalizeExportRequest, FindExportersRequest, exporter_client::ExporterClient};
use tonic::{Code, Status};

use crate::{Error, remote::GrpcSession};

const FIND: &str = "/moby.exporter.v1.Exporter/FindExporters";
const FINALIZE: &str = "/moby.exporter.v1.Exporter/FinalizeExport";

/// An exporter that the client wants, and its options.
pub type Wanted = (String, BTreeMap<String, String>);

/// Asks which exporters a result is to have. `refs` are the ids of its trees. A client that has nobody to answer wants none.
pub(crate) async fn find(
    session: &GrpcSession,
    metadata: &BTreeMap<String, Vec<u8>>,
    refs: Vec<String>,
) -> anyhow::Result<Vec<Wanted>> {
    if !session.supports(FIND) {
        return Ok(Vec::new());
    }
    let metadata = metadata.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
    match client(session).find_exporters(FindExportersRequest { metadata, refs }).await {
        Ok(answer) => {
            Ok(answer.into_inner().exporters.into_iter().map(|wanted| (wanted.r#type, wanted.attrs)).collect())
        }
        Err(status) if is_nobody(&status) => Ok(Vec::new()),
        Err(status) => Err(Error::of_call("name exporters", &status).into()),
    }
}

/// Tells what all exporters answered, before the build ends.
pub(crate) async fn finalize(session: &GrpcSession, response: &BTreeMap<String, String>) -> anyhow::Result<()> {
    if !session.supports(FINALIZE) {
        return Ok(());
    }
    match client(session).finalize_export(FinalizeExportRequest { exporter_response: response.clone() }).await {
        Err(status) if !is_nobody(&status) => Err(Error::of_call("finish its export", &status).into()),
        _ => Ok(()),
    }
}

fn client(session: &GrpcSession) -> ExporterClient<tonic::transport::Channel> {
    ExporterClient::new(session.channel.clone())
        .max_decoding_message_size(proto::MAX_MESSAGE_BYTES)
        .max_encoding_message_size(proto::MAX_MESSAGE_BYTES)
}

/// Whether a status says that the client serves the method and has nobody behind it.
fn is_nobody(status: &Status) -> bool {
    std::error::Error::source(status).is_none() && matches!(status.code(), Code::Unavailable | Code::Unimplemented)
}
