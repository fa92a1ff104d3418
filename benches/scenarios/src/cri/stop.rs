//! Stopping a container, and noticing that one has ended by itself.

use super::daemon::process_marked;
use super::link::failure;
use super::pod::{GUEST, Pod, Ready};
use super::start::{log_of, ms, timed};
use crate::slot::{Failure, Sample};
use crate::sys::process::exit_handle;
use crate::sys::{now_ns, watched};
use plimsoll_cri_client::v1;
use rustix::process::{Signal, kill_process};
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

impl Pod {
    /// `StopContainer` to the end of the process; then a second container is ended from outside: how long until
    /// the status says so, and until the event arrives.
    pub(super) async fn stop(&mut self, ready: &Ready) -> Result<Sample, Failure> {
        let image = ready.image.clone();
        let started = self.start_pod(ready, &image, &[GUEST, "stamp-pause"]).await?;
        let resident = started.resident;
        self.first_line(&log_of(&resident)).await?;
        let client = &ready.link.client;
        let mut sample = Sample::default();

        let end = Ending::of(&resident.mark)?;
        let request = v1::StopContainerRequest { container_id: resident.container.clone(), timeout: 10 };
        let stopping = timed("StopContainer", client.stop_container(request));
        let (stopped, ended) = tokio::join!(stopping, end.seen(self.timeout));
        let (span, _) = stopped?;
        self.await_exit(ready, &resident.container, 0).await?;
        sample.set("stop.api", span.ms());
        // Where the process cannot be seen from the host the answer is the earliest that anybody knows.
        sample.set("stop.latency", ms(span.asked, ended?.unwrap_or(span.ended)));

        let (detected, lag) = self.end_from_outside(ready, &resident.pod, &resident.config).await?;
        for (name, value) in [("exit.detect", detected), ("event.lag", lag)] {
            if let Some(value) = value {
                sample.set(name, value);
            }
        }
        self.remove_pod(ready, &resident.pod).await?;
        self.verify_gone(ready, &resident.pod).await?;
        let _ = std::fs::remove_dir_all(&resident.config.log_directory);
        Ok(sample)
    }

    /// A container whose process is killed behind the endpoint's back: milliseconds until its status and its event
    /// say so. Nothing where the process cannot be seen; no event where the endpoint has none.
    async fn end_from_outside(
        &mut self,
        ready: &Ready,
        pod: &str,
        sandbox: &v1::PodSandboxConfig,
    ) -> Result<(Option<f64>, Option<f64>), Failure> {
        let name = self.next_name();
        let config = self.container_config(&ready.image, &name, &[GUEST, "stamp-pause"]);
        let log = std::path::Path::new(&sandbox.log_directory).join(format!("{name}.log"));
        let client = &ready.link.client;
        let create = v1::CreateContainerRequest {
            pod_sandbox_id: pod.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox.clone()),
        };
        let id = client.create_container(create).await.map_err(failure("CreateContainer"))?.container_id;
        let start = v1::StartContainerRequest { container_id: id.clone() };
        client.start_container(start).await.map_err(failure("StartContainer"))?;
        self.first_line(&log).await?;
        let end = Ending::of(&name)?;
        let Some(pid) = end.pid else { return Ok((None, None)) };
        // The deadline is for the opening: a stream that says nothing until something happens is no error.
        let opening = client.with_deadline(Duration::from_millis(200));
        let mut events = opening.get_container_events(v1::GetEventsRequest {}).await.ok();
        kill_process(pid, Signal::TERM).map_err(|e| Failure::new("kill", e.to_string()))?;
        let limit = self.timeout;
        let event = async {
            while let Some(stream) = &mut events {
                match stream.next(limit).await {
                    Ok(Some(event))
                        if event.container_id == id
                            && event.container_event_type
                                == v1::ContainerEventType::ContainerStoppedEvent as i32 =>
                    {
                        return Some(now_ns());
                    }
                    Ok(Some(_)) => {}
                    // Unimplemented shows with the first message too.
                    Ok(None) | Err(_) => return None,
                }
            }
            None
        };
        let (ended, told, event) = tokio::join!(end.seen(limit), self.await_exit(ready, &id, 0), event);
        let told = told?;
        let Some(ended) = ended? else { return Ok((None, None)) };
        Ok((Some(ms(ended, told.max(ended))), event.map(|at| ms(ended, at))))
    }
}

/// The end of a process that the host may be able to see.
struct Ending {
    pid: Option<rustix::process::Pid>,
    handle: Option<AsyncFd<OwnedFd>>,
}

impl Ending {
    /// Of the process with this mark.
    fn of(mark: &str) -> Result<Self, Failure> {
        let Some(pid) = process_marked(mark) else { return Ok(Self { pid: None, handle: None }) };
        let handle = exit_handle(pid).and_then(watched).map_err(Failure::io("watch"))?;
        Ok(Self { pid: rustix::process::Pid::from_raw(pid), handle: Some(handle) })
    }

    /// When it ended, ns; `None` when it cannot be seen.
    async fn seen(&self, limit: Duration) -> Result<Option<u64>, Failure> {
        let Some(handle) = &self.handle else { return Ok(None) };
        match tokio::time::timeout(limit, handle.readable()).await {
            Ok(Ok(_)) => Ok(Some(now_ns())),
            Ok(Err(error)) => Err(Failure::new("watch", error.to_string())),
            Err(_) => Err(Failure::new("stop", format!("the process still runs after {limit:?}"))),
        }
    }
}
