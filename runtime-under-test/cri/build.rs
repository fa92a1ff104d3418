//! Compiles the interface definition `harness/proto/cri/v1/api.proto` without `protoc`.
//! Only this data file is shared with the harness; no code is.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=../../harness/proto/cri/v1/api.proto");
    let files = protox::compile(["cri/v1/api.proto"], ["../../harness/proto"])?;
    let mut config = tonic_prost_build::Config::new();
    // Ordered maps: what is stored on disk is the same bytes for the same value.
    config.btree_map(["."]);
    tonic_prost_build::configure()
        .build_server(true)
        .build_client(true)
        .compile_fds_with_config(files, config)?;
    Ok(())
}
