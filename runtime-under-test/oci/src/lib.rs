//! The reference OCI runtime: runtime-spec 1.3.0 for Linux with the runc-compatible command line.
//!
//! [`run`] is the whole program. The modules follow the chapters of the specification.

pub mod cgroup;
mod cli;
mod config;
mod container;
mod error;
mod features;
mod files;
mod hooks;
mod log;
mod namespaces;
mod netdev;
mod process;
mod protect;
mod rdt;
mod rootfs;
pub mod seccomp;
mod socket;
mod state;
mod sys;
mod systemd;
mod template;

pub use cli::run;

/// A whole program: what a start by the C library alone leaves to do, then [`run`] with the words of the command line.
/// The answer is the exit code.
pub fn main() -> i32 {
    // A descriptor that the caller has closed must not come to be some file of ours, which a container would inherit.
    if let Err(e) = sys::open_standard_streams() {
        log::error(&format!("opening the standard streams: {e}"));
        return 1;
    }
    sys::ignore_broken_pipes();
    let code = std::panic::catch_unwind(|| run(std::env::args_os().skip(1)));
    // As Rust's own `main` has it.
    code.map_or(101, i32::from)
}

/// Whether the bytes of a `config.json` are a valid configuration (config.md). Makes and changes nothing.
///
/// # Errors
/// What is wrong, as `create` would print it.
pub fn check(document: &[u8]) -> Result<(), String> {
    config::Spec::from_slice(document).map(drop).map_err(|e| e.to_string())
}
