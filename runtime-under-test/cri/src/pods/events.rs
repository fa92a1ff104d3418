//! Ends of processes as the monitors report them, and the events made of life-cycle changes.

use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::{Container, Daemon, Pod, State, lock};
use crate::api::{ContainerEventResponse, ContainerEventType};
use crate::monitor::proto::{Exit, Reply};
use crate::util::now_ns;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Made.
    Created,
    /// Runs.
    Started,
    /// Ended.
    Stopped,
    /// Removed.
    Deleted,
}

impl Daemon {
    /// Sends an event to all subscribers; with none it costs nothing (`events.*`).
    pub fn announce(&self, pod: &Pod, id: &str, kind: Kind) {
        if self.events.receiver_count() == 0 {
            return;
        }
        let kind = match kind {
            Kind::Created => ContainerEventType::ContainerCreatedEvent,
            Kind::Started => ContainerEventType::ContainerStartedEvent,
            Kind::Stopped => ContainerEventType::ContainerStoppedEvent,
            Kind::Deleted => ContainerEventType::ContainerDeletedEvent,
        };
        // Under the table's lock, so that times do not go back between events.
        let statuses = self.containers_of(&pod.id).iter().map(|c| self.container_status(c)).collect();
        let pod_sandbox_status = Some(self.pod_status(pod));
        let _order = lock(&self.table);
        let event = ContainerEventResponse {
            container_id: id.to_owned(),
            container_event_type: kind as i32,
            created_at: now_ns(),
            pod_sandbox_status,
            containers_statuses: statuses,
        };
        let _ = self.events.send(event);
    }

    /// Follows a monitor: every end of a process, and the end of the monitor itself.
    pub fn watch(&self, pod: &Arc<Pod>) {
        let (Some(daemon), pod) = (self.own.upgrade(), Arc::clone(pod)) else { return };
        let handle = self.handle.clone();
        handle.spawn(async move {
            let weak = Arc::downgrade(&daemon);
            drop(daemon);
            if let Ok(mut stream) = UnixStream::connect(&pod.socket).await
                && stream.write_all(b"{\"op\":\"watch\"}\n").await.is_ok()
            {
                let mut lines = BufReader::with_capacity(512, stream).lines();
                // The first line is the acknowledgement: from here on nothing is missed, so look at what was before.
                if let Ok(Some(_)) = lines.next_line().await
                    && let Some(daemon) = weak.upgrade()
                {
                    daemon.catch_up(&pod);
                }
                while let Ok(Some(line)) = lines.next_line().await {
                    let Some(daemon) = weak.upgrade() else { return };
                    daemon.event(&pod, &line);
                }
            }
            let Some(daemon) = weak.upgrade() else { return };
            daemon.monitor_gone(&pod);
        });
    }

    fn event(&self, pod: &Arc<Pod>, line: &str) {
        let Ok(Reply { id: Some(id), exit: Some(exit), .. }) = serde_json::from_str::<Reply>(line) else {
            return;
        };
        if id.is_empty() {
            self.sandbox_died(pod);
        } else if let Ok(container) = self.container(&id) {
            self.ended(pod, &container, exit);
        }
    }

    /// The sandbox process died by itself: NOTREADY (`sandbox.status.notready-after-pause-death`).
    fn sandbox_died(&self, pod: &Arc<Pod>) {
        let was_ready = std::mem::replace(&mut lock(&pod.record).ready, false);
        if was_ready {
            let _ = pod.save();
            self.announce(pod, &pod.id, Kind::Stopped);
        }
    }

    /// Ends that came while nobody listened: recorded ones of containers, and that of the sandbox process.
    fn catch_up(&self, pod: &Arc<Pod>) {
        if !super::container::alive(pod.pause()) {
            self.sandbox_died(pod);
        }
        for container in self.containers_of(&pod.id) {
            if container.state() != State::Exited
                && let Some(exit) = read_exit(&container)
            {
                self.ended(pod, &container, exit);
            }
        }
    }

    fn monitor_gone(&self, pod: &Arc<Pod>) {
        self.catch_up(pod);
        self.sandbox_died(pod);
        // Without their monitor the containers have lost their streams and their parent; nobody can tell how they end.
        for container in self.containers_of(&pod.id) {
            if container.state() != State::Exited {
                let pid = lock(&container.record).pid;
                if super::container::alive(pid)
                    && let Some(pid) = rustix::process::Pid::from_raw(pid)
                {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
                self.ended(pod, &container, Exit { code: 255, at: now_ns(), oom: false });
            }
        }
    }

    /// Takes note of an end, once.
    pub fn ended(&self, pod: &Arc<Pod>, container: &Arc<Container>, exit: Exit) {
        // Held throughout, so that the end is announced once, and never before the start.
        let told = lock(&container.told);
        let first = container.exit.send_if_modified(|slot| {
            let first = slot.is_none();
            if first {
                *slot = Some(exit);
            }
            first
        });
        if first && *told {
            self.announce(pod, &container.id, Kind::Stopped);
        }
    }
}

/// What the monitor recorded.
pub fn read_exit(container: &Container) -> Option<Exit> {
    let bytes = std::fs::read(container.dir.join("exit.json")).ok()?;
    serde_json::from_slice(&bytes).ok()
}
