//! Compiles `harness/proto/cri/v1/api.proto` without `protoc`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=../proto/cri/v1/api.proto");
    let files = protox::compile(["cri/v1/api.proto"], ["../proto"])?;
    let mut config = tonic_prost_build::Config::new();
    // Ordered maps: two encodings of one value are the same bytes.
    config.btree_map(["."]);
    tonic_prost_build::configure().build_server(true).compile_fds_with_config(files, config)?;
    Ok(())
}
