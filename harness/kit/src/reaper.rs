//! Reaps what is reparented to the worker, which is a child subreaper: without it a runtime that asks whether an
//! orphaned init process is gone would be told "zombie", and verdicts would depend on the host's init.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Knows the children that others wait for, and waits for all the rest. Single-threaded by design.
#[derive(Debug, Clone, Default)]
pub struct Reaper {
    inner: Rc<RefCell<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    awaited: BTreeSet<i32>,
    exits: Vec<(i32, i32)>,
}

impl Reaper {
    /// Leaves `pid` to whoever spawned it.
    pub fn adopt(&self, pid: i32) {
        self.inner.borrow_mut().awaited.insert(pid);
    }

    /// The spawner has waited for `pid`.
    pub fn release(&self, pid: i32) {
        self.inner.borrow_mut().awaited.remove(&pid);
    }

    /// Reaps every orphan that has ended. Never waits for "any child": that would steal awaited ones.
    pub fn sweep(&self) {
        for pid in children() {
            if self.inner.borrow().awaited.contains(&pid) {
                continue;
            }
            match waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(_, code)) => self.inner.borrow_mut().exits.push((pid, code)),
                Ok(WaitStatus::Signaled(_, signal, _)) => {
                    self.inner.borrow_mut().exits.push((pid, 128 + signal as i32));
                }
                _ => {}
            }
        }
    }

    /// The exit status of a reaped orphan: the code, or 128 plus the signal's number.
    pub fn exit_of(&self, pid: i32) -> Option<i32> {
        self.inner.borrow().exits.iter().rev().find(|(p, _)| *p == pid).map(|(_, code)| *code)
    }

    /// Orphans that still run.
    pub fn orphans(&self) -> Vec<i32> {
        self.sweep();
        let inner = self.inner.borrow();
        children().into_iter().filter(|pid| !inner.awaited.contains(pid)).collect()
    }

    /// Sweeps on every SIGCHLD and every 50 ms, for as long as the worker lives.
    pub async fn run(self) {
        let mut signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::child()).ok();
        loop {
            let tick = tokio::time::sleep(Duration::from_millis(50));
            match &mut signal {
                Some(signal) => {
                    tokio::select! { _ = signal.recv() => {}, () = tick => {} }
                }
                None => tick.await,
            }
            self.sweep();
        }
    }
}

/// Children of this process, over all its threads.
fn children() -> Vec<i32> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| text.split_whitespace().filter_map(|p| p.parse().ok()).collect::<Vec<_>>())
        .collect()
}
