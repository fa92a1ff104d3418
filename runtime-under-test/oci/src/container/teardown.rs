//! Undoing: after a failed create, and at delete.

use crate::cgroup::Cgroup;
use crate::config::{Hook, Spec};
use crate::error::{Error, Result};
use crate::log;
use crate::netdev::HandedIn;
use crate::state::{self, Record, Status, Store};
use crate::sys;
use crate::systemd::Scope;
use crate::{hooks, rdt};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// What a create has made so far (runtime.md "Errors": "the runtime MUST leave the state of the environment
/// as if the operation were never attempted").
pub struct Undo {
    store: Store,
    process: Option<(i32, OwnedFd)>,
    cgroup: serde_json::Value,
    scope: Option<Scope>,
    resctrl: Vec<PathBuf>,
    net_devices: Option<HandedIn>,
    poststop: Vec<Hook>,
    run_poststop: bool,
    rootfs: Option<PathBuf>,
    armed: bool,
}

impl Undo {
    /// The state directory exists.
    pub fn new(store: Store, spec: &Spec) -> Self {
        let shared = !spec.has_namespace(crate::config::NamespaceKind::Mount);
        Self {
            rootfs: shared.then(|| store.load().map(|r| r.rootfs).unwrap_or_default()),
            store,
            process: None,
            cgroup: serde_json::Value::Null,
            scope: None,
            resctrl: Vec::new(),
            net_devices: None,
            poststop: spec.hooks.as_ref().map(|h| h.poststop.clone()).unwrap_or_default(),
            run_poststop: false,
            armed: true,
        }
    }

    /// A cgroup was made.
    pub fn cgroup(&mut self, saved: serde_json::Value) {
        self.cgroup = saved;
    }

    /// A service manager is asked for a scope.
    pub fn scope(&mut self, scope: Scope) {
        self.scope = Some(scope);
    }

    /// The first process exists.
    pub fn process(&mut self, pid: i32, pidfd: OwnedFd) {
        self.process = Some((pid, pidfd));
    }

    /// Resctrl directories were made.
    pub fn resctrl(&mut self, made: Vec<PathBuf>) {
        self.resctrl = made;
    }

    /// Network devices were moved.
    pub fn net_devices(&mut self, handed: HandedIn) {
        self.net_devices = Some(handed);
    }

    /// A hook of create failed: the lifecycle goes on with the destruction and `poststop`.
    pub fn hooks_failed(&mut self, failed: bool) {
        self.run_poststop |= failed;
    }

    /// The container stays.
    pub fn keep(&mut self) {
        self.armed = false;
    }

    /// Takes everything back. What cannot be taken back is logged.
    pub fn all(mut self) {
        if !std::mem::take(&mut self.armed) {
            return;
        }
        let record = self.store.load().ok();
        // While the namespace still is there: devices in it would end with it.
        if let Some(handed) = &mut self.net_devices {
            handed.give_back();
        }
        if let Some((pid, pidfd)) = self.process.take() {
            let _ = sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
            let _ = sys::wait_pid(pid);
        }
        if let Some(Err(e)) = self.scope.take().map(|s| s.stop()) {
            log::warn(&e.to_string());
        }
        remove_cgroup(&self.cgroup);
        rdt::remove(&self.resctrl);
        unmount_shared(self.rootfs.as_ref().and(record.as_ref()).map(|r| &r.rootfs));
        if let Err(e) = self.store.remove() {
            log::warn(&e.to_string());
        }
        if let Some(record) = record.filter(|_| self.run_poststop) {
            poststop(&self.poststop, &record);
        }
    }
}

/// Kills what is left in the cgroup and removes it.
pub fn remove_cgroup(saved: &serde_json::Value) {
    if saved.is_null() {
        return;
    }
    let remove = || -> Result<()> {
        let wrap = |e: crate::cgroup::Error| Error::new(e.to_string());
        let cgroup = Cgroup::load(saved).map_err(wrap)?;
        if !cgroup.exists() {
            return Ok(());
        }
        cgroup.kill_all().map_err(wrap)?;
        cgroup.delete().map_err(wrap)
    };
    if let Err(e) = remove() {
        log::warn(&format!("removing the cgroup: {e}"));
    }
}

/// Without a mount namespace of its own the container's mounts are the host's: take the tree off.
pub fn unmount_shared(rootfs: Option<&PathBuf>) {
    let Some(rootfs) = rootfs else { return };
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounted = table.lines().any(|l| l.split(' ').nth(4) == rootfs.to_str());
    if mounted && let Err(e) = rustix::mount::unmount(rootfs, rustix::mount::UnmountFlags::DETACH) {
        log::warn(&format!("unmounting {}: {e}", rootfs.display()));
    }
}

/// runtime.md lifecycle step 13: a failure "MUST log a warning, but the remaining hooks and lifecycle
/// continue".
pub fn poststop(hooks: &[Hook], record: &Record) {
    let state = record.document(Status::Stopped, 0).to_string();
    for failure in hooks::run_all("poststop", hooks, &state) {
        log::warn(&failure.to_string());
    }
}

/// Destroys a container whose first process has ended or is to be killed, then runs `poststop`.
pub fn destroy(store: &Store, record: &Record) -> Result<()> {
    kill_first(record);
    let spec = store.config().ok();
    let cgroup = state::cgroup(record);
    // Of a container that has stopped, nothing but the empty directories is left, as a rule.
    let idle = record.scope.is_none() && cgroup.as_ref().is_some_and(Cgroup::delete_idle);
    if !idle && let Some(cgroup) = cgroup.filter(Cgroup::exists) {
        let wrap = |e: crate::cgroup::Error| Error::new(format!("removing the cgroup: {e}"));
        cgroup.kill_all().map_err(wrap)?;
        stop_scope(record);
        cgroup.delete().map_err(wrap)?;
    } else {
        stop_scope(record);
    }
    rdt::remove(&record.resctrl);
    if spec.as_ref().is_some_and(|s| !s.has_namespace(crate::config::NamespaceKind::Mount)) {
        unmount_shared(Some(&record.rootfs));
    }
    store.remove()?;
    let hooks = spec.and_then(|s| s.hooks.0).map(|h| h.poststop).unwrap_or_default();
    poststop(&hooks, record);
    Ok(())
}

/// A manager that does not answer must not keep the container from going: its directories go all the same.
fn stop_scope(record: &Record) {
    if let Some(Err(e)) = record.scope.as_ref().map(Scope::stop) {
        log::warn(&e.to_string());
    }
}

/// Kills the first process and waits for its end, within a bound.
fn kill_first(record: &Record) {
    if !state::alive(record) {
        return;
    }
    if let Some(cgroup) = state::cgroup(record)
        && cgroup.is_frozen().unwrap_or(false)
    {
        let _ = sys::kill(record.pid, libc::SIGKILL);
        let _ = cgroup.thaw();
    }
    let Some(pid) = rustix::process::Pid::from_raw(record.pid) else { return };
    let Ok(pidfd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) else { return };
    // The id may have gone to another process before the descriptor was opened.
    if !state::alive(record) {
        return;
    }
    let _ = sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
    let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    let bound = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
    let _ = rustix::event::poll(&mut fds, Some(&bound));
}
