//! Protections whose absence was a known vulnerability. Detection only: canaries are the harness's own directories,
//! descriptors and variables; files of the host are at most opened, never written.

use plimsoll_kit::case::Drives;
use plimsoll_kit::{Section, Suite};

pub mod confined;
pub mod host;
pub mod inside;
pub mod leaks;
pub mod races;
pub mod support;

/// One line per file.
pub static SECTIONS: &[Section] = &[
    Section { name: "leaks", cases: leaks::CASES },
    Section { name: "confined", cases: confined::CASES },
    Section { name: "inside", cases: inside::CASES },
    Section { name: "host", cases: host::CASES },
    Section { name: "races", cases: races::CASES },
];

/// The suite.
pub static SUITE: Suite = Suite {
    name: "security",
    title: "Protections whose absence was a vulnerability",
    drives: Drives::Oci,
    requirements: &[("protections", include_str!("../requirements/protections.tsv"))],
    waivers: &[],
    leak_requirement: "sec.leaves-nothing",
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

    #[test]
    fn races_are_for_those_who_name_them() {
        let races: Vec<_> = super::races::CASES.iter().filter(|c| !c.tags.contains(&"race")).collect();
        assert!(races.is_empty(), "{races:?}");
    }
}
