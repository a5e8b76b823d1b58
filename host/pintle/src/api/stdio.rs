//! The gateway for one frontend, over the standard streams of its process.

use std::sync::Arc;

use build::GatewayCall;
use frontend::{Error, Output};
use proto::health::health_server::HealthServer;
use tokio_util::task::AbortOnDropHandle;

use super::{
    Healthy,
    gateway::{self, Client, Served},
};

/// See the module.
pub struct Stdio;

/// Ends what the frontend left running.
struct Ended(Arc<Client>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.containers.release_all();
    }
}

#[async_trait::async_trait]
impl build::Gateway for Stdio {
    async fn serve(&self, call: GatewayCall) -> Result<Output, Error> {
        let GatewayCall { name, bridge, request, worker, stream, idle } = call;
        let (client, answer) = Client::new(bridge, request);
        let ended = Ended(client.clone());
        let server = tonic::transport::Server::builder()
            .add_service(gateway::server(Served::One(client.clone()), worker))
            .add_service(HealthServer::new(Healthy))
            .serve_with_incoming(tokio_stream::once(Ok::<_, std::io::Error>(stream)));
        let _server = AbortOnDropHandle::new(tokio::spawn(server));
        let outcome = tokio::select! {
            biased;
            answer = answer => answer.unwrap_or_else(|_| Err(Error::new("cancelled", "the frontend went away"))),
            () = client.idle(idle) => {
                let message = format!("frontend {name}: it asked for nothing in {idle:?}, and nothing was done for it: does it hang?");
                Err(Error::limit(message))
            }
        };
        drop(ended);
        outcome
    }
}
