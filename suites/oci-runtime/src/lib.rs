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
    #[test]
    fn the_tables_are_sound() {
        assert_eq!(super::SUITE.defects(), Vec::<String>::new());
    }
}
