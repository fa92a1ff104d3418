//! The areas of the interface, one file each.

use plimsoll_kit::Section;

pub mod attach;
pub mod container_config;
pub mod container_life;
pub mod container_status;
pub mod exec_sync;
pub mod image;
pub mod image_volumes;
pub mod log;
pub mod namespaces;
pub mod network;
pub mod pod_config;
pub mod robust;
pub mod sandbox;
pub mod security;
pub mod stats;
pub mod status;
pub mod streaming;
pub mod transport;
pub mod userns;
mod waivers;

pub use waivers::WAIVERS;

/// One line per file.
pub static SECTIONS: &[Section] = &[
    Section { name: "transport", cases: transport::CASES },
    Section { name: "status", cases: status::CASES },
    Section { name: "sandbox", cases: sandbox::CASES },
    Section { name: "pod-config", cases: pod_config::CASES },
    Section { name: "namespaces", cases: namespaces::CASES },
    Section { name: "userns", cases: userns::CASES },
    Section { name: "network", cases: network::CASES },
    Section { name: "container-life", cases: container_life::CASES },
    Section { name: "container-config", cases: container_config::CASES },
    Section { name: "container-status", cases: container_status::CASES },
    Section { name: "security", cases: security::CASES },
    Section { name: "image", cases: image::CASES },
    Section { name: "stats", cases: stats::CASES },
    Section { name: "robust", cases: robust::CASES },
    Section { name: "image-volumes", cases: image_volumes::CASES },
    Section { name: "log", cases: log::CASES },
    Section { name: "exec-sync", cases: exec_sync::CASES },
    Section { name: "streaming", cases: streaming::CASES },
    Section { name: "attach-and-forward", cases: attach::CASES },
];
