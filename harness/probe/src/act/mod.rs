//! Deeds: steps that change something, wait, or end the process.
mod ends;
mod waits;

use crate::steps::{Bound::Own, List};

/// All deeds, by name.
pub const STEPS: List = &[
    ("exit", Own, ends::exit),
    ("die", Own, ends::die),
    ("exec_self", Own, ends::exec_self),
    ("sleep", Own, waits::sleep),
    ("wait", Own, waits::wait),
    ("signals", Own, waits::signals),
    ("pause_forever", Own, waits::pause_forever),
    ("wait_file", Own, waits::wait_file),
    ("print", Own, waits::print),
    ("write_out", Own, waits::print),
    ("flood", Own, waits::flood),
];
