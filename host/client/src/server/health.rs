//! The health check by which an engine sees that we are still here.

use proto::health::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{Health, HealthServer},
};
use tonic::{Request, Response, Status};

use super::Answers;

pub(super) const METHODS: &[&str] = &["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"];

pub(super) fn service() -> HealthServer<impl Health> {
    HealthServer::new(Here)
}

struct Here;

#[tonic::async_trait]
impl Health for Here {
    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(serving()))
    }

    type WatchStream = Answers<HealthCheckResponse>;

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        use futures::StreamExt;
        // The state never changes, and the stream stays open for as long as we are here.
        let once = futures::stream::once(async { Ok(serving()) });
        Ok(Response::new(once.chain(futures::stream::pending()).boxed()))
    }
}

fn serving() -> HealthCheckResponse {
    HealthCheckResponse { status: ServingStatus::Serving.into() }
}
