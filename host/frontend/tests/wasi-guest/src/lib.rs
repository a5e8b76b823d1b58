//! A frontend that asks WASI for what a process has, and answers what it was told.

use pintle_sdk::{Error, Frontend, Host, Output, Request, Result};

mod bindings {
    wit_bindgen::generate!({ path: "src/wasi.wit", world: "pintle-test:wasi/process", generate_all });
}

use bindings::wasi::{
    cli::{environment, exit, stderr, stdin, stdout},
    clocks::{monotonic_clock, wall_clock},
    filesystem::preopens,
    io::{poll, streams::StreamError},
    random::{insecure_seed, random},
    sockets::{network::IpAddressFamily, tcp_create_socket},
};

struct Guest;

impl Frontend for Guest {
    fn build(&self, cx: &Host, request: Request) -> Result<Output> {
        match request.opt("do").unwrap_or("look") {
            "look" => Ok(Output::new(cx.scratch()).metadata("seen", look())),
            "say" => {
                say(stdout::get_stdout(), &["two li", "nes\nand", " more\n", "never ended"]);
                say(stderr::get_stderr(), &["Traceback:\n", "  line 1\n"]);
                Ok(Output::new(cx.scratch()))
            }
            "exit" => {
                say(stderr::get_stderr(), &["panic: out of ideas\n"]);
                exit::exit(Err(()));
                Err(Error::invalid("it went on"))
            }
            "silent-exit" => {
                exit::exit(Ok(()));
                Err(Error::invalid("it went on"))
            }
            "random" => {
                random::get_random_bytes(1 << 40);
                Err(Error::invalid("it was answered"))
            }
            "poll" => {
                poll::poll(&[]);
                Err(Error::invalid("it was answered"))
            }
            "pollables" => loop {
                std::mem::forget(monotonic_clock::subscribe_duration(1));
            },
            other => Err(Error::invalid(format!("do {other:?}: not known"))),
        }
    }
}

fn look() -> String {
    let hour = 3_600_000_000_000;
    let begin = monotonic_clock::now();
    let (long, short) = (monotonic_clock::subscribe_duration(2 * hour), monotonic_clock::subscribe_duration(hour));
    let before = short.ready();
    let come = poll::poll(&[&long, &short]);
    let slept = (monotonic_clock::now() - begin) / hour;
    let wall = wall_clock::now();
    let end = matches!(stdin::get_stdin().blocking_read(1), Err(StreamError::Closed));
    let socket = tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4).map(|_| ()).map_err(|code| code.name());
    [
        format!(
            "environment {:?} {:?} {:?}",
            environment::get_environment(),
            environment::get_arguments(),
            environment::initial_cwd()
        ),
        format!("directories {}", preopens::get_directories().len()),
        format!("clock {begin} {before} {come:?} {slept} {}.{}", wall.seconds, wall.nanoseconds),
        format!("stdin ended {end}"),
        format!("socket {socket:?}"),
        format!(
            "random {:x} {:x?} {:x?}",
            random::get_random_u64(),
            random::get_random_bytes(3),
            insecure_seed::insecure_seed()
        ),
    ]
    .join("\n")
}

fn say(stream: bindings::wasi::io::streams::OutputStream, parts: &[&str]) {
    for part in parts {
        stream.subscribe().block();
        assert!(stream.check_write().is_ok_and(|free| free as usize >= part.len()));
        assert!(stream.write(part.as_bytes()).is_ok());
    }
    assert!(stream.blocking_write_and_flush(&[]).is_ok());
}

pintle_sdk::frontend!(Guest);
