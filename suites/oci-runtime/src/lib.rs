//! The OCI runtime-spec, clause by clause: one file per section, the catalogue beside them in `requirements/`.
//!
//! Knows the specification and what a target declares, never a product.

use plimsoll_kit::Suite;
use plimsoll_kit::case::Drives;

pub mod config;
pub mod config_linux;
pub mod features;
pub mod runtime;

/// The suite.
pub static SUITE: Suite = Suite {
    name: "oci-runtime",
    title: "OCI runtime-spec 1.3.0",
    drives: Drives::Oci,
    requirements: &[
        ("spec", include_str!("../requirements/spec.tsv")),
        ("bundle", include_str!("../requirements/bundle.tsv")),
        ("glossary", include_str!("../requirements/glossary.tsv")),
        ("runtime", include_str!("../requirements/runtime.tsv")),
        ("runtime-linux", include_str!("../requirements/runtime-linux.tsv")),
        ("config", include_str!("../requirements/config.tsv")),
        ("config-linux", include_str!("../requirements/config-linux.tsv")),
        ("features", include_str!("../requirements/features.tsv")),
        ("features-linux", include_str!("../requirements/features-linux.tsv")),
    ],
    waivers: &[runtime::WAIVERS, config::WAIVERS, config_linux::WAIVERS, features::WAIVERS],
    leak_requirement: "delete.undoes-create",
    clause_url: "https://github.com/opencontainers/runtime-spec/blob/v1.3.0/",
    sections: &[runtime::SECTIONS, config::SECTIONS, config_linux::SECTIONS, features::SECTIONS],
};

#[cfg(test)]
mod tests {
    use super::SUITE;
    use plimsoll_model::Level;
    use std::collections::BTreeSet;

    #[test]
    fn the_tables_are_sound() {
        assert_eq!(SUITE.defects(), Vec::<String>::new());
    }

    #[test]
    fn every_row_has_a_case_or_a_waiver() {
        assert_eq!(SUITE.open().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn duties_are_tested_and_not_waived() {
        let covered: BTreeSet<&str> = SUITE.bound().unwrap().into_iter().flat_map(|b| b.covers).collect();
        let catalogue = SUITE.catalogue().unwrap();
        let count = |wanted: fn(Level) -> bool| {
            let rows = catalogue.rows().iter().filter(|r| wanted(r.level));
            rows.fold((0, 0), |(all, tested), r| {
                (all + 1, tested + u32::from(covered.contains(r.id.as_str())))
            })
        };
        let (must, tested) = count(Level::is_must);
        assert_eq!((must, tested >= 300), (311, true), "{tested} of {must} rows at MUST level have a case");
        let advice = |l: Level| matches!(l, Level::Should | Level::ShouldNot | Level::NotRecommended);
        let (should, tested) = count(advice);
        assert_eq!(
            (should, tested >= 50),
            (57, true),
            "{tested} of {should} rows at SHOULD level have a case"
        );
    }
}
