//! Programs and processes of the host.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Finds a program on `PATH` or where system programs usually are.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"])
        .map(|dir| PathBuf::from(dir).join(name))
        .find(|candidate| candidate.is_file())
}

/// A process as seen in `/proc`.
#[derive(Clone, Debug)]
struct Process {
    pid: i32,
    parent: i32,
    namespace: Option<PathBuf>,
}

fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: i32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name in parentheses may hold anything, so the fields are counted from its end.
            let mut rest = stat.rsplit_once(')')?.1.split_whitespace();
            let state = rest.next()?;
            let parent = rest.next()?.parse().ok()?;
            let namespace = fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
            (state != "Z").then_some(Process { pid, parent, namespace })
        })
        .collect()
}

/// The mount namespace of a process.
pub(crate) fn namespace(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/mnt")).ok()
}

/// Any process in this mount namespace.
pub(crate) fn member(namespace: &PathBuf) -> Option<i32> {
    all().into_iter().find(|p| p.namespace.as_ref() == Some(namespace)).map(|p| p.pid)
}

/// Processes in this mount namespace and all their descendants, which have namespaces of their own.
fn family(namespace: &PathBuf) -> Vec<i32> {
    let processes = all();
    let mut found: BTreeSet<i32> =
        processes.iter().filter(|p| p.namespace.as_ref() == Some(namespace)).map(|p| p.pid).collect();
    loop {
        let more: Vec<i32> = processes
            .iter()
            .filter(|p| found.contains(&p.parent) && !found.contains(&p.pid))
            .map(|p| p.pid)
            .collect();
        if more.is_empty() {
            return found.into_iter().collect();
        }
        found.extend(more);
    }
}

/// Kills what is left in a mount namespace and below it, and waits until it is gone. Gives the pids of those
/// that still live after `limit`.
pub(crate) fn clear(namespace: &PathBuf, limit: Duration) -> Vec<i32> {
    let end = Instant::now() + limit;
    let mut known: BTreeSet<i32> = BTreeSet::new();
    loop {
        known.extend(family(namespace));
        let left: Vec<i32> =
            known.iter().copied().filter(|pid| all().iter().any(|p| p.pid == *pid)).collect();
        if left.is_empty() || Instant::now() > end {
            return left;
        }
        for pid in &left {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        known = left.into_iter().collect();
        std::thread::sleep(Duration::from_millis(20));
    }
}
