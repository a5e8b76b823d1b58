//! The program under the name `buildctl`: the two commands that buildx's container and kubernetes drivers run beside the daemon.

use std::path::{Path, PathBuf};

use anyhow::Context;
use client::Address;
use tokio::{io, net::UnixStream};

/// The name that this program must have to be that.
const NAME: &str = "buildctl";
/// Where the daemon listens when nobody says.
const DEFAULT_ADDRESS: &str = "unix:///run/buildkit/buildkitd.sock";

/// Whether the program was started under the name.
pub fn is_called() -> bool {
    let name = std::env::args_os().next().map(PathBuf::from);
    name.as_deref().and_then(Path::file_name).is_some_and(|name| name == NAME)
}

/// What of buildctl there is.
#[derive(clap::Parser, Debug)]
#[command(name = "buildctl", version, about = "The part of buildctl that buildx's drivers need", max_term_width = 110)]
pub struct Flags {
    /// The daemon: unix:///path.
    #[arg(long, env = "BUILDKIT_HOST", default_value = DEFAULT_ADDRESS, value_name = "URL")]
    addr: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Connect standard input and output with the daemon.
    DialStdio,
    /// What a probe asks.
    Debug {
        #[command(subcommand)]
        what: Debug,
    },
}

#[derive(clap::Subcommand, Debug)]
enum Debug {
    /// List the workers: succeeds when the daemon answers.
    Workers,
}

impl Flags {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<()> {
        let address: Address = self.addr.parse()?;
        match self.command {
            Command::DialStdio => dial_stdio(&address).await,
            Command::Debug { what: Debug::Workers } => workers(&address).await,
        }
    }
}

/// Ends when the daemon has closed the connection.
async fn dial_stdio(address: &Address) -> anyhow::Result<()> {
    let Address::Unix(path) = address else {
        anyhow::bail!("dial-stdio connects with a unix socket, not with {address}")
    };
    let socket = UnixStream::connect(path).await.with_context(|| format!("connect to {}", path.display()))?;
    let (mut from_daemon, mut to_daemon) = socket.into_split();
    let up = async {
        io::copy(&mut io::stdin(), &mut to_daemon).await?;
        drop(to_daemon);
        // What the daemon still says is waited for.
        std::future::pending::<io::Result<u64>>().await
    };
    let mut stdout = io::stdout();
    tokio::select! {
        up = up => up.map(drop)?,
        down = io::copy(&mut from_daemon, &mut stdout) => drop(down?),
    }
    Ok(io::AsyncWriteExt::flush(&mut stdout).await?)
}

async fn workers(address: &Address) -> anyhow::Result<()> {
    let connection = client::Connection::open(address, &client::TlsFiles::default()).await?;
    println!("ID\tPLATFORMS");
    for (id, platforms) in client::usage::workers(&connection).await? {
        println!("{id}\t{}", platforms.join(","));
    }
    Ok(())
}
