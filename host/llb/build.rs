//! Compiles `proto/ops.proto` with protox, so that no protoc binary is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(["proto/ops.proto"], ["proto"])?;
    // Maps are sorted, because a digest of the bytes names a vertex; blobs are slices of the message that they came in.
    tonic_prost_build::configure().btree_map(".").bytes(".").compile_fds(files)?;
    Ok(())
}
