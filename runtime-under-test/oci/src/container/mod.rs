//! The operations on containers (runtime.md "Operations" and "Lifecycle").

pub mod create;
mod fds;
mod init;
pub mod ops;
pub mod run;
mod teardown;

pub use fds::Inherited;
