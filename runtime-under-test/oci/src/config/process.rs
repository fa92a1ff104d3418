//! `process` (config.md "Process").

use super::Opt;
use serde::Deserialize;

/// The container process.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Whether the standard streams are a pseudo-terminal.
    #[serde(default)]
    pub terminal: bool,
    /// Size of that terminal; ignored without it.
    #[serde(default)]
    pub console_size: Opt<serde_json::Value>,
    /// Working directory; REQUIRED, absolute.
    pub cwd: String,
    /// Environment, passed as given.
    #[serde(default)]
    pub env: Vec<String>,
    /// Argument vector; at least one entry.
    #[serde(default)]
    pub args: Opt<Vec<String>>,
    /// Windows only.
    #[serde(default, deserialize_with = "super::object::list")]
    pub rlimits: Vec<Rlimit>,
    /// `AppArmor` profile.
    #[serde(default)]
    pub apparmor_profile: Opt<String>,
    /// Capability sets; absent means none at all.
    #[serde(default, deserialize_with = "super::object::optional")]
    pub capabilities: Opt<Capabilities>,
    /// Whether the process and its descendants can gain no privileges.
    #[serde(default)]
    pub no_new_privileges: bool,
    /// Score for the OOM killer; absent leaves it alone.
    #[serde(default)]
    pub oom_score_adj: Opt<i32>,
    /// CPU scheduling.
    #[serde(default, deserialize_with = "super::object::optional")]
    pub scheduler: Opt<Scheduler>,
    /// `SELinux` label.
    #[serde(default)]
    pub selinux_label: Opt<String>,
    /// I/O scheduling.
    #[serde(default, deserialize_with = "super::object::optional")]
    pub io_priority: Opt<IoPriority>,
    /// CPU affinity of exec'd processes.
    #[serde(default, rename = "execCPUAffinity", deserialize_with = "super::object::optional")]
    pub exec_cpu_affinity: Opt<CpuAffinity>,
    /// User and groups, in container terms.
    #[serde(default, deserialize_with = "super::object::one")]
    pub user: User,
}

impl Process {
    /// The terminal size, when there is a terminal.
    pub fn size(&self) -> Option<ConsoleSize> {
        if !self.terminal {
            return None;
        }
        self.console_size.as_ref().and_then(|v| super::object::one(v).ok())
    }
}

/// `process.consoleSize`.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct ConsoleSize {
    /// Rows.
    pub height: u16,
    /// Columns.
    pub width: u16,
}

/// `process.user` (POSIX).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// User id; REQUIRED.
    pub uid: u32,
    /// Group id; REQUIRED.
    pub gid: u32,
    /// File mode creation mask; absent leaves the caller's.
    #[serde(default)]
    pub umask: Opt<u32>,
    /// Further groups.
    #[serde(default)]
    pub additional_gids: Vec<u32>,
}

/// One entry of `process.rlimits`.
#[derive(Debug, Clone, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_*` name.
    #[serde(rename = "type")]
    pub kind: String,
    /// `rlim_cur`.
    pub soft: u64,
    /// `rlim_max`.
    pub hard: u64,
}

/// `process.capabilities`: the five sets by name.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// Effective set.
    pub effective: Vec<String>,
    /// Bounding set.
    pub bounding: Vec<String>,
    /// Inheritable set.
    pub inheritable: Vec<String>,
    /// Permitted set.
    pub permitted: Vec<String>,
    /// Ambient set.
    pub ambient: Vec<String>,
}

/// `process.scheduler`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
#[derive(Default)]
pub struct Scheduler {
    /// `SCHED_*` name; REQUIRED.
    pub policy: Opt<String>,
    /// Nice value.
    pub nice: i32,
    /// Static priority.
    pub priority: i32,
    /// `SCHED_FLAG_*` names.
    pub flags: Vec<String>,
    /// Deadline policy, nanoseconds.
    pub runtime: u64,
    /// Deadline policy, nanoseconds.
    pub deadline: u64,
    /// Deadline policy, nanoseconds.
    pub period: u64,
}

/// `process.ioPriority`.
#[derive(Debug, Clone, Deserialize)]
pub struct IoPriority {
    /// `IOPRIO_CLASS_*` name; REQUIRED.
    pub class: String,
    /// 0 to 7; REQUIRED.
    pub priority: i64,
}

/// `process.execCPUAffinity`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CpuAffinity {
    /// Affinity before the move into the container's cgroup.
    pub initial: Opt<String>,
    /// Affinity after it.
    #[serde(rename = "final")]
    pub last: Opt<String>,
}
