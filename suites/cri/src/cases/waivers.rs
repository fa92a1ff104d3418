//! Requirements that no case covers, each with its reason.

use plimsoll_kit::case::Waiver;

const NRI: &str =
    "the node resource interface is another protocol on another socket; an endpoint of v1 need not have it";

/// Rows without a case.
pub static WAIVERS: &[Waiver] =
    &[("nri.pod-lifecycle", NRI), ("nri.container-lifecycle", NRI), ("nri.hook-error-fails-call", NRI)];
