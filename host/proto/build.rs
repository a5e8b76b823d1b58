//! Compiles `proto/` with protox, so that no protoc binary is needed.

const FILES: &[&str] = &[
    "auth.proto",
    "caps.proto",
    "content.proto",
    "control.proto",
    "errdefs.proto",
    "exporter.proto",
    "filesync.proto",
    "gateway.proto",
    "health.proto",
    "opentelemetry/trace_service.proto",
    "policysession.proto",
    "secrets.proto",
    "ssh.proto",
    "stack.proto",
    "upload.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=../llb/proto");
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    tonic_prost_build::configure()
        .btree_map(".")
        .bytes(".")
        .extern_path(".pb", "::llb::wire::pb")
        .include_file("mod.rs")
        .compile_fds(protox::compile(FILES, ["proto", "../llb/proto"])?)?;

    // A second form of FileSend; it has the package of the first, so its code goes to a directory of its own.
    let raw = out.join("raw");
    std::fs::create_dir_all(&raw)?;
    tonic_prost_build::configure()
        .out_dir(raw)
        .extern_path(".moby.filesync.v1.RawMessage", "crate::RawMessage")
        .compile_fds(protox::compile(["filesync_raw.proto"], ["proto"])?)?;
    Ok(())
}
