//! Contexts and Dockerfiles, the same for us and for the peer. Each begins with a stage `base`.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::Context;

/// How many files the large context has.
const FILES: usize = 20_000;
/// Bytes of the large file.
pub const LARGE_BYTES: usize = 512 << 20;

/// A stage `base` made of busybox alone, whose file goes into the context.
pub fn busybox(context: &Path) -> anyhow::Result<String> {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    fs::copy(busybox.context("install the package busybox-static")?, context.join("busybox"))?;
    Ok("FROM scratch AS base\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\",\"--install\",\"-s\",\"/bin\"]\nENV PATH=/bin\n"
        .into())
}

/// Four steps, one of them a copy.
pub fn few_steps(context: &Path, base: &str) -> anyhow::Result<String> {
    fs::write(context.join("a.txt"), "a")?;
    Ok(format!("{base}COPY a.txt /\nRUN true\nRUN echo done\n"))
}

/// `count` processes, one after the other.
pub fn run_chain(base: &str, count: usize) -> String {
    (0..count).fold(base.to_string(), |mut text, number| {
        let _ = writeln!(text, "RUN true # {number}");
        text
    })
}

/// `count` copies of one file each.
pub fn copy_chain(context: &Path, base: &str, count: usize) -> anyhow::Result<String> {
    let mut text = base.to_string();
    for number in 0..count {
        fs::write(context.join(format!("f{number}")), number.to_string())?;
        writeln!(text, "COPY f{number} /d/")?;
    }
    Ok(text)
}

/// `count` stages that have nothing to do with each other, and one that takes a file of each.
pub fn parallel(base: &str, count: usize) -> anyhow::Result<String> {
    let mut text = base.to_string();
    for number in 0..count {
        writeln!(text, "FROM base AS s{number}\nRUN echo {number} > /f{number}")?;
    }
    text.push_str("FROM scratch\n");
    for number in 0..count {
        writeln!(text, "COPY --from=s{number} /f{number} /")?;
    }
    Ok(text)
}

/// Many small files, in directories of a hundred.
pub fn many_files(context: &Path) -> anyhow::Result<&'static str> {
    for number in 0..FILES {
        let dir = context.join(format!("src/d{}", number / 100));
        if number % 100 == 0 {
            fs::create_dir_all(&dir)?;
        }
        fs::write(dir.join(format!("f{number}")), format!("file {number}\n").repeat(50))?;
    }
    Ok("FROM scratch\nCOPY src /src\n")
}

/// Changes one of the many files.
pub fn change_one(context: &Path, number: usize) -> anyhow::Result<()> {
    Ok(fs::write(context.join("src/d7/f777"), format!("changed {number}"))?)
}

/// A large file that cannot be compressed, the same each time.
pub fn large_file(context: &Path) -> anyhow::Result<&'static str> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut data = Vec::with_capacity(LARGE_BYTES);
    while data.len() < LARGE_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data.extend_from_slice(&state.to_le_bytes());
    }
    fs::write(context.join("large"), &data)?;
    Ok("FROM scratch\nCOPY large /\n")
}
