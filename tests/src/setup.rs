//! What tests of the binary begin with.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

/// Whether this process may make containers.
pub fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

/// Where the `pintle` binary is: beside the test's directory.
pub fn binaries() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let dir = this.parent().and_then(Path::parent).context("a test lies in target/PROFILE/deps")?;
    ensure!(dir.join("pintle").exists(), "{} is not built: cargo build -p pintle", dir.join("pintle").display());
    Ok(dir.to_path_buf())
}

/// A small image made of busybox, built by pintle itself and pushed to the registry; answers its name.
pub fn base_image(bin: &Path, dir: &Path, registry: &str) -> anyhow::Result<String> {
    let context = dir.join("base");
    std::fs::create_dir_all(&context)?;
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    std::fs::copy(busybox.context("install the package busybox-static")?, context.join("busybox"))?;
    let dockerfile = "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n\
                      RUN mkdir -p /etc /tmp && echo root:x:0:0::/:/bin/sh >/etc/passwd && echo app:x:1000:1000::/:/bin/sh >>/etc/passwd \
                      && echo root:x:0: >/etc/group && echo app:x:1000: >>/etc/group && chmod 1777 /tmp\nENV PATH=/bin\nCMD [\"sh\"]\n";
    std::fs::write(context.join("Dockerfile"), dockerfile)?;
    let name = format!("{registry}/base:1");
    push_image(bin, &context, &dir.join("root"), &name)?;
    Ok(name)
}

/// Builds the Dockerfile in `context` with the store `root`, and pushes the image.
pub fn push_image(bin: &Path, context: &Path, root: &Path, name: &str) -> anyhow::Result<()> {
    let output = Command::new(bin.join("pintle"))
        .args(["build", "--progress=plain", "-t", name, "--push"])
        .arg(context)
        .env("PINTLE_ROOT", root)
        .output()?;
    ensure!(output.status.success(), "build {name}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The directory of the components that are not shipped with the binary.
pub fn components(bin: &Path) -> anyhow::Result<String> {
    let dir = bin.with_file_name("frontends").join("examples");
    ensure!(dir.join("imagefile.wasm").exists(), "{} has no components: make frontends", dir.display());
    Ok(dir.display().to_string())
}
