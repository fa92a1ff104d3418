//! Faults on demand: an OCI runtime that wraps any other and breaks one rule of it at a time.
//!
//! `plimsoll-faults --fault ID --target /usr/sbin/runc -- ARGS...` behaves as the target does, but for the
//! one thing that the fault names. With fault `none` it becomes the target at once. The faults are rows of
//! one table ([`catalogue`]), written in a small language ([`grammar`]): a new fault is a line, not code.
//!
//! A conformance suite that stays green under a fault has a hole where the fault is.

pub mod bench;
mod carrier;
mod carrier_home;
pub mod catalogue;
mod cli;
mod context;
pub mod cri;
mod effects;
mod engine;
mod error;
#[cfg(test)]
mod every_fault;
pub mod grammar;
mod helpers;
mod hook;
mod invocation;
pub mod json;
mod memory;
pub mod notify;
mod outside;
mod recreate;
pub mod step;
mod supervise;
mod sys;
mod target;

pub use catalogue::{Fault, catalogue, find, uncoverable};
pub use cli::{run, run_as};
