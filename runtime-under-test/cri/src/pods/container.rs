//! Life of a container after its creation: start, stop, remove, update, reopen the log.

use std::sync::Arc;
use std::time::Duration;

use super::events::Kind;
use super::{Container, Daemon, State, lock, write_message};
use crate::api::LinuxContainerResources;
use crate::error::{Context as _, Error, Result};
use crate::monitor::client;
use crate::monitor::container::kill_cgroup;
use crate::monitor::proto::{Exit, Request};
use crate::oci::resources;
use crate::util::now_ns;

/// How long a kill through the runtime may take to show.
const RUNTIME_KILL: Duration = Duration::from_secs(3);
/// After SIGKILL the kernel needs a moment; longer means the process cannot die.
const KILL_LIMIT: Duration = Duration::from_secs(30);

impl Daemon {
    /// Starts a created container.
    pub async fn start_container(self: &Arc<Self>, id: &str) -> Result<()> {
        let container = self.container(id)?;
        let _one = container.operation.lock().await;
        let pod = self.pod(&container.pod_id())?;
        if !pod.ready() {
            return Err(Error::precondition(format!("sandbox {} is not ready", pod.id)));
        }
        match container.state() {
            State::Created => {}
            State::Running => {
                return Err(Error::precondition(format!("container {} is running already", container.id)));
            }
            State::Exited => {
                return Err(Error::precondition(format!(
                    "container {} has exited; create a new one",
                    container.id
                )));
            }
        }
        let (daemon, own) = (Arc::clone(self), Arc::clone(&container));
        let handler = pod.handler();
        tokio::task::spawn_blocking(move || daemon.start_now(&own, &handler))
            .await
            .doing("starting a container")??;
        let mut told = lock(&container.told);
        self.announce(&pod, &container.id, Kind::Started);
        *told = true;
        // A short-lived container may have ended before its start was announced: then its end is announced here.
        if container.exit.borrow().is_some() {
            self.announce(&pod, &container.id, Kind::Stopped);
        }
        Ok(())
    }

    fn start_now(&self, container: &Container, handler: &str) -> Result<()> {
        let runtime = self.runtime(handler)?;
        lock(&container.record).started_at = now_ns();
        container.save()?;
        let Err(error) = runtime.call(&container.dir, &["start"], &container.id) else { return Ok(()) };
        // Never RUNNING: EXITED with a reason (`container.start.error-status`).
        let exit = Exit { code: 128, at: now_ns(), oom: false };
        let mut record = lock(&container.record);
        record.start_error = Some(error.message.clone());
        record.exit = Some(exit);
        drop(record);
        let _ = container.save();
        container.exit.send_replace(Some(exit));
        let _ = runtime.call(&container.dir, &["delete", "--force"], &container.id);
        Err(error.context("starting the container"))
    }

    /// Stops a container: its signal, then SIGKILL after `timeout` seconds. Idempotent.
    pub async fn stop_container(self: &Arc<Self>, id: &str, timeout: i64) -> Result<()> {
        let Ok(container) = self.container(id) else { return Ok(()) };
        if container.state() != State::Running {
            return Ok(());
        }
        if timeout > 0 {
            let signal = lock(&container.record).stop_signal;
            self.signal(&container, signal).await?;
            let limit = Duration::from_secs(timeout.unsigned_abs().min(30 * 86400));
            if self.wait_exit(&container, limit).await {
                return Ok(());
            }
        }
        self.kill_container(&container).await
    }

    /// SIGKILL and the end of it. What was only created ends too.
    pub async fn kill_container(self: &Arc<Self>, container: &Arc<Container>) -> Result<()> {
        if container.state() == State::Exited {
            return Ok(());
        }
        let asked = self.signal(container, 9).await;
        if asked.is_ok() && self.wait_exit(container, RUNTIME_KILL).await {
            return Ok(());
        }
        // A runtime that cannot kill its container must not keep the pod alive: the kernel is asked directly.
        if let Err(error) = &asked {
            tracing::warn!(container = %container.id, %error, "the runtime cannot kill the container; killing its cgroup");
        }
        let (group, pid) = {
            let record = lock(&container.record);
            (record.cgroup.clone(), record.pid)
        };
        kill_cgroup(&self.cgroups.processes(&group));
        if alive(pid)
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        if self.wait_exit(container, KILL_LIMIT).await {
            Ok(())
        } else {
            Err(Error::deadline(format!(
                "container {} did not end 30 s after SIGKILL; a process may hang in the kernel",
                container.id
            )))
        }
    }

    async fn signal(self: &Arc<Self>, container: &Arc<Container>, signal: i32) -> Result<()> {
        let (daemon, own) = (Arc::clone(self), Arc::clone(container));
        let job = move || {
            let handler = daemon.pod(&own.pod_id())?.handler();
            let runtime = daemon.runtime(&handler)?;
            let result = runtime.kill(&own.dir, &own.id, signal);
            match result {
                // It may have ended at the same moment.
                Err(_) if own.exit.borrow().is_some() || !alive(lock(&own.record).pid) => Ok(()),
                result => result.map(drop),
            }
        };
        tokio::task::spawn_blocking(job).await.doing("signalling a container")?
    }

    /// Waits for the end; false when the time is over.
    pub async fn wait_exit(&self, container: &Container, limit: Duration) -> bool {
        let mut exits = container.exit.subscribe();
        let ended = tokio::time::timeout(limit, exits.wait_for(Option::is_some)).await;
        ended.is_ok_and(|r| r.is_ok())
    }

    /// Removes a container, by force if it runs. Idempotent.
    pub async fn remove_container(self: &Arc<Self>, id: &str) -> Result<()> {
        let Ok(container) = self.container(id) else { return Ok(()) };
        if container.state() == State::Running {
            self.kill_container(&container).await?;
        }
        let _one = container.operation.lock().await;
        if !lock(&self.table).containers.contains_key(&container.id) {
            return Ok(());
        }
        let (daemon, own) = (Arc::clone(self), Arc::clone(&container));
        tokio::task::spawn_blocking(move || daemon.scrap(&own)).await.doing("removing a container")?;
        lock(&self.table).containers.remove(&container.id);
        let images = Arc::clone(&self.images);
        tokio::task::spawn_blocking(move || images.collect());
        if let Ok(pod) = self.pod(&container.pod_id()) {
            self.announce(&pod, &container.id, Kind::Deleted);
        }
        Ok(())
    }

    /// Changes limits; all or nothing (`container.update.*`). Blocking.
    pub fn update_container(&self, id: &str, wanted: &LinuxContainerResources) -> Result<()> {
        let container = self.container(id)?;
        if container.state() == State::Exited {
            return Err(Error::precondition(format!("container {} has exited", container.id)));
        }
        resources::check(wanted)?;
        let mut current = lock(&container.resources);
        let merged = resources::merge(&current, wanted);
        resources::check(&merged)?;
        let sizes = resources::huge_page_sizes();
        let handler = self.pod(&container.pod_id())?.handler();
        let runtime = self.runtime(&handler)?;
        let document = resources::to_oci(&merged, self.cgroups.v2, &sizes);
        if document.as_object().is_some_and(|d| !d.is_empty())
            && let Err(error) = runtime.update(&container.dir, &container.id, &document)
        {
            // Some values may be in force already: put the old ones back.
            let old = resources::to_oci(&current, self.cgroups.v2, &sizes);
            let _ = runtime.update(&container.dir, &container.id, &old);
            return Err(error.context("updating resources"));
        }
        write_message(&container.dir.join("resources.pb"), &merged)?;
        *current = merged;
        Ok(())
    }

    /// Opens the log file anew after a rotation. Blocking.
    pub fn reopen_log(&self, id: &str) -> Result<()> {
        let container = self.container(id)?;
        if container.state() != State::Running {
            return Err(Error::precondition(format!("container {} is not running", container.id)));
        }
        let pod = self.pod(&container.pod_id())?;
        client::ask(&pod.socket, &Request::Reopen { id: container.id.clone() }, Duration::from_secs(10))
            .map(drop)
    }
}

/// Whether a process exists (a zombie counts as ended).
pub fn alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().next())
        .is_some_and(|state| state != "Z" && state != "X")
}
