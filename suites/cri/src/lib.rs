//! The container runtime interface v1: one file per area, the catalogue beside them in `requirements/`.
//!
//! Knows the interface and what an endpoint declares, never a product.

// Summaries of cases are shown as plain text in reports; requests are large and every case runs alone.
#![allow(clippy::doc_markdown, clippy::large_futures)]

use plimsoll_kit::Suite;
use plimsoll_kit::case::Drives;

pub mod cases;
mod prelude;

/// The suite.
pub static SUITE: Suite = Suite {
    name: "cri",
    title: "Container Runtime Interface v1",
    drives: Drives::Cri,
    requirements: &[
        ("transport", include_str!("../requirements/transport.tsv")),
        ("status", include_str!("../requirements/status.tsv")),
        ("sandbox", include_str!("../requirements/sandbox.tsv")),
        ("container", include_str!("../requirements/container.tsv")),
        ("security", include_str!("../requirements/security.tsv")),
        ("exec-sync", include_str!("../requirements/exec-sync.tsv")),
        ("streaming", include_str!("../requirements/streaming.tsv")),
        ("log", include_str!("../requirements/log.tsv")),
        ("events", include_str!("../requirements/events.tsv")),
        ("stats", include_str!("../requirements/stats.tsv")),
        ("checkpoint", include_str!("../requirements/checkpoint.tsv")),
        ("image", include_str!("../requirements/image.tsv")),
        ("network", include_str!("../requirements/network.tsv")),
        ("robust", include_str!("../requirements/robust.tsv")),
        ("kubelet", include_str!("../requirements/kubelet.tsv")),
    ],
    waivers: &[cases::WAIVERS],
    leak_requirement: "robust.leak.pods",
    clause_url: "https://github.com/kubernetes/cri-api/blob/master/pkg/apis/runtime/v1/",
    sections: &[cases::SECTIONS],
};

#[cfg(test)]
mod tests {
    #[test]
    fn the_tables_are_sound() {
        assert_eq!(super::SUITE.defects(), Vec::<String>::new());
    }
}
