//! The `pintle` command: builds with the engine in this process, or with a daemon; and the daemon itself.
#![forbid(unsafe_code)]

mod api;
mod buildctl;
mod buildkitd;
mod commands;
mod config;
mod daemon;
mod embedded;
mod exit;
mod frontends;
mod limits;
mod log;
mod paths;
mod rootless;
mod text;
mod trust;

use std::process::ExitCode;

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

    /// How lines of the log look: text or json.
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    log_format: log::Format,

    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    // The process that becomes a container has one thread, so this comes before any runtime.
    exec::helper_main();
    frontend::helper_main();
    if let Some(code) = rootless::helper_main() {
        return code;
    }
    // What we and git write has the modes that are asked for, whatever the shell that started us says.
    rustix::process::umask(rustix::fs::Mode::WGRP | rustix::fs::Mode::WOTH);
    match () {
        () if buildkitd::is_called() => buildkitd_main(),
        () if buildctl::is_called() => buildctl_main(),
        () => pintle_main(),
    }
}

fn pintle_main() -> ExitCode {
    let cli = Cli::parse();
    let level = match cli.debug {
        0 => log::Level::Warn,
        1 => log::Level::Info,
        _ => log::Level::Debug,
    };
    log::begin(log::Options { format: cli.log_format, level });
    let tls = client::TlsFiles { ca: cli.tlscacert, cert: cli.tlscert, key: cli.tlskey, server_name: None };
    let config = match config::Config::load(cli.config.as_deref()) {
        Ok(config) => config,
        Err(error) => return exit::report(error),
    };
    let root = cli.root.or_else(|| config.root.clone()).unwrap_or_else(paths::root);
    // Before any thread: all of a process enters a user namespace, or nothing does.
    let is_daemon = matches!(cli.command, commands::Command::Daemon(_));
    if !is_daemon {
        exit::when_unread();
    }
    let has_engine = cli.addr.is_none() || is_daemon;
    if has_engine && let Err(error) = rootless::enter() {
        return exit::report(error);
    }
    let runs_frontends = matches!(cli.command, commands::Command::Frontend(_));
    let threads = if has_engine || runs_frontends { Threads::Many } else { Threads::One };
    let place = embedded::Place { addr: cli.addr, tls, root, config, opened: Default::default() };
    block_on(threads, &place.opened.clone(), commands::run(cli.command, place))
}

fn buildkitd_main() -> ExitCode {
    let settings = match buildkitd::Flags::parse().settings() {
        Ok(settings) => settings,
        Err(error) => return exit::report(error),
    };
    log::begin(settings.log);
    for note in &settings.notes {
        tracing::warn!("{note}");
    }
    let policies = settings.gc.policies();
    let buildkitd::Settings { root, config, daemon, entitlements, history, .. } = settings;
    let place = embedded::Place { addr: None, tls: daemon.tls.clone(), root, config, opened: Default::default() };
    block_on(Threads::Many, &place.opened.clone(), async {
        exit::code(commands::daemon::serve(&place, &daemon, &entitlements, history, policies).await)
    })
}

fn buildctl_main() -> ExitCode {
    exit::when_unread();
    log::begin(log::Options::default());
    let flags = buildctl::Flags::parse();
    block_on(Threads::One, &embedded::Opened::default(), async { exit::code(flags.run().await) })
}

/// How many threads tasks run on, beside the main thread, which shows progress and may have to wait for a terminal. Files are read
/// on further threads in any case.
#[derive(Clone, Copy)]
enum Threads {
    /// One for each processor: for an engine.
    Many,
    /// One: who only talks to a daemon would spend more on waking threads than on what is said.
    One,
}

/// Runs `work` to its end, and closes what it opened.
fn block_on(threads: Threads, opened: &embedded::Opened, work: impl Future<Output = ExitCode>) -> ExitCode {
    sys::allocator::join_free_blocks_at_once();
    limits::raise_open_files();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Threads::One = threads {
        builder.worker_threads(1);
    }
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(anyhow::Error::new(error).context("start the runtime")),
    };
    let code = runtime.block_on(async {
        let code = work.await;
        exit::at_once_on_interrupt();
        opened.closed().await;
        code
    });
    // What still blocks (a read that nobody waits for) must not hold up the exit.
    runtime.shutdown_background();
    code
}
