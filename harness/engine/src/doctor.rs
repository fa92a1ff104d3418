//! What this host can and cannot show, found before anything runs, with what to do about it.

use plimsoll_kit::host;
use plimsoll_model::HostFacts;
use serde::Serialize;
use std::path::Path;

/// How a finding bears on a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// As it should be.
    Fine,
    /// Some cases will be skipped.
    Limited,
    /// Nothing can run.
    Broken,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub topic: &'static str,
    /// How it bears on a run.
    pub grade: Grade,
    /// What was found.
    pub found: String,
    /// What to do about it; empty when nothing.
    pub fix: String,
}

impl Finding {
    fn new(topic: &'static str, fine: bool, bad: Grade, found: impl Into<String>, fix: &str) -> Self {
        let grade = if fine { Grade::Fine } else { bad };
        Self { topic, grade, found: found.into(), fix: if fine { String::new() } else { fix.to_owned() } }
    }
}

/// Looks at the host.
pub fn examine(work_root: &Path) -> (HostFacts, Vec<Finding>) {
    let facts = host::facts();
    let root = nix::unistd::geteuid().is_root();
    let mut findings = vec![Finding::new(
        "root",
        root,
        Grade::Broken,
        if root { "running as root" } else { "not running as root" },
        "run plimsoll as root: namespaces, mounts and cgroups need it",
    )];
    let admin = !facts.missing_capabilities.iter().any(|c| c == "CAP_SYS_ADMIN");
    let missing = &facts.missing_capabilities;
    findings.push(Finding::new(
        "capabilities",
        missing.is_empty(),
        if admin { Grade::Limited } else { Grade::Broken },
        if missing.is_empty() { "all present".into() } else { format!("missing: {}", missing.join(", ")) },
        "give the environment these capabilities; cases that need them are skipped until then",
    ));
    findings.push(Finding::new(
        "cgroups",
        facts.cgroups != "none",
        Grade::Broken,
        format!("{} (v1: {}; v2: {})", facts.cgroups, list(&facts, "v1"), list(&facts, "v2")),
        "mount /sys/fs/cgroup; nothing can be cleaned up reliably without it",
    ));
    for (topic, path) in [
        ("user namespaces", "/proc/self/ns/user"),
        ("time namespaces", "/proc/self/ns/time"),
        ("cgroup namespaces", "/proc/self/ns/cgroup"),
        ("resctrl", "/sys/fs/resctrl/schemata"),
        ("seccomp actions", "/proc/sys/kernel/seccomp/actions_avail"),
    ] {
        let there = Path::new(path).exists();
        let found = if there { "present" } else { "absent" };
        findings.push(Finding::new(
            topic,
            there,
            Grade::Limited,
            found,
            "needs a kernel that has it; cases are skipped",
        ));
    }
    let lsm = facts.lsm.iter().any(|l| l == "apparmor" || l == "selinux");
    let found = if facts.lsm.is_empty() { "none active".to_owned() } else { facts.lsm.join(", ") };
    findings.push(Finding::new(
        "LSM",
        lsm,
        Grade::Limited,
        found,
        "boot with AppArmor or SELinux to judge those rows",
    ));
    let free = nix::sys::statvfs::statvfs(work_root.parent().unwrap_or(work_root))
        .map(|s| (s.blocks_available() * s.fragment_size()) >> 20)
        .unwrap_or_default();
    findings.push(Finding::new(
        "disk",
        free >= 64,
        Grade::Broken,
        format!("{free} MiB free"),
        "free at least 64 MiB for work directories and reports",
    ));
    findings.push(leftovers(work_root));
    (facts, findings)
}

fn leftovers(work_root: &Path) -> Finding {
    let dead = crate::gc::dead(work_root);
    Finding::new(
        "leftovers",
        dead.is_empty(),
        Grade::Limited,
        if dead.is_empty() { "none of earlier runs".to_owned() } else { format!("of {}", dead.join(", ")) },
        "`plimsoll gc` removes what killed runs left",
    )
}

fn list(facts: &HostFacts, version: &str) -> String {
    let names = facts.controllers.get(version).cloned().unwrap_or_default();
    if names.is_empty() { "none".to_owned() } else { names.join(" ") }
}
