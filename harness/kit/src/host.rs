//! The host as the harness sees it: facts for every report, and the cgroup hierarchies.

use plimsoll_model::HostFacts;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A mounted cgroup hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// Version 1 controllers (or `name=...`); empty for version 2.
    pub controllers: Vec<String>,
    /// Whether it is version 2.
    pub unified: bool,
}

/// The cgroup hierarchies mounted in this mount namespace.
pub fn hierarchies() -> Vec<Hierarchy> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in text.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let mount = left.split(' ').nth(4).unwrap_or_default();
        let mut right = right.split(' ');
        let (kind, options) = (right.next().unwrap_or_default(), right.nth(1).unwrap_or_default());
        let unified = kind == "cgroup2";
        if !unified && kind != "cgroup" {
            continue;
        }
        let controllers: Vec<String> = if unified {
            Vec::new()
        } else {
            options
                .split(',')
                .filter(|o| !matches!(*o, "rw" | "ro" | "xattr") && !o.starts_with("release_agent"))
                .map(str::to_owned)
                .collect()
        };
        if !found.iter().any(|h| h.unified == unified && h.controllers == controllers) {
            found.push(Hierarchy { mount: PathBuf::from(mount), controllers, unified });
        }
    }
    found
}

/// The directory of a version 1 controller, or the version 2 mount for a controller that is enabled there.
pub fn controller_mount(controller: &str) -> Option<PathBuf> {
    let all = hierarchies();
    let v1 = all.iter().find(|h| h.controllers.iter().any(|c| c == controller));
    v1.or_else(|| all.iter().find(|h| h.unified && v2_controllers(&h.mount).iter().any(|c| c == controller)))
        .map(|h| h.mount.clone())
}

fn v2_controllers(mount: &Path) -> Vec<String> {
    let text = fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// All capabilities by number.
pub const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// Collects the facts. Reads files only; an unreadable one leaves its fact empty.
pub fn facts() -> HostFacts {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let uname = nix::sys::utsname::uname().ok();
    let all = hierarchies();
    let (v1, v2): (Vec<_>, Vec<_>) = all.iter().partition(|h| !h.unified);
    let cgroups = match (v1.is_empty(), v2.is_empty()) {
        (true, true) => "none",
        (true, false) => "v2",
        (false, true) => "v1",
        (false, false) => "hybrid",
    };
    let mut controllers = BTreeMap::new();
    controllers.insert("v1".to_owned(), v1.iter().flat_map(|h| h.controllers.clone()).collect());
    controllers.insert("v2".to_owned(), v2.iter().flat_map(|h| v2_controllers(&h.mount)).collect());
    let status = read("/proc/self/status");
    let bits = status
        .lines()
        .find_map(|l| l.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or_default();
    let missing =
        CAPABILITIES.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 0).map(|(_, n)| (*n).to_owned());
    let memory = read("/proc/meminfo");
    let total = memory.lines().find_map(|l| l.strip_prefix("MemTotal:")).unwrap_or_default();
    HostFacts {
        kernel: uname.as_ref().map(|u| u.release().to_string_lossy().into_owned()).unwrap_or_default(),
        machine: uname.as_ref().map(|u| u.machine().to_string_lossy().into_owned()).unwrap_or_default(),
        os: read("/etc/os-release")
            .lines()
            .find_map(|l| l.strip_prefix("PRETTY_NAME="))
            .map(|n| n.trim_matches('"').to_owned())
            .unwrap_or_default(),
        cgroups: cgroups.to_owned(),
        controllers,
        lsm: read("/sys/kernel/security/lsm")
            .split(',')
            .filter(|s| !s.is_empty())
            .map(str::to_owned)
            .collect(),
        missing_capabilities: missing.collect(),
        cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
        memory_kib: total.trim().trim_end_matches(" kB").parse().unwrap_or_default(),
        facts: names(),
    }
}

/// What tells hosts apart where reports of several stand side by side: `hostname`, and `node`, which an orchestrator
/// knows better than the host does (`PLIMSOLL_NODE`; in a pod the host's name is the pod's).
fn names() -> BTreeMap<String, serde_json::Value> {
    let hostname = nix::unistd::gethostname().ok().and_then(|n| n.into_string().ok());
    let node = std::env::var("PLIMSOLL_NODE").ok();
    let named = [("hostname", hostname), ("node", node)];
    let full = named.into_iter().filter_map(|(key, name)| Some((key, name.filter(|n| !n.is_empty())?)));
    full.map(|(key, name)| (key.to_owned(), name.into())).collect()
}

/// Processes in a cgroup and all below it.
pub fn processes_below(dir: &Path) -> Vec<i32> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<i32> = text.lines().filter_map(|l| l.parse().ok()).filter(|p| *p > 0).collect();
    for child in sub_directories(dir) {
        pids.extend(processes_below(&child));
    }
    pids
}

/// Removes a cgroup and all below it, deepest first. A cgroup that is busy stays.
pub fn remove_cgroup(dir: &Path) {
    for child in sub_directories(dir) {
        remove_cgroup(&child);
    }
    let _ = fs::remove_dir(dir);
}

/// Directories directly below `dir`.
pub fn sub_directories(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}
