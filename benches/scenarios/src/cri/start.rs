//! Starting: from the request for a pod to the entrypoint of its container, and all the way back.

use super::link::failure;
use super::pod::{GUEST, Pod, Ready, Resident};
use crate::slot::{Failure, Sample, parse_stamp};
use crate::sys::{now_ns, watched};
use plimsoll_cri_client::v1;
use rustix::fs::inotify;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Milliseconds from one stamp to another; negative when the second came first.
pub(super) fn ms(from: u64, to: u64) -> f64 {
    (to as f64 - from as f64) / 1e6
}

/// When a call was made and answered, ns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub asked: u64,
    pub ended: u64,
}

impl Span {
    pub fn ms(self) -> f64 {
        ms(self.asked, self.ended)
    }
}

/// Waits for a call and stamps both its ends.
pub(super) async fn timed<T, E>(
    step: &'static str,
    call: impl Future<Output = Result<T, E>>,
) -> Result<(Span, T), Failure>
where
    E: std::fmt::Display,
{
    let asked = now_ns();
    let answer = call.await;
    let ended = now_ns();
    Ok((Span { asked, ended }, answer.map_err(|e| Failure::new(step, e.to_string()))?))
}

/// Stamps the first write into a log directory: the arrival of the first byte at the host.
pub(super) struct FirstByte(JoinHandle<Option<u64>>);

impl FirstByte {
    /// Watches from now on. Must be called inside the loop that runs the calls.
    pub fn watch(dir: &Path) -> Result<Self, Failure> {
        let io = |e: rustix::io::Errno| Failure::new("watch", e.to_string());
        let fd: OwnedFd =
            inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).map_err(io)?;
        inotify::add_watch(&fd, dir, inotify::WatchFlags::MODIFY).map_err(io)?;
        let fd = watched(fd).map_err(Failure::io("watch"))?;
        Ok(Self(tokio::spawn(async move { fd.readable().await.ok().map(|_| now_ns()) })))
    }

    /// The stamp, if there was a byte yet.
    pub async fn stamp(self) -> Option<u64> {
        if !self.0.is_finished() {
            // Let a byte that is there already be seen.
            tokio::task::yield_now().await;
        }
        if self.0.is_finished() {
            return self.0.await.ok().flatten();
        }
        self.0.abort();
        None
    }
}

/// A pod with a created and started container, with the stamps of its calls.
pub(super) struct Started {
    pub resident: Resident,
    pub sandbox: Span,
    pub create: Span,
    pub start: Span,
    pub first: FirstByte,
}

impl Pod {
    /// `RunPodSandbox`, `CreateContainer`, `StartContainer`: nothing else between the stamps.
    pub(super) async fn start_pod(
        &mut self,
        ready: &Ready,
        image: &str,
        command: &[&str],
    ) -> Result<Started, Failure> {
        let name = self.next_name();
        let config = self.pod_config(ready, &name)?;
        let container = self.container_config(image, &name, command);
        let client = &ready.link.client;
        let first = FirstByte::watch(Path::new(&config.log_directory))?;
        let run = v1::RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: self.target.handler.clone(),
        };
        let mut create = v1::CreateContainerRequest {
            pod_sandbox_id: String::new(),
            config: Some(container),
            sandbox_config: Some(config.clone()),
        };

        let (sandbox, answer) = timed("RunPodSandbox", client.run_pod_sandbox(run)).await?;
        create.pod_sandbox_id.clone_from(&answer.pod_sandbox_id);
        let pod = answer.pod_sandbox_id;
        let (create, answer) = timed("CreateContainer", client.create_container(create)).await?;
        let id = answer.container_id;
        let start = v1::StartContainerRequest { container_id: id.clone() };
        let (start, _) = timed("StartContainer", client.start_container(start)).await?;

        let resident = Resident { pod, config, container: id, mark: name };
        Ok(Started { resident, sandbox, create, start, first })
    }

    /// A whole pod: its container stamps and exits 0.
    pub(super) async fn cold_start(&mut self, ready: &Ready) -> Result<Sample, Failure> {
        let image = ready.image.clone();
        self.cold_start_of(ready, &image).await
    }

    pub(super) async fn cold_start_of(&mut self, ready: &Ready, image: &str) -> Result<Sample, Failure> {
        let started = self.start_pod(ready, image, &[GUEST, "stamp"]).await?;
        let Started { resident, sandbox, create, start, first } = started;
        let exited = self.await_exit(ready, &resident.container, 0).await?;
        let client = &ready.link.client;
        let remove = v1::RemoveContainerRequest { container_id: resident.container.clone() };
        let (removed, _) = timed("RemoveContainer", client.remove_container(remove)).await?;
        let stop = v1::StopPodSandboxRequest { pod_sandbox_id: resident.pod.clone() };
        let (stopped, _) = timed("StopPodSandbox", client.stop_pod_sandbox(stop)).await?;
        let remove = v1::RemovePodSandboxRequest { pod_sandbox_id: resident.pod.clone() };
        let (gone, _) = timed("RemovePodSandbox", client.remove_pod_sandbox(remove)).await?;

        let line = self.first_line(&log_of(&resident)).await?;
        let first = first.stamp().await;
        let entry = self.entrypoint(&line, sandbox.asked, first)?;
        self.verify_gone(ready, &resident.pod).await?;
        let _ = std::fs::remove_dir_all(&resident.config.log_directory);

        let t0 = sandbox.asked;
        let mut sample = Sample::default();
        sample.set("start.entrypoint", ms(t0, entry));
        sample.set("start.api", ms(t0, start.ended));
        sample.set("start.gap", ms(start.ended, entry));
        sample.set("start.warm", ms(start.asked, entry));
        if let Some(first) = first {
            sample.set("start.first-output", ms(t0, first));
            sample.set("log.lag", ms(entry, first));
        }
        sample.set("phase.sandbox", sandbox.ms());
        sample.set("phase.create", create.ms());
        sample.set("phase.start", start.ms());
        sample.set("phase.exit", ms(start.ended, exited));
        sample.set("phase.delete", removed.ms());
        sample.set("phase.sandbox-stop", stopped.ms());
        sample.set("phase.sandbox-remove", gone.ms());
        sample.set("lifecycle.wall", ms(t0, gone.ended));
        sample.set("harness.gap", ms(sandbox.ended, create.asked) + ms(create.ended, start.asked));
        Ok(sample)
    }

    /// A container in the resident pod: created, started, ended, removed.
    pub(super) async fn once(&mut self, ready: &Ready) -> Result<Sample, Failure> {
        let name = self.next_name();
        let config = self.container_config(&ready.image, &name, &[GUEST, "stamp"]);
        let resident = self.resident()?;
        let client = &ready.link.client;
        let create = v1::CreateContainerRequest {
            pod_sandbox_id: resident.pod.clone(),
            config: Some(config),
            sandbox_config: Some(resident.config.clone()),
        };
        let (create, answer) = timed("CreateContainer", client.create_container(create)).await?;
        let container = answer.container_id;
        let start = v1::StartContainerRequest { container_id: container.clone() };
        let (start, _) = timed("StartContainer", client.start_container(start)).await?;
        let exited = self.await_exit(ready, &container, 0).await?;
        let remove = v1::RemoveContainerRequest { container_id: container };
        let (removed, _) = timed("RemoveContainer", client.remove_container(remove)).await?;
        let log = Path::new(&resident.config.log_directory).join(format!("{name}.log"));
        let line = self.first_line(&log).await?;
        let entry = self.entrypoint(&line, create.asked, None)?;
        let _ = std::fs::remove_file(log);
        let mut sample = Sample::default();
        sample.set("run.wall", ms(create.asked, removed.ended));
        sample.set("start.entrypoint", ms(create.asked, entry));
        sample.set("start.warm", ms(start.asked, entry));
        sample.set("phase.create", create.ms());
        sample.set("phase.start", start.ms());
        sample.set("phase.exit", ms(start.ended, exited));
        sample.set("phase.delete", removed.ms());
        Ok(sample)
    }

    /// A pod that stays until [`Self::dismiss`].
    pub(super) async fn settle(&mut self, ready: &Ready) -> Result<Sample, Failure> {
        let image = ready.image.clone();
        let started = self.start_pod(ready, &image, &[GUEST, "stamp-pause"]).await?;
        let line = self.first_line(&log_of(&started.resident)).await?;
        let first = started.first.stamp().await;
        let entry = self.entrypoint(&line, started.sandbox.asked, first)?;
        let mut sample = Sample::default();
        sample.set("start.entrypoint", ms(started.sandbox.asked, entry));
        sample.set("start.api", ms(started.sandbox.asked, started.start.ended));
        self.resident = Some(started.resident);
        Ok(sample)
    }

    /// Ends and removes the resident pod.
    pub(super) async fn dismiss(&mut self, ready: &Ready) -> Result<(), Failure> {
        let Some(resident) = self.resident.take() else { return Ok(()) };
        self.remove_pod(ready, &resident.pod).await?;
        self.verify_gone(ready, &resident.pod).await?;
        let _ = std::fs::remove_dir_all(&resident.config.log_directory);
        Ok(())
    }

    /// Stops and removes a pod with all that is in it.
    pub(super) async fn remove_pod(&self, ready: &Ready, pod: &str) -> Result<(Span, Span), Failure> {
        let client = &ready.link.client;
        let stop = v1::StopPodSandboxRequest { pod_sandbox_id: pod.to_owned() };
        let (stopped, _) = timed("StopPodSandbox", client.stop_pod_sandbox(stop)).await?;
        let remove = v1::RemovePodSandboxRequest { pod_sandbox_id: pod.to_owned() };
        let (removed, _) = timed("RemovePodSandbox", client.remove_pod_sandbox(remove)).await?;
        Ok((stopped, removed))
    }

    /// One pod with a network of its own and one on the host's.
    pub(super) async fn network(&mut self, ready: &Ready) -> Result<Sample, Failure> {
        let (own, own_stop) = self.bare_pod(ready, v1::NamespaceMode::Pod).await?;
        let (host, host_stop) = self.bare_pod(ready, v1::NamespaceMode::Node).await?;
        let mut sample = Sample::default();
        sample.set("phase.sandbox", own.ms());
        sample.set("phase.sandbox-stop", own_stop.ms());
        sample.set("net.setup", own.ms() - host.ms());
        sample.set("net.teardown", own_stop.ms() - host_stop.ms());
        Ok(sample)
    }

    async fn bare_pod(&mut self, ready: &Ready, network: v1::NamespaceMode) -> Result<(Span, Span), Failure> {
        let name = self.next_name();
        let mut config = self.pod_config(ready, &name)?;
        let options = config
            .linux
            .get_or_insert_default()
            .security_context
            .get_or_insert_default()
            .namespace_options
            .get_or_insert_default();
        options.network = network as i32;
        if network == v1::NamespaceMode::Node {
            // The host's name goes with the host's network.
            config.hostname.clear();
        }
        let logs = config.log_directory.clone();
        let request =
            v1::RunPodSandboxRequest { config: Some(config), runtime_handler: self.target.handler.clone() };
        let (run, answer) = timed("RunPodSandbox", ready.link.client.run_pod_sandbox(request)).await?;
        let (stopped, _) = self.remove_pod(ready, &answer.pod_sandbox_id).await?;
        self.verify_gone(ready, &answer.pod_sandbox_id).await?;
        let _ = std::fs::remove_dir_all(logs);
        Ok((run, stopped))
    }

    pub(super) fn resident(&self) -> Result<Resident, Failure> {
        self.resident.clone().ok_or_else(|| Failure::new("pod", "there is no pod to work in"))
    }

    /// Asks until the container has exited with this code; when that was seen, ns.
    pub(super) async fn await_exit(&self, ready: &Ready, container: &str, code: i32) -> Result<u64, Failure> {
        let deadline = now_ns() + self.timeout.as_nanos() as u64;
        loop {
            let request = v1::ContainerStatusRequest { container_id: container.to_owned(), verbose: false };
            let answer = ready.link.client.container_status(request).await;
            let seen = now_ns();
            let status = answer.map_err(failure("ContainerStatus"))?.status.unwrap_or_default();
            if status.state == v1::ContainerState::ContainerExited as i32 {
                if status.exit_code == code {
                    return Ok(seen);
                }
                let why = format!(
                    "code {} instead of {code}: {} {}",
                    status.exit_code, status.reason, status.message
                );
                return Err(Failure::new("exit", why));
            }
            if seen > deadline {
                let why = format!("still in state {} {:?} after its start", status.state, self.timeout);
                return Err(Failure::new("exit", why));
            }
            // The guest ends at once: asking without a pause would measure the asking.
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    }

    /// The first whole line of a log; it may be written a moment after the container has ended.
    pub(super) async fn first_line(&self, log: &Path) -> Result<String, Failure> {
        let deadline = now_ns() + self.timeout.as_nanos() as u64;
        loop {
            let bytes = std::fs::read(log).unwrap_or_default();
            if bytes.contains(&b'\n') {
                let lines = plimsoll_kit::cri::parse_log(&bytes)
                    .map_err(|stop| Failure::new("log", format!("{stop:?}")))?;
                if let Some(line) = lines.first().filter(|l| l.full && l.stream == "stdout") {
                    return Ok(String::from_utf8_lossy(&line.content).into_owned());
                }
                return Err(Failure::new("log", "its first line is no whole line of standard output"));
            }
            if now_ns() > deadline {
                let why = format!("nothing in {} within {:?}", log.display(), self.timeout);
                return Err(Failure::new("log", why));
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    }

    /// The moment of the first instruction: the guest's own stamp, or the arrival of its first byte in the log
    /// where the guest's clock is another one.
    pub(super) fn entrypoint(&self, line: &str, asked: u64, first: Option<u64>) -> Result<u64, Failure> {
        let stamp = parse_stamp(line).ok_or_else(|| {
            let seen: String = line.chars().take(120).collect();
            Failure::new("output", format!("expected one stamp line, got `{seen}`"))
        })?;
        if !self.guest_clock {
            return first.ok_or_else(|| Failure::new("output", "its arrival was not seen"));
        }
        if stamp < asked || stamp > now_ns() {
            return Err(Failure::new(
                "output",
                format!("the guest's stamp {stamp} lies outside the lifecycle"),
            ));
        }
        Ok(stamp)
    }
}

/// Where a resident's container writes.
pub(super) fn log_of(resident: &Resident) -> PathBuf {
    Path::new(&resident.config.log_directory).join(format!("{}.log", resident.mark))
}
