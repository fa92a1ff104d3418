//! A private containerd for tests: own root, state, socket and CNI configuration, a pause image from this
//! process, and one runtime handler per OCI runtime that is installed.
//!
//! It runs in a mount namespace of its own, where `/run` and the CNI state are empty file systems, so that
//! another containerd of the machine is neither seen nor disturbed and every mount ends with the last process.
//! See `README.md` beside this crate for the configuration that is written and why.

mod cgroup;
mod config;
mod process;
mod sys;
mod testbed;

pub use config::Handler;
pub use testbed::{Options, Testbed, TestbedError};
