//! Which platforms this machine runs: its own with the levels that the processor has, 32-bit programs where the kernel takes them, and
//! what emulators are there for. In BuildKit's order (`util/archutil`).

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsRawFd,
    process::{Command, Stdio},
    sync::OnceLock,
};

use llb::Platform;
use rustix::fs::MemfdFlags;

use crate::foreign;

/// Programs that do nothing but end, by the architecture of the machine and that of the program.
const RELATIVES: [(&str, &str, &[u8]); 2] = [
    // xor ebx, ebx; xor eax, eax; inc eax; int 0x80
    ("amd64", "386", &[0x31, 0xdb, 0x31, 0xc0, 0x40, 0xcd, 0x80]),
    // mov r0, #0; mov r7, #1; svc 0
    ("arm64", "arm", &[0, 0, 0xa0, 0xe3, 1, 0x70, 0xa0, 0xe3, 0, 0, 0, 0xef]),
];

/// What this machine runs, `own` first. Emulators are looked up anew each time: they come and go.
pub fn platforms(own: &Platform) -> Vec<Platform> {
    let named = |architecture: &str, variant: &str| Platform {
        architecture: architecture.into(),
        variant: variant.into(),
        ..own.clone()
    };
    let levels = if own.architecture == "amd64" { amd64_level() } else { 1 };
    let mut all = vec![own.clone()];
    all.extend((2..=levels).map(|level| named("amd64", &format!("v{level}"))));
    let (emulated, native) = (foreign::emulated(), native_32_bit(&own.architecture));
    for architecture in foreign::architectures().filter(|architecture| *architecture != own.architecture) {
        if native == Some(architecture) || emulated.contains(&architecture) {
            all.push(named(architecture, ""));
            // Who runs version 7, which a bare `arm` is, runs version 6.
            all.extend((architecture == "arm").then(|| named("arm", "v6")));
        }
    }
    all
}

/// The level of x86-64 that the processor has.
fn amd64_level() -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! has {
            ($($feature:tt),*) => { $(std::arch::is_x86_feature_detected!($feature))&&* };
        }
        let levels = [
            has!("cmpxchg16b", "popcnt", "sse3", "ssse3", "sse4.1", "sse4.2"),
            has!("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "lzcnt", "movbe"),
            has!("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
        ];
        1 + levels.iter().take_while(|has| **has).count() as u32
    }
    #[cfg(not(target_arch = "x86_64"))]
    1
}

/// The 32-bit architecture that this machine runs without an emulator. A kernel can be built without, and told at its start not to.
fn native_32_bit(own: &str) -> Option<&'static str> {
    static RUNS: OnceLock<bool> = OnceLock::new();
    let (_, architecture, code) = RELATIVES.iter().find(|(machine, ..)| *machine == own)?;
    let is_run = || foreign::program(architecture, code).is_some_and(|program| runs(&program).unwrap_or(false));
    RUNS.get_or_init(is_run).then_some(*architecture)
}

/// Whether the kernel runs a program, which is expected to end well.
fn runs(program: &[u8]) -> io::Result<bool> {
    let mut file = File::from(rustix::fs::memfd_create("probe", MemfdFlags::CLOEXEC)?);
    file.write_all(program)?;
    let mut command = Command::new(format!("/proc/self/fd/{}", file.as_raw_fd()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.status()?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_platform_comes_first_and_its_levels_after_it() {
        let own = Platform { os: "linux".into(), architecture: "amd64".into(), ..Platform::default() };
        let all = platforms(&own);
        assert_eq!(all.first(), Some(&own));
        let variants: Vec<&str> =
            all.iter().filter(|one| one.architecture == "amd64").map(|one| one.variant.as_str()).collect();
        assert_eq!(variants, ["", "v2", "v3", "v4"][..variants.len()]);
        assert_eq!(all.iter().filter(|one| **one == own).count(), 1);
    }

    #[test]
    fn programs_of_this_machine_are_run_and_others_are_not() {
        // mov edi, 0; mov eax, 60; syscall
        let code = [0xbf, 0, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];
        let program = foreign::program("amd64", &code).unwrap();
        assert_eq!(runs(&program).unwrap_or(false), cfg!(target_arch = "x86_64"));
        assert!(!runs(b"\x7fELF of no kind").unwrap_or(false));
    }
}
