//! The reference OCI runtime.

pub mod cgroup;
pub mod seccomp;
