//! The `plimsoll-oci` program: the reference OCI runtime with the runc-compatible command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(plimsoll_oci::run(std::env::args_os().skip(1)))
}
