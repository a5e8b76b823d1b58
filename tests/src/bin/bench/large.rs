//! One large file that cannot be compressed. The aims are what BuildKit takes for the same on two cores.

use crate::{
    context,
    world::{World, least, ms},
};

/// Copies the file into an image, and exports that with this compression if one is given; each time into an empty store.
pub fn build(world: &World, compression: Option<&str>) -> anyhow::Result<f64> {
    let dockerfile = context::large_file(&world.context())?;
    world.write("Dockerfile", dockerfile)?;
    let output =
        compression.map(|kind| format!("-otype=oci,dest={},compression={kind}", world.path("out.tar").display()));
    let output: Vec<&str> = output.iter().map(String::as_str).collect();
    let took = least(2, || {
        if world.path("root").exists() {
            std::fs::remove_dir_all(world.path("root"))?;
        }
        world.build(&output)
    })?;
    Ok(ms(took))
}
