//! config-linux.md: one file per section.

use plimsoll_kit::Section;
use plimsoll_kit::case::Waiver;

pub mod cgroups;
pub mod devices;
pub mod ids_and_clocks;
pub mod kernel;
pub mod namespaces;
pub mod net_devices;
pub mod rdt;
pub mod resources;
pub mod schema;
pub mod seccomp;
pub mod seccomp_notify;
mod support;
pub mod unset_resources;

/// One line per file.
pub static SECTIONS: &[Section] = &[
    Section { name: "namespaces", cases: namespaces::CASES },
    Section { name: "id-mappings", cases: ids_and_clocks::CASES },
    Section { name: "cgroups", cases: cgroups::CASES },
    Section { name: "linux-kernel", cases: kernel::CASES },
    Section { name: "devices", cases: devices::CASES },
    Section { name: "linux-resources", cases: resources::CASES },
    Section { name: "linux-resources-unset", cases: unset_resources::CASES },
    Section { name: "seccomp", cases: seccomp::CASES },
    Section { name: "net-devices", cases: net_devices::CASES },
    Section { name: "seccomp-notify", cases: seccomp_notify::CASES },
    Section { name: "intel-rdt", cases: rdt::CASES },
    Section { name: "linux-values", cases: schema::CASES },
];

/// Rows without a case.
pub static WAIVERS: &[Waiver] = &[];
