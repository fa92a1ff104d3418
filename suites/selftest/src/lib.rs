//! Cases that must fail, hang, leak and panic: the engine's own proof.
//!
//! No run of the executable holds them: they are no statement about a runtime. `harness/cli/tests/engine.rs` is a
//! program that is its own worker, runs them through the engine, and asserts the outcome of each.

// A case is an async function, also one that has nothing to wait for.
#![allow(clippy::unused_async)]

use plimsoll_kit::case::Drives;
use plimsoll_kit::{Section, Suite};

pub mod leaks;
pub mod outcomes;
pub mod trouble;
pub mod turns;

/// One line per file.
pub static SECTIONS: &[Section] = &[
    Section { name: "outcomes", cases: outcomes::CASES },
    Section { name: "trouble", cases: trouble::CASES },
    Section { name: "leaks", cases: leaks::CASES },
    Section { name: "turns", cases: turns::CASES },
];

/// The suite.
pub static SUITE: Suite = Suite {
    name: "selftest",
    title: "Cases that must end in a known way",
    drives: Drives::Oci,
    requirements: &[("engine", include_str!("../requirements/engine.tsv"))],
    waivers: &[],
    leak_requirement: "self.leaves-nothing",
    clause_url: "",
    sections: &[SECTIONS],
};

#[cfg(test)]
mod tests {
    #[test]
    fn the_tables_are_sound() {
        assert_eq!(super::SUITE.defects(), Vec::<String>::new());
    }
}
