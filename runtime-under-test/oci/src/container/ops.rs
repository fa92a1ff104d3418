//! `start`, `state`, `kill`, `delete`, `pause`, `resume`, `list` and `ps`.

use super::create::Made;
use super::teardown;
use crate::bail;
use crate::cgroup::Cgroup;
use crate::error::{Context, Error, Result};
use crate::socket::{Channel, Kind, connect};
use crate::state::{self, Record, Status, Store};
use crate::{hooks, log, sys};
use rustix::net::SocketType;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::AsFd;
use std::path::Path;

/// `start` (runtime.md "Start"): "attempting to start a container that is not created MUST have no effect on
/// the container and MUST generate an error".
pub fn start(root: &Path, id: &str) -> Result<()> {
    let (store, record) = state::open(root, id)?;
    // Knocking asks at once whether the first process waits and, if so, begins the talk.
    let door = if record.complete && state::alive(&record) {
        connect(&store.start_socket(), SocketType::SEQPACKET).ok()
    } else {
        None
    };
    let Some(door) = door else {
        match store.status(&record) {
            Status::Stopped => bail!("cannot start a container that has stopped"),
            status => bail!("cannot start a container in the {} state", status.name()),
        }
    };
    // "process ... MUST be set when start is called".
    let spec = store.config()?;
    if spec.process.is_none() {
        bail!("cannot start: the configuration has no process");
    }
    let socket = Channel(door);
    let _ = socket.say(Kind::Go);
    match socket.hear()? {
        Some((Kind::Starting, ..)) => {}
        _ => bail!("cannot start a container that is not in the created state"),
    }
    let started = follow(&socket, |e| hook_failed(&store, &record, e));
    match std::fs::remove_file(store.start_socket()) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => log::warn(&format!("start socket: {e}")),
        _ => {}
    }
    started?;
    poststart(&store, &record, &spec)
}

/// Listens to the first process until its descriptors close, which is the moment of exec.
pub fn follow(socket: &Channel, on_error: impl Fn(Error) -> Error) -> Result<()> {
    loop {
        match socket.hear()? {
            None => return Ok(()),
            Some((Kind::Error, text, _)) => return Err(on_error(Error::new(text))),
            Some((Kind::Warning, text, _)) => log::warn(&text),
            Some(_) => {}
        }
    }
}

/// A failed `startContainer` hook "MUST ... stop the container, and continue the lifecycle at step 12", the
/// destruction. A program that cannot be executed just leaves the container stopped.
pub fn hook_failed(store: &Store, record: &Record, e: Error) -> Error {
    if e.to_string().starts_with("startContainer hook")
        && let Err(more) = teardown::destroy(store, record)
    {
        log::warn(&format!("destroying the container: {more}"));
    }
    e
}

/// runtime.md lifecycle step 9. Before 1.3.0 a failure was a warning; since then it "MUST generate an error,
/// stop the container, and continue the lifecycle at step 12".
pub fn poststart(store: &Store, record: &Record, spec: &crate::config::Spec) -> Result<()> {
    let Some(list) = spec.hooks.as_ref().filter(|h| !h.poststart.is_empty()) else { return Ok(()) };
    let state = record.document(Status::Running, record.pid).to_string();
    if !spec.version_at_least(1, 3) {
        for failure in hooks::run_all("poststart", &list.poststart, &state) {
            log::warn(&failure.to_string());
        }
        return Ok(());
    }
    let done = hooks::run("poststart", &list.poststart, &state, &[]);
    if done.is_err()
        && let Err(more) = teardown::destroy(store, record)
    {
        log::warn(&format!("destroying the container: {more}"));
    }
    done
}

/// Starts what `run` made itself, without the socket.
pub fn start_made(made: &Made) -> Result<()> {
    made.channel.say(Kind::Go)?;
    follow(&made.channel, |e| e)
}

/// `state` (runtime.md "Query State").
pub fn state(root: &Path, id: &str) -> Result<serde_json::Value> {
    let (store, record) = state::open(root, id)?;
    Ok(record.printed(store.status(&record)))
}

/// The signal that kill sends when none is named, where the image says which.
///
/// config.md, annotations: `org.opencontainers.image.stopSignal` SHOULD be used.
pub fn stop_signal(root: &Path, id: &str) -> Result<Option<String>> {
    let (_, record) = state::open(root, id)?;
    Ok(record.annotations.get("org.opencontainers.image.stopSignal").cloned())
}

/// `kill` (runtime.md "Kill"): neither created nor running "MUST have no effect on the container and MUST
/// generate an error".
pub fn kill(root: &Path, id: &str, signal: i32, all: bool) -> Result<()> {
    let (store, record) = state::open(root, id)?;
    let status = store.status(&record);
    if all && status == Status::Stopped {
        // Without a PID namespace of its own, processes may outlive the first one.
        let cgroup = state::cgroup(&record).filter(|c| c.pids().is_ok_and(|p| !p.is_empty()));
        let Some(cgroup) = cgroup else { bail!("container not running") };
        return cgroup.signal_all(signal).map_err(wrap);
    }
    if !matches!(status, Status::Created | Status::Running | Status::Paused) {
        bail!("container not running");
    }
    if all && let Some(cgroup) = state::cgroup(&record) {
        return cgroup.signal_all(signal).map_err(wrap);
    }
    let Some(pid) = Pid::from_raw(record.pid) else { bail!("container not running") };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => bail!("container not running"),
        other => other.context("opening the container's process")?,
    };
    // The id may have gone to another process before the descriptor was opened.
    if !state::alive(&record) {
        bail!("container not running");
    }
    match sys::pidfd_send_signal(pidfd.as_fd(), signal) {
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {
            bail!("container not running: os: process already finished")
        }
        other => other.with_context(|| format!("sending signal {signal}"))?,
    }
    // A frozen process takes the signal only when it runs again; nothing else can be done with a killed one.
    if status == Status::Paused && signal == libc::SIGKILL {
        thaw(&record)?;
    }
    Ok(())
}

#[allow(clippy::needless_pass_by_value)] // the shape that map_err wants
fn wrap(e: crate::cgroup::Error) -> Error {
    Error::new(e.to_string())
}

fn thaw(record: &Record) -> Result<()> {
    state::cgroup(record).map_or(Ok(()), |c| c.thaw().map_err(wrap))
}

/// `delete` (runtime.md "Delete"): "attempting to delete a container that is not stopped MUST have no effect
/// on the container and MUST generate an error". `force` kills it first and takes an unknown id for done.
pub fn delete(root: &Path, id: &str, force: bool) -> Result<()> {
    let store = Store::new(root, id)?;
    let record = match store.load() {
        Ok(record) => record,
        Err(_) if force => return store.remove(),
        Err(e) => return Err(e),
    };
    let status = store.status(&record);
    if !force && status != Status::Stopped {
        bail!("cannot delete container {id} that is not stopped: {}", status.name());
    }
    teardown::destroy(&store, &record)
}

/// The cgroup of a container that must have one.
pub fn cgroup_of(record: &Record) -> Result<Cgroup> {
    match state::cgroup(record) {
        Some(cgroup) => Ok(cgroup),
        None => bail!("container {} has no cgroup", record.id),
    }
}

/// `pause`: freezes all processes of the container.
pub fn pause(root: &Path, id: &str) -> Result<()> {
    let (store, record) = state::open(root, id)?;
    match store.status(&record) {
        Status::Created | Status::Running => {
            cgroup_of(&record)?.freeze().map_err(wrap).context("unable to freeze")
        }
        status => bail!("container not running or created: {}", status.name()),
    }
}

/// `resume`: thaws them.
pub fn resume(root: &Path, id: &str) -> Result<()> {
    let (store, record) = state::open(root, id)?;
    match store.status(&record) {
        Status::Paused => thaw(&record),
        status => bail!("container not paused: {}", status.name()),
    }
}

/// One row of `list`.
pub struct Row {
    /// The record.
    pub record: Record,
    /// The present status.
    pub status: Status,
}

/// `list`.
pub fn list(root: &Path) -> Result<Vec<Row>> {
    let all = state::all(root)?;
    Ok(all.into_iter().map(|(store, record)| Row { status: store.status(&record), record }).collect())
}

/// The processes of a container, for `ps`.
pub fn pids(root: &Path, id: &str) -> Result<Vec<i32>> {
    let (_, record) = state::open(root, id)?;
    cgroup_of(&record)?.pids().map_err(wrap)
}
