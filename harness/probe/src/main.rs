//! The guest: one small static program that reports facts from inside a container.
//!
//! It takes a script of questions, answers each with one JSON line that carries the script's nonce, and ends with
//! a `done` line. It never judges and interprets nothing that a test compares: the host does that. The steps,
//! their arguments and the shape of their answers are listed in `harness/docs/PROBE.md`.
//!
//! It uses neither std nor libc: nothing runs before the first statement of ours, so that signal dispositions,
//! descriptors and the start stamp are those that the runtime handed over, and a start costs a fraction of what
//! libc's own start-up does.
#![no_std]
#![no_main]
// All steps have one signature, also those that cannot fail.
#![allow(clippy::unnecessary_wraps)]

extern crate alloc;
// A profile that unwinds needs std's personality routine (and nothing else of it); `--profile probe` aborts and links
// nothing at all.
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
