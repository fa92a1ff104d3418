//! The `features` document (features.md, features-linux.md). Its content is fixed when the program is built.

use crate::config::validate::{VERSION_MAX, VERSION_MIN};
use crate::process::{caps, sched};
use crate::rootfs::options;
use serde_json::{Value, json};

/// The document.
pub fn document() -> Value {
    let names = |table: &[(&'static str, u32)]| table.iter().map(|(n, _)| *n).collect::<Vec<_>>();
    let capabilities: Vec<String> = caps::NAMES.iter().map(|n| format!("CAP_{n}")).collect();
    json!({
        "ociVersionMin": VERSION_MIN,
        "ociVersionMax": VERSION_MAX,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": options::known().collect::<Vec<_>>(),
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": capabilities,
            "cgroup": { "v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true },
            "seccomp": crate::seccomp::features(),
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": true, "schemata": true, "monitoring": true },
            "memoryPolicy": { "modes": names(&sched::MEMORY_MODES), "flags": names(&sched::MEMORY_FLAGS) },
            "mountExtensions": { "idmap": { "enabled": true } },
            "netDevices": { "enabled": true }
        },
        "annotations": { "org.plimsoll.oci.version": env!("CARGO_PKG_VERSION") },
        "potentiallyUnsafeConfigAnnotations": []
    })
}
