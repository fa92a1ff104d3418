//! What the guest is to do, as a file in the initramfs.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Directory in the guest for what belongs to the harness.
pub const PLACE: &str = "plimsoll";
/// The job's file below [`PLACE`].
pub const JOB_FILE: &str = "job.json";
/// The executable below [`PLACE`].
pub const PROGRAM: &str = "plimsoll";
/// The link to the executable that makes it process 1 of a guest.
pub const INIT: &str = "plimsoll-vm-init";
/// Where the guest's command writes its results.
pub const OUT: &str = "/plimsoll/out";
/// Work directory of the guest's command.
pub const WORK: &str = "/var/tmp/plimsoll";
/// The host's files, brought in by `--copy`, lie below this when no other place is given.
pub const FILES: &str = "/plimsoll/files";

/// How cgroups are mounted in the guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CgroupLayout {
    /// One version 2 hierarchy with every controller.
    #[default]
    V2,
    /// Version 1 hierarchies only.
    V1,
    /// Version 1 hierarchies, and a version 2 hierarchy with what is left at `unified`.
    Hybrid,
}

/// The job of process 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Arguments for `plimsoll`.
    pub arguments: Vec<String>,
    /// Environment of the command, besides what the guest sets.
    pub environment: BTreeMap<String, String>,
    /// The command is asked to end after so many seconds, and killed 20 seconds later.
    pub seconds: u64,
    /// Kernel modules to load first; those that are not there are left out.
    pub modules: Vec<String>,
    /// How cgroups are mounted.
    pub cgroups: CgroupLayout,
    /// Longest archive of results in bytes.
    pub largest: u64,
    /// The guest's name.
    pub hostname: String,
}
