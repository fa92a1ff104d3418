//! The `plimsoll-cri` program: the reference CRI server.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(plimsoll_cri::run(std::env::args_os().skip(1)))
}
