//! The suites of this build, written out.

use plimsoll_kit::Suite;

/// All suites, in the order in which they run.
pub static ALL: &[&Suite] = &[
    &plimsoll_suite_oci_runtime::SUITE,
    &plimsoll_suite_runc_cli::SUITE,
    &plimsoll_suite_security::SUITE,
    &plimsoll_suite_cri::SUITE,
];

/// What workers know: all suites, and the one by which the engine's own cost is measured.
pub static FOR_WORKERS: &[&Suite] = &[
    &plimsoll_suite_oci_runtime::SUITE,
    &plimsoll_suite_runc_cli::SUITE,
    &plimsoll_suite_security::SUITE,
    &plimsoll_suite_cri::SUITE,
    &crate::bench::worker::SUITE,
];
