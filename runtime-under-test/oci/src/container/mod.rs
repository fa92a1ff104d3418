//! The operations on containers (runtime.md "Operations" and "Lifecycle").

pub mod create;
pub mod criu;
pub mod exec;
mod fds;
mod init;
mod join;
pub mod ops;
mod ownership;
pub mod run;
mod teardown;
pub mod update;

pub use fds::Inherited;
