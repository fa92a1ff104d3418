//! Compiles `harness/proto/cri/v1/api.proto` without `protoc`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=../proto/cri/v1/api.proto");
    let files = protox::compile(["cri/v1/api.proto"], ["../proto"])?;
    let mut config = tonic_prost_build::Config::new();
    // Ordered maps: two encodings of one value are the same bytes.
    config.btree_map(["."]);
    // Records print requests; credentials must not be in them. `v1` has the Debug of its own.
    config.skip_debug(["runtime.v1.AuthConfig"]);
    tonic_prost_build::configure()
        .build_server(true)
        .build_client(false)
        .compile_fds_with_config(files, config)?;
    Ok(())
}
