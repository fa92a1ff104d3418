//! The daemon behind a socket, and what it costs: CPU time of its cgroup, memory, what it keeps open.

use crate::cgroup::Account;
use crate::memory::{family, is_in_cgroup, processes, pss_kib};
use crate::plan::CriTarget;
use crate::slot::Failure;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixStream;

/// Variable by which a container's own process is known on the host.
pub(super) const MARK: &str = "PLIMSOLL_BENCH_ID";

/// The daemon behind an endpoint.
#[derive(Debug, Clone)]
pub(super) struct Daemon {
    /// Who listens on the socket.
    pub pid: u32,
    /// Its cgroup in a hierarchy that accounts CPU time, if that is its own.
    pub slice: Option<Account>,
}

impl Daemon {
    /// Finds who listens on the target's socket.
    pub fn behind(target: &CriTarget) -> Result<Self, Failure> {
        let stream = UnixStream::connect(&target.socket).map_err(Failure::io("connect"))?;
        let peer = rustix::net::sockopt::socket_peercred(&stream)
            .map_err(|e| Failure::new("connect", format!("who listens there is not known: {e}")))?;
        let pid = peer.pid.as_raw_nonzero().get().unsigned_abs();
        let ours = Account::all_of(std::process::id());
        // A cgroup that holds this process too says nothing about the daemon.
        let shared = |a: &Account| {
            ours.iter().any(|o| o.path == a.path || o.path.starts_with(&format!("{}/", a.path)))
        };
        let slice = Account::all_of(pid).into_iter().find(|a| a.path != "/" && !shared(a));
        Ok(Self { pid, slice })
    }

    /// CPU time of the daemon's cgroup and of the run's cgroup, ns; `None` when the daemon has none of its own.
    pub fn cpu_ns(&self, run: &str) -> Option<u64> {
        let slice = self.slice.as_ref()?;
        Some(slice.cpu_ns()? + slice.at(run).cpu_ns().unwrap_or(0))
    }

    /// Everything that runs for the endpoint except the containers' own processes: the daemon, what descends from
    /// it, what is in its cgroup, and what it put into the pods' cgroups.
    pub fn helpers(&self, run: &str) -> BTreeSet<u32> {
        let all = processes();
        let mut found = family(self.pid, &all);
        for process in &all {
            let of_slice = self.slice.as_ref().is_some_and(|slice| is_in_cgroup(process.pid, &slice.path));
            if of_slice || is_in_cgroup(process.pid, run) {
                found.insert(process.pid);
            }
        }
        found.retain(|pid| !is_workload(*pid));
        found
    }

    /// Proportional set sizes of [`Self::helpers`] and of the daemon alone, KiB.
    pub fn memory_kib(&self, run: &str) -> (f64, f64) {
        let all = self.helpers(run).into_iter().filter_map(pss_kib).sum();
        (all, pss_kib(self.pid).unwrap_or(f64::NAN))
    }

    /// Entries of a directory as the daemon sees it; 0 when there is none.
    pub fn entries(&self, path: &str) -> usize {
        fs::read_dir(format!("/proc/{}/root{path}", self.pid)).map_or(0, Iterator::count)
    }

    /// Descriptors that it holds.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid)).map_or(0, Iterator::count)
    }

    /// Mounts that it sees.
    pub fn mounts(&self) -> usize {
        fs::read_to_string(format!("/proc/{}/mountinfo", self.pid)).map_or(0, |t| t.lines().count())
    }
}

fn environment(pid: u32) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/environ")).unwrap_or_default()
}

fn is_workload(pid: u32) -> bool {
    let mark = format!("{MARK}=");
    environment(pid).split(|b| *b == 0).any(|entry| entry.starts_with(mark.as_bytes()))
}

/// The host's id of the process that has this mark; `None` where the host cannot see it (another kernel).
pub(super) fn process_marked(value: &str) -> Option<i32> {
    let wanted = format!("{MARK}={value}");
    let found = processes()
        .into_iter()
        .find(|p| environment(p.pid).split(|b| *b == 0).any(|entry| entry == wanted.as_bytes()))?;
    i32::try_from(found.pid).ok()
}
