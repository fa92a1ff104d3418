//! The de-facto command line of OCI runtimes: what engines and people call, and what they read from the answers.
//!
//! No specification holds it. Verbs and flags that a target does not have are found by its own help texts.

use plimsoll_kit::case::Drives;
use plimsoll_kit::{Section, Suite};

pub mod create;
pub mod delete;
pub mod documents;
pub mod exec;
pub mod exec_flags;
pub mod exec_process;
pub mod global;
pub mod kill;
pub mod pause;
pub mod ps_list;
pub mod run;
pub mod support;
pub mod surface;
pub mod update;

/// One line per file.
pub static SECTIONS: &[Section] = &[
    Section { name: "global", cases: global::CASES },
    Section { name: "create", cases: create::CASES },
    Section { name: "run", cases: run::CASES },
    Section { name: "kill", cases: kill::CASES },
    Section { name: "delete", cases: delete::CASES },
    Section { name: "exec", cases: exec::CASES },
    Section { name: "exec-flags", cases: exec_flags::CASES },
    Section { name: "exec-process", cases: exec_process::CASES },
    Section { name: "pause", cases: pause::CASES },
    Section { name: "ps-list", cases: ps_list::CASES },
    Section { name: "update", cases: update::CASES },
    Section { name: "documents", cases: documents::CASES },
    Section { name: "surface", cases: surface::CASES },
];

/// The suite.
pub static SUITE: Suite = Suite {
    name: "runc-cli",
    title: "De-facto command line of OCI runtimes",
    drives: Drives::Oci,
    requirements: &[("command-line", include_str!("../requirements/command-line.tsv"))],
    waivers: &[],
    leak_requirement: "cli.leaves-nothing",
    clause_url: "",
    sections: &[SECTIONS],
};

#[cfg(test)]
mod tests {
    #[test]
    fn the_tables_are_sound() {
        assert_eq!(super::SUITE.defects(), Vec::<String>::new());
    }

    #[test]
    fn every_row_has_a_case() {
        assert_eq!(super::SUITE.open().unwrap(), Vec::<String>::new());
        assert!(super::SUITE.waivers.is_empty());
    }
}
