//! The areas of the interface, one file each.

use plimsoll_kit::Section;

pub mod attach;
pub mod checkpoint;
pub mod confinement;
pub mod container_config;
pub mod container_life;
pub mod container_status;
pub mod container_stop;
pub mod devices;
pub mod events;
pub mod exec_sync;
pub mod frames;
pub mod image;
pub mod image_pull;
pub mod image_volumes;
pub mod kubelet;
pub mod log;
pub mod metrics;
pub mod mounts;
pub mod namespaces;
pub mod network;
pub mod pod_config;
pub mod restart;
pub mod robust;
pub mod sandbox;
pub mod security;
pub mod stats;
pub mod status;
pub mod streaming;
pub mod transport;
pub mod userns;
pub mod users;
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
    Section { name: "container-stop", cases: container_stop::CASES },
    Section { name: "container-config", cases: container_config::CASES },
    Section { name: "mounts", cases: mounts::CASES },
    Section { name: "devices", cases: devices::CASES },
    Section { name: "container-status", cases: container_status::CASES },
    Section { name: "security", cases: security::CASES },
    Section { name: "users", cases: users::CASES },
    Section { name: "confinement", cases: confinement::CASES },
    Section { name: "image", cases: image::CASES },
    Section { name: "image-pull", cases: image_pull::CASES },
    Section { name: "stats", cases: stats::CASES },
    Section { name: "metrics", cases: metrics::CASES },
    Section { name: "events", cases: events::CASES },
    Section { name: "robust", cases: robust::CASES },
    Section { name: "restart", cases: restart::CASES },
    Section { name: "checkpoint", cases: checkpoint::CASES },
    Section { name: "kubelet", cases: kubelet::CASES },
    Section { name: "image-volumes", cases: image_volumes::CASES },
    Section { name: "log", cases: log::CASES },
    Section { name: "exec-sync", cases: exec_sync::CASES },
    Section { name: "streaming", cases: streaming::CASES },
    Section { name: "frames", cases: frames::CASES },
    Section { name: "attach-and-forward", cases: attach::CASES },
];
