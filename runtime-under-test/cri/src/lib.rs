//! The reference CRI server: a small, real server of CRI v1 over any OCI runtime binary.
//!
//! Images, sandboxes, containers, streams, statistics and events are kept by one daemon; everything
//! that must survive it (standard streams, logs, exit codes) is held by one small monitor process per pod.

#![allow(
    clippy::unused_self,
    reason = "steps of one operation are methods of the object they belong to, whether or not this one reads a field"
)]
#![allow(
    clippy::format_collect,
    clippy::format_push_string,
    reason = "a handful of short lines, read more easily"
)]
#![allow(clippy::single_match_else, reason = "both arms of these matches matter equally")]

use std::ffi::OsString;

pub mod api;
mod cli;
pub mod config;
pub mod error;
pub mod images;
mod monitor;
mod net;
mod oci;
mod pods;
mod server;
mod service;
mod stats;
mod stream;
mod sys;
mod util;

/// Runs the program with `args` (without the program's name) and returns its exit code:
/// 0 good, 1 failed, 2 usage.
pub fn run<I>(args: I) -> u8
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    cli::run(args.into_iter().map(Into::into).collect())
}
