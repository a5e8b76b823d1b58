//! Whether a client is still there, asked for as long as its session lives.

use std::{sync::Arc, time::Duration};

use proto::health::{HealthCheckRequest, health_client::HealthClient};
use tokio::time::{Instant, MissedTickBehavior};

use crate::remote::GrpcSession;

/// Time between two questions.
const INTERVAL: Duration = Duration::from_secs(5);
/// Time for an answer. A client that sends files over a slow line answers late, so this is long.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Unanswered questions in a row that end the session.
const FAILURES_MAX: u32 = 2;

/// Returns when the client no longer answers; why. The first question does not come at once: buildx opens sessions that it closes again
/// without any use, and BuildKit's clients take what is on its way to them then for a broken connection, and say so.
pub(crate) async fn watch(session: Arc<GrpcSession>) -> String {
    let mut client = HealthClient::new(session.channel.clone());
    let mut ticks = tokio::time::interval_at(Instant::now() + INTERVAL, INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failures = 0;
    loop {
        ticks.tick().await;
        let asked = tokio::time::timeout(TIMEOUT, client.check(HealthCheckRequest::default())).await;
        let error = match asked {
            Ok(Ok(_)) => {
                failures = 0;
                continue;
            }
            // A client that says that it has no health service is there.
            Ok(Err(status)) if status.code() == tonic::Code::Unimplemented => continue,
            Ok(Err(status)) => status.message().to_owned(),
            Err(_) => format!("no answer within {} s", TIMEOUT.as_secs()),
        };
        failures += 1;
        tracing::debug!(failures, error, "session health check failed");
        if failures >= FAILURES_MAX {
            return format!("it does not answer health checks ({error})");
        }
    }
}
