//! The bundle that every arm starts: six namespaces, the usual mounts, the guest as its only program.
//!
//! One root file system serves all containers; each slot (an arm and a place in its concurrency) has its
//! own `config.json`, because two containers that share a cgroup path corrupt each other's clean-up.

use serde_json::{Value, json};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where the guest is inside the container.
pub const GUEST: &str = "/probe";

/// Where the program for the work inside is, if there is one.
pub const INSIDE: &str = "/inside";

/// Paths that the runtime has to hide (the customary list).
pub const MASKED_PATHS: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];

/// Paths that the runtime has to write-protect (the customary list).
pub const READ_ONLY_PATHS: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What the guest does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guest {
    /// Writes its stamp and exits 0.
    Stamp,
    /// Writes its stamp and waits for SIGTERM.
    StampPause,
}

impl Guest {
    /// The guest's command line inside the container.
    pub const fn argv(self) -> [&'static str; 2] {
        match self {
            Self::Stamp => [GUEST, "stamp"],
            Self::StampPause => [GUEST, "stamp-pause"],
        }
    }
}

/// Makes the root file system: mount points, the guest, and the program for the work inside if there is one.
pub fn make_root(root: &Path, guest: &Path, inside_program: Option<&Path>) -> io::Result<()> {
    for dir in ["proc", "dev", "sys", "tmp"] {
        fs::create_dir_all(root.join(dir))?;
    }
    for (from, to) in [(Some(guest), GUEST), (inside_program, INSIDE)] {
        if let Some(from) = from {
            let to = root.join(to.trim_start_matches('/'));
            fs::copy(from, &to)?;
            fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

/// The configuration of one slot.
pub fn config(root: &Path, guest: Guest, cgroups_path: &str, memory_limit: Option<u64>) -> Value {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": source, "options": options });
    let mut resources = json!({ "devices": [{ "allow": false, "access": "rwm" }] });
    if let Some(bytes) = memory_limit {
        resources["memory"] = json!({ "limit": bytes });
    }
    let namespaces: Vec<Value> =
        ["pid", "network", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({ "type": kind })).into();
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": guest.argv(),
            "env": ["PATH=/usr/bin:/bin"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
            "noNewPrivileges": true,
        },
        "root": { "path": root, "readonly": false },
        "hostname": "plimsoll",
        "mounts": [
            mount("/proc", "proc", "proc", &[]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
            mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        ],
        "linux": {
            "cgroupsPath": cgroups_path,
            "resources": resources,
            "namespaces": namespaces,
            "maskedPaths": MASKED_PATHS,
            "readonlyPaths": READ_ONLY_PATHS,
        },
    })
}

/// Writes a slot's bundle directory and returns it.
pub fn write(dir: PathBuf, config: &Value) -> io::Result<PathBuf> {
    fs::create_dir_all(&dir)?;
    let text = serde_json::to_vec_pretty(config)?;
    fs::write(dir.join("config.json"), text)?;
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundle_names_six_namespaces_and_its_own_cgroup() {
        let c = config(Path::new("/r"), Guest::Stamp, "/bench/a", Some(1 << 20));
        assert_eq!(c["linux"]["namespaces"].as_array().unwrap().len(), 6);
        assert_eq!(c["linux"]["cgroupsPath"], "/bench/a");
        assert_eq!(c["linux"]["resources"]["memory"]["limit"], 1 << 20);
        assert_eq!(c["process"]["args"], json!(["/probe", "stamp"]));
        assert!(c["root"]["path"].is_string());
    }

    #[test]
    fn root_holds_the_guest_and_the_mount_points() {
        let dir = tempfile::tempdir().unwrap();
        let guest = dir.path().join("guest");
        fs::write(&guest, "x").unwrap();
        make_root(&dir.path().join("root"), &guest, None).unwrap();
        assert!(dir.path().join("root/proc").is_dir());
        let mode = fs::metadata(dir.path().join("root/probe")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        assert!(make_root(&dir.path().join("root"), Path::new("/nonexistent"), None).is_err());
    }
}
