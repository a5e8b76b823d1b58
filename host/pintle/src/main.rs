//! The `pintle` command: builds with the engine in this process, or with a daemon; and the daemon itself.
#![forbid(unsafe_code)]

mod api;
mod commands;
mod config;
mod daemon;
mod embedded;
mod exit;
mod frontends;
mod limits;
mod paths;

use std::io::IsTerminal;

use clap::Parser;

/// A BuildKit-compatible build engine whose build languages are plug-ins.
#[derive(Parser)]
#[command(name = "pintle", version, max_term_width = 110)]
struct Cli {
    /// A running daemon: unix:///path, tcp://host:port; without one the engine runs in this process.
    #[arg(long, global = true, env = "PINTLE_HOST", value_name = "URL")]
    addr: Option<String>,

    /// The certificate authority of a daemon reached by tcp://.
    #[arg(long, global = true, value_name = "FILE")]
    tlscacert: Option<std::path::PathBuf>,

    /// Our certificate for a daemon reached by tcp://.
    #[arg(long, global = true, value_name = "FILE", requires = "tlskey")]
    tlscert: Option<std::path::PathBuf>,

    /// The key of our certificate.
    #[arg(long, global = true, value_name = "FILE", requires = "tlscert")]
    tlskey: Option<std::path::PathBuf>,

    /// Where the engine keeps its store.
    #[arg(long, global = true, env = "PINTLE_ROOT", value_name = "DIR")]
    root: Option<std::path::PathBuf>,

    /// The configuration file; /etc/pintle/pintle.toml, or ~/.config/pintle/pintle.toml, when it is there.
    #[arg(long, global = true, env = "PINTLE_CONFIG", value_name = "FILE")]
    config: Option<std::path::PathBuf>,

    /// Show what the engine does (twice: in detail) on stderr.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    debug: u8,

    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> std::process::ExitCode {
    // The process that becomes a container has one thread, so this comes before any runtime.
    exec::helper_main();
    frontend::helper_main();
    // What we and git write has the modes that are asked for, whatever the shell that started us says.
    rustix::process::umask(rustix::fs::Mode::WGRP | rustix::fs::Mode::WOTH);
    let cli = Cli::parse();
    log(cli.debug);
    let tls = client::TlsFiles { ca: cli.tlscacert, cert: cli.tlscert, key: cli.tlskey, server_name: None };
    let config = match config::Config::load(cli.config.as_deref()) {
        Ok(config) => config,
        Err(error) => return exit::report(error),
    };
    let root = cli.root.or_else(|| config.root.clone()).unwrap_or_else(paths::root);
    let place = embedded::Place { addr: cli.addr, tls, root, config, opened: Default::default() };
    limits::raise_open_files();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(anyhow::Error::new(error).context("start the runtime")),
    };
    let opened = place.opened.clone();
    let code = runtime.block_on(async {
        let code = commands::run(cli.command, place).await;
        opened.closed().await;
        code
    });
    // What still blocks (a read that nobody waits for) must not hold up the exit.
    runtime.shutdown_background();
    code
}

fn log(debug: u8) {
    let level = match debug {
        0 => "warn",
        1 => "info,pintle=debug,build=debug,frontend=debug",
        _ => "debug,h2=info,hyper=info",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("PINTLE_LOG").unwrap_or_else(|_| level.into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .init();
}
