//! `linux` (config-linux.md).

use super::Opt;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The Linux section. `resources` and `seccomp` are kept raw: their modules parse them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Linux {
    /// Namespaces to make or join.
    #[serde(deserialize_with = "super::object::list")]
    pub namespaces: Vec<Namespace>,
    /// User mapping of the user namespace.
    #[serde(deserialize_with = "super::object::list")]
    pub uid_mappings: Vec<IdMapping>,
    /// Group mapping of the user namespace.
    #[serde(deserialize_with = "super::object::list")]
    pub gid_mappings: Vec<IdMapping>,
    /// Clock offsets of the time namespace.
    #[serde(deserialize_with = "super::object::map")]
    pub time_offsets: BTreeMap<String, TimeOffset>,
    /// Devices beyond the default ones.
    #[serde(deserialize_with = "super::object::list")]
    pub devices: Vec<Device>,
    /// Host network devices to move in, by host name.
    #[serde(deserialize_with = "super::object::map")]
    pub net_devices: BTreeMap<String, NetDevice>,
    /// Place in the cgroup hierarchy.
    pub cgroups_path: Opt<String>,
    /// cgroup settings.
    pub resources: Opt<serde_json::Value>,
    /// Intel RDT.
    #[serde(deserialize_with = "super::object::optional")]
    pub intel_rdt: Opt<IntelRdt>,
    /// NUMA memory policy.
    #[serde(deserialize_with = "super::object::optional")]
    pub memory_policy: Opt<MemoryPolicy>,
    /// Kernel parameters.
    pub sysctl: BTreeMap<String, String>,
    /// System call filter.
    pub seccomp: Opt<serde_json::Value>,
    /// Propagation of the root mount.
    pub rootfs_propagation: Opt<String>,
    /// Paths without content inside.
    pub masked_paths: Vec<String>,
    /// Paths that are read-only inside.
    pub readonly_paths: Vec<String>,
    /// `SELinux` context of the mounts.
    pub mount_label: Opt<String>,
    /// Execution domain.
    #[serde(deserialize_with = "super::object::optional")]
    pub personality: Opt<Personality>,
}

/// The namespace types of config-linux.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamespaceKind {
    /// Process ids.
    Pid,
    /// Network.
    Network,
    /// Mounts.
    Mount,
    /// System V IPC and POSIX queues.
    Ipc,
    /// Host and domain name.
    Uts,
    /// Users and capabilities.
    User,
    /// cgroup view.
    Cgroup,
    /// Clocks.
    Time,
}

impl NamespaceKind {
    /// The kernel's flag.
    pub fn flag(self) -> i32 {
        match self {
            Self::Pid => libc::CLONE_NEWPID,
            Self::Network => libc::CLONE_NEWNET,
            Self::Mount => libc::CLONE_NEWNS,
            Self::Ipc => libc::CLONE_NEWIPC,
            Self::Uts => libc::CLONE_NEWUTS,
            Self::User => libc::CLONE_NEWUSER,
            Self::Cgroup => libc::CLONE_NEWCGROUP,
            Self::Time => libc::CLONE_NEWTIME,
        }
    }

    /// The file name below `/proc/<pid>/ns`.
    pub fn file(self) -> &'static str {
        match self {
            Self::Pid => "pid",
            Self::Network => "net",
            Self::Mount => "mnt",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::User => "user",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }
}

/// One entry of `linux.namespaces`.
#[derive(Debug, Clone, Deserialize)]
pub struct Namespace {
    /// Type; REQUIRED.
    #[serde(rename = "type")]
    pub kind: NamespaceKind,
    /// Namespace to join; absent or empty: a new one.
    #[serde(default, deserialize_with = "non_empty")]
    pub path: Option<String>,
}

fn non_empty<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    String::deserialize(d).map(|s| (!s.is_empty()).then_some(s))
}

/// A range of user or group ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct IdMapping {
    /// First id inside.
    #[serde(rename = "containerID")]
    pub container_id: u32,
    /// First id outside.
    #[serde(rename = "hostID")]
    pub host_id: u32,
    /// Number of ids.
    pub size: u32,
}

/// Offset of one clock.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct TimeOffset {
    /// Seconds.
    pub secs: i64,
    /// Nanoseconds, below one second.
    pub nanosecs: u32,
}

/// Type of a device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum FileType {
    /// Character device.
    #[serde(rename = "c", alias = "u")]
    Char,
    /// Block device.
    #[serde(rename = "b")]
    Block,
    /// Named pipe.
    #[serde(rename = "p")]
    Fifo,
}

/// One entry of `linux.devices`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Type; REQUIRED.
    #[serde(rename = "type")]
    pub kind: FileType,
    /// Full path inside; REQUIRED.
    pub path: String,
    /// Major number; REQUIRED unless a named pipe.
    #[serde(default)]
    pub major: Opt<u32>,
    /// Minor number; REQUIRED unless a named pipe.
    #[serde(default)]
    pub minor: Opt<u32>,
    /// Permission bits.
    #[serde(default)]
    pub file_mode: Opt<u32>,
    /// Owner, in container terms.
    #[serde(default)]
    pub uid: Opt<u32>,
    /// Group, in container terms.
    #[serde(default)]
    pub gid: Opt<u32>,
}

/// One value of `linux.netDevices`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NetDevice {
    /// Name inside; absent: the host's name.
    pub name: Opt<String>,
}

/// `linux.intelRdt`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IntelRdt {
    /// Class of service: directory of the resctrl tree.
    #[serde(rename = "closID")]
    pub clos_id: Opt<String>,
    /// L3 cache lines of the schemata.
    pub l3_cache_schema: Opt<String>,
    /// Memory bandwidth line of the schemata.
    pub mem_bw_schema: Opt<String>,
    /// Further lines of the schemata.
    pub schemata: Vec<String>,
    /// Whether to make a monitoring group.
    pub enable_monitoring: bool,
}

/// `linux.memoryPolicy`.
#[derive(Debug, Clone, Deserialize)]
pub struct MemoryPolicy {
    /// `MPOL_*` name; REQUIRED.
    pub mode: String,
    /// Node list such as `0-3,7`.
    #[serde(default)]
    pub nodes: Opt<String>,
    /// `MPOL_F_*` names.
    #[serde(default)]
    pub flags: Vec<String>,
}

/// `linux.personality`.
#[derive(Debug, Clone, Deserialize)]
pub struct Personality {
    /// `LINUX` or `LINUX32`; REQUIRED.
    pub domain: String,
    /// No flag is defined.
    #[serde(default)]
    pub flags: Vec<String>,
}
