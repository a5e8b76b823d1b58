//! Exit codes, Ctrl-C, and how an error that ends the program is shown. A wrong command line is clap's, with 2.

use std::process::ExitCode;

/// The build failed, or what the user asked for cannot be done.
pub const FAILED: u8 = 1;
/// Ended by Ctrl-C, as a shell reports it.
pub const INTERRUPTED: u8 = 130;
/// Nobody reads what is printed any longer, as a shell reports it.
pub const UNREAD: u8 = 141;

/// Prints `error`, and answers the exit code for it.
pub fn report(error: anyhow::Error) -> ExitCode {
    show(&error);
    ExitCode::from(FAILED)
}

/// Prints `error` with its causes. A failed build brings its own text: what failed, the lines that it comes from, and why.
pub fn show(error: &anyhow::Error) {
    match error.downcast_ref::<client::BuildError>() {
        Some(failed) => eprintln!("{}", failed.render().trim_end()),
        None => eprintln!("ERROR: {error:#}"),
    }
}

/// The exit code of what a command came to; an error is printed.
pub fn code(result: anyhow::Result<()>) -> ExitCode {
    result.map_or_else(report, |()| ExitCode::SUCCESS)
}

/// Runs `work` to its end, or until Ctrl-C, which cancels it.
pub async fn or_interrupted(work: impl Future<Output = ExitCode>) -> ExitCode {
    tokio::select! {
        code = work => code,
        Ok(()) = tokio::signal::ctrl_c() => {
            eprintln!("interrupted: cancelling (again to end at once)");
            ExitCode::from(INTERRUPTED)
        }
    }
}

/// From now on the program ends without a word when nobody reads what it prints (`| head`): the standard library panics then, since
/// Rust's programs are not ended by SIGPIPE. Not for a daemon, whose builds go on.
pub fn when_unread() {
    let otherwise = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload_as_str().unwrap_or_default();
        if text.starts_with("failed printing to std") && text.contains("Broken pipe") {
            std::process::exit(i32::from(UNREAD));
        }
        otherwise(panic);
    }));
}

/// From now on Ctrl-C ends the program at once.
pub fn at_once_on_interrupt() {
    tokio::spawn(async {
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(i32::from(INTERRUPTED));
        }
    });
}
