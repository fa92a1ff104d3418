//! The plimsoll executable.

fn main() {}
