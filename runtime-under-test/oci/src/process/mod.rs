//! What config.md "Process" asks of the container process, one concept per module.

pub mod caps;
pub mod identity;
pub mod program;
pub mod rlimit;
pub mod sched;
pub mod setup;
pub mod sysctl;
pub mod tty;
