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
    use std::collections::BTreeSet;

    #[test]
    fn the_tables_are_sound() {
        assert_eq!(super::SUITE.defects(), Vec::<String>::new());
    }

    #[test]
    fn every_row_has_a_case() {
        let covered: BTreeSet<&str> =
            super::SUITE.bound().unwrap().into_iter().flat_map(|b| b.covers).collect();
        let catalogue = super::SUITE.catalogue().unwrap();
        let bare: Vec<&str> =
            catalogue.rows().iter().map(|r| r.id.as_str()).filter(|id| !covered.contains(id)).collect();
        assert_eq!(bare, ["sec.leaves-nothing"]);
    }
}
