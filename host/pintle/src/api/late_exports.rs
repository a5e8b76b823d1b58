//! Exporters that the client names when the result is there: BuildKit's session exporters.

use std::{collections::BTreeMap, sync::Arc};

use build::{Built, Export, Failure, LateExports};
use session::Session;

use super::gateway::ClientFrontend;

/// The client of a build, asked for exporters. It can look at a result through the gateway where it ran the frontend.
pub struct SessionExports {
    /// Who is asked.
    pub session: Arc<dyn Session>,
    /// The build, as the gateway knows it.
    pub client: Arc<ClientFrontend>,
}

#[async_trait::async_trait]
impl LateExports for SessionExports {
    async fn find(&self, built: &Built, known: usize) -> Result<Vec<Export>, Failure> {
        let mut refs = self.client.returned();
        if refs.is_empty() {
            refs = built.refs.iter().filter_map(|(_, snapshot)| Some(snapshot.as_ref()?.name())).collect();
        }
        let found = self.session.find_exporters(&built.metadata, refs).await.map_err(failed)?;
        let numbered = found.into_iter().zip(known..);
        Ok(numbered.map(|((kind, attrs), number)| Export { kind, attrs, id: number.to_string() }).collect())
    }

    async fn finish(&self, response: &BTreeMap<String, String>) -> Result<(), Failure> {
        self.session.finalize_export(response).await.map_err(failed)
    }
}

fn failed(error: anyhow::Error) -> Failure {
    Failure::new("export-failed", format!("{error:#}"))
}
