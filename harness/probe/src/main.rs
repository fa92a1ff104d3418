//! The guest: reports facts from inside a container.

fn main() {}
