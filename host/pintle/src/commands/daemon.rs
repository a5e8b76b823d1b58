use build::Entitlement;

use crate::{api::Api, daemon, embedded, paths};

/// Options of `pintle daemon`.
#[derive(clap::Args)]
pub struct Args {
    /// Where to listen: unix:///path or tcp://127.0.0.1:port; may be given several times.
    #[arg(long = "listen", value_name = "URL")]
    listen: Vec<String>,

    /// What builds may ask for: network.host, security.insecure; may be given several times.
    #[arg(long = "allow-insecure-entitlement", value_name = "NAME")]
    entitlements: Vec<Entitlement>,
}

pub async fn run(args: Args, place: embedded::Place) -> anyhow::Result<()> {
    let api = Api::new(embedded::engine(&place, args.entitlements.iter().copied().collect())?).with_history()?;
    let mut addresses = args.listen;
    addresses.extend(place.addr);
    if addresses.is_empty() {
        addresses.push(format!("unix://{}", paths::socket().display()));
    }
    daemon::serve(&api, &addresses).await?;
    api.engine.store().close().await?;
    Ok(())
}
