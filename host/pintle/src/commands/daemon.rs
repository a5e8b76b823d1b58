use std::convert::Infallible;

use build::Entitlement;

use crate::{
    api::{Api, Collector, StepSocket, Traces, listen_to_steps},
    daemon, embedded, paths,
};

/// Options of `pintle daemon`. The certificate and key of the daemon, and what clients' are checked against, are those of
/// `--tlscert`, `--tlskey` and `--tlscacert`.
#[derive(clap::Args)]
pub struct Args {
    /// Where to listen: unix:///path, tcp://host:port, or fd:// for sockets of a service manager; may be given several times.
    #[arg(long = "listen", value_name = "URL")]
    listen: Vec<String>,

    /// Listen on TCP for anybody, from anywhere.
    #[arg(long)]
    allow_unauthenticated_tcp: bool,

    /// What builds may ask for: network.host, security.insecure, device, device=NAME; may be given several times.
    #[arg(long = "allow-insecure-entitlement", value_name = "NAME")]
    entitlements: Vec<Entitlement>,
}

pub async fn run(args: Args, place: embedded::Place) -> anyhow::Result<()> {
    let mut addresses = args.listen;
    addresses.extend(place.addr.clone());
    if addresses.is_empty() {
        addresses.push(format!("unix://{}", paths::socket().display()));
    }
    let options = daemon::Options {
        addresses,
        tls: place.tls.clone(),
        allow_unauthenticated: args.allow_unauthenticated_tcp,
        owner: Default::default(),
    };
    serve(&place, &options, &args.entitlements, Default::default(), Vec::new()).await
}

/// Opens the engine, and serves it until the process is told to end.
pub async fn serve(
    place: &embedded::Place,
    options: &daemon::Options,
    entitlements: &[Entitlement],
    history: crate::api::HistoryLimits,
    policies: Vec<crate::api::Policy>,
) -> anyhow::Result<()> {
    let engine = embedded::engine(place, entitlements.iter().cloned().collect())?;
    let traces = Traces::new(Collector::from_env()?, trace_socket(place)?);
    let api = Api::new(engine).with_history(history)?.with_policies(policies).with_traces(traces);
    let serving = daemon::serve(&api, options, embedded::listen_beside(&place.root));
    tokio::select! {
        served = serving => served?,
        never = warn_of_executor(&api.engine) => match never {},
    }
    let closed = api.engine.store().closed();
    drop(api);
    embedded::store_closed(closed).await;
    Ok(())
}

/// Warns who starts a daemon whose steps cannot run. It serves nevertheless: not every build has such steps.
async fn warn_of_executor(engine: &build::Engine) -> Infallible {
    if let Err(error) = engine.check_executor().await {
        tracing::warn!("builds whose steps run processes will fail: {error:#}");
    }
    std::future::pending().await
}

/// Where steps send their spans: where the configuration says, else beside the store, if that can be.
fn trace_socket(place: &embedded::Place) -> anyhow::Result<Option<StepSocket>> {
    if let Some(path) = &place.config.otel.socket_path {
        return listen_to_steps(path).map(Some);
    }
    let socket = listen_to_steps(&place.root.join("otel-grpc.sock"));
    Ok(socket.inspect_err(|error| tracing::warn!("steps cannot send spans: {error:#}")).ok())
}
