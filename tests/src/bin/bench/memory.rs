//! Memory of a daemon, as the kernel counts it: what is resident, without what the kernel keeps of files.

use std::fs::File;

use crate::{context, world::World};

/// The large image's files, each of so many bytes.
const IMAGE_FILES: [&str; 4] = ["a", "b", "c", "d"];
const FILE_BYTES: u64 = 1 << 30;

/// After a first build, when nothing is done.
pub fn idle(world: &World) -> anyhow::Result<f64> {
    let base = context::busybox(&world.context())?;
    world.write("Dockerfile", context::few_steps(&world.context(), &base)?)?;
    let daemon = world.daemon()?;
    world.build(&["--addr", daemon.address()])?;
    daemon.megabytes("VmRSS")
}

/// The most that a daemon ever had after it exported a large image. The files are holes, which take no disk until they are copied.
pub fn exporting(world: &World) -> anyhow::Result<f64> {
    let mut dockerfile = "FROM scratch\n".to_string();
    for name in IMAGE_FILES {
        File::create(world.context().join(name))?.set_len(FILE_BYTES)?;
        dockerfile += &format!("COPY {name} /\n");
    }
    world.write("Dockerfile", dockerfile)?;
    // The store of the daemon gets the files without a transfer.
    world.build(&[])?;
    let daemon = world.daemon()?;
    let output = format!("-otype=oci,dest={},compression=gzip", world.path("out.tar").display());
    world.build(&["--addr", daemon.address(), &output])?;
    daemon.megabytes("VmHWM")
}
