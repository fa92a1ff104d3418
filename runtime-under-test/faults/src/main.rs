//! `plimsoll-faults`: an OCI runtime that breaks one rule of a real one. See the library's documentation.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    ExitCode::from(plimsoll_faults::run(args))
}
