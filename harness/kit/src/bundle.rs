//! Bundles: a configuration as a JSON value, so that malformed ones can be expressed, and a root file system that
//! holds the probe and nothing else.

use crate::stop::Stop;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Directories of every root file system.
const DIRECTORIES: &[&str] = &["proc", "sys", "dev", "tmp", "etc", "root", "mnt", "run"];

/// A bundle on disk.
#[derive(Debug, Clone)]
pub struct Bundle {
    dir: PathBuf,
}

impl Bundle {
    /// Makes `dir` with a root file system `rootfs` in it; `probe` is hard-linked, so it must be on the same
    /// file system.
    pub fn create(dir: &Path, probe: &Path) -> Result<Self, Stop> {
        let rootfs = dir.join("rootfs");
        for name in DIRECTORIES {
            fs::create_dir_all(rootfs.join(name))?;
        }
        fs::hard_link(probe, rootfs.join("probe"))?;
        let passwd = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n";
        fs::write(rootfs.join("etc/passwd"), passwd)?;
        fs::write(rootfs.join("etc/group"), "root:x:0:\nuser:x:1000:\n")?;
        symlink("/proc/self/mounts", rootfs.join("etc/mtab"))?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// The bundle directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The root file system's directory.
    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// Writes `config.json`.
    pub fn write(&self, config: &Value) -> Result<(), Stop> {
        self.write_bytes("config.json", config.to_string().as_bytes())
    }

    /// Writes any file of the bundle.
    pub fn write_bytes(&self, name: &str, bytes: &[u8]) -> Result<(), Stop> {
        Ok(fs::write(self.dir.join(name), bytes)?)
    }
}

/// Capabilities of the default configuration: what the field's tools give by default.
pub const DEFAULT_CAPABILITIES: [&str; 3] = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];

/// The default configuration: valid under every version since 1.0.0, and like what `spec` commands print.
pub fn default_config(oci_version: &str, args: &[String], cgroups_path: &str) -> Value {
    let caps = json!(DEFAULT_CAPABILITIES);
    json!({
        "ociVersion": oci_version,
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": args,
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": caps, "effective": caps, "permitted": caps },
            "noNewPrivileges": true
        },
        "root": { "path": "rootfs", "readonly": false },
        "hostname": "plimsoll",
        "mounts": default_mounts(),
        "linux": {
            "cgroupsPath": cgroups_path,
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }
            ],
            "maskedPaths": ["/proc/acpi", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}

/// The file systems that config-linux.md lists as available by default, and the usual ones beside them.
fn default_mounts() -> Value {
    json!([
        { "destination": "/proc", "type": "proc", "source": "proc" },
        { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
          "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
        { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
          "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] },
        { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
          "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
        { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
          "options": ["nosuid", "noexec", "nodev"] },
        { "destination": "/sys", "type": "sysfs", "source": "sysfs",
          "options": ["nosuid", "noexec", "nodev", "ro"] }
    ])
}
