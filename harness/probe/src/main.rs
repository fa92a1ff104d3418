//! The guest: one small static program that reports facts from inside a container.
//!
//! It takes a script of questions, answers each with one JSON line that carries the script's nonce, and ends with
//! a `done` line. It never judges and interprets nothing that a test compares: the host does that. The steps,
//! their arguments and the shape of their answers are listed in `harness/docs/PROBE.md`.
//!
//! It is `no_std` with a C `main`: nothing runs before the first statement of ours except libc's own start-up, so
//! that signal dispositions, descriptors and the start stamp are those that the runtime handed over.
#![no_std]
#![no_main]
// All steps have one signature, also those that cannot fail.
#![allow(clippy::unnecessary_wraps)]

extern crate alloc;
// A profile that unwinds needs std's personality routine; `--profile probe` aborts and links none of std.
#[cfg(panic = "unwind")]
extern crate std;

mod act;
mod ask;
mod bytes;
mod fail;
mod modes;
mod names;
mod prelude;
mod script;
mod step;
mod steps;
mod sys;
