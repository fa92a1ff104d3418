//! The reference OCI runtime: runtime-spec 1.3.0 for Linux with the runc-compatible command line.
//!
//! [`run`] is the whole program. The modules follow the chapters of the specification.

pub mod cgroup;
mod cli;
mod config;
mod container;
mod error;
mod features;
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
mod template;

pub use cli::run;
