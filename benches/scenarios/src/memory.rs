//! Memory of processes: proportional set sizes, summed over those that belong together.

use std::collections::BTreeSet;
use std::fs;

/// A process as /proc shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub pid: u32,
    pub parent: u32,
}

/// All processes that can be seen.
pub(crate) fn processes() -> Vec<Process> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| {
            let pid: u32 = e.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(e.path().join("stat")).ok()?;
            // The command in parentheses may hold anything: fields start after the last one.
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            Some(Process { pid, parent })
        })
        .collect()
}

/// A process and all that descend from it; orphans that others adopted are not among them.
pub(crate) fn family(root: u32, all: &[Process]) -> BTreeSet<u32> {
    let mut found = vec![root];
    let mut at = 0;
    while at < found.len() {
        let parent = found[at];
        found.extend(all.iter().filter(|p| p.parent == parent && p.pid != parent).map(|p| p.pid));
        at += 1;
    }
    found.into_iter().collect()
}

/// Proportional set size of one process, KiB; `None` when it is gone or not ours to see.
pub(crate) fn pss_kib(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    text.lines().find_map(|l| l.strip_prefix("Pss:")?.split_whitespace().next()?.parse().ok())
}

/// Whether a process is in the cgroup `path` or below it, in any hierarchy.
pub(crate) fn is_in_cgroup(pid: u32, path: &str) -> bool {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    text.lines()
        .filter_map(|l| l.splitn(3, ':').nth(2))
        .any(|at| at.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// Our descendants outside of a cgroup: shims, sandboxes, monitors of an OCI runtime.
pub(crate) fn descendants_outside_kib(cgroup: &str) -> f64 {
    let me = std::process::id();
    family(me, &processes())
        .into_iter()
        .filter(|pid| *pid != me && !is_in_cgroup(*pid, cgroup))
        .filter_map(pss_kib)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_everyone_below() {
        let of = |pid, parent| Process { pid, parent };
        let all = [of(1, 0), of(2, 1), of(3, 2), of(4, 1), of(5, 4)];
        assert_eq!(family(2, &all), BTreeSet::from([2, 3]));
        assert_eq!(family(1, &all).len(), 5);
    }

    #[test]
    fn this_process_has_memory_and_is_in_its_own_cgroup() {
        let me = std::process::id();
        assert!(pss_kib(me).is_some_and(|kib| kib > 100.0));
        assert!(pss_kib(0).is_none());
        assert!(is_in_cgroup(me, "") && !is_in_cgroup(me, "/nobody-made-this"));
        assert!(processes().iter().any(|p| p.pid == me));
    }
}
