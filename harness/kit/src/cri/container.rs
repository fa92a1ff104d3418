//! Containers of a pod.

use std::path::PathBuf;
use std::time::Duration;

use plimsoll_images::standard::PROBE_PATH;

use super::stream::exec::{Output, Protocol, Session, Streams};
use super::{Answered as _, CallError, Cri, LogLine, Made, Pod, TAG_LABEL, v1};
use crate::probe::{Answers, Script};
use crate::stop::Stop;
use crate::wait::{Poll, wait_until};

/// Bytes of output that a streamed command may give.
const OUTPUT_LIMIT: usize = 128 << 20;

/// A container to be made.
#[derive(Debug, Clone)]
pub struct ContainerBuilder {
    pod: Pod,
    config: v1::ContainerConfig,
}

impl ContainerBuilder {
    pub(super) fn new(pod: Pod) -> Self {
        let name = pod.cri().name("c");
        let config = v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata { name: name.clone(), attempt: 0 }),
            command: vec![PROBE_PATH.into(), "pause".into()],
            labels: [(TAG_LABEL.to_owned(), pod.cri().tag().to_owned())].into(),
            log_path: format!("{name}.log"),
            linux: Some(v1::LinuxContainerConfig {
                security_context: Some(v1::LinuxContainerSecurityContext {
                    namespace_options: namespace_options(&pod.config),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        Self { pod, config }
    }

    /// Changes the configuration.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut v1::ContainerConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Changes the security context.
    #[must_use]
    pub fn security(mut self, change: impl FnOnce(&mut v1::LinuxContainerSecurityContext)) -> Self {
        let linux = self.config.linux.get_or_insert_default();
        change(linux.security_context.get_or_insert_default());
        self
    }

    /// Changes the resources.
    #[must_use]
    pub fn resources(mut self, change: impl FnOnce(&mut v1::LinuxContainerResources)) -> Self {
        let linux = self.config.linux.get_or_insert_default();
        change(linux.resources.get_or_insert_default());
        self
    }

    /// The image, by reference or id.
    #[must_use]
    pub fn image(self, reference: &str) -> Self {
        let image = super::images::spec(reference);
        self.with(|config| config.image = Some(image))
    }

    /// The whole command line.
    #[must_use]
    pub fn command(self, words: &[&str]) -> Self {
        let words = words.iter().map(|w| (*w).to_owned()).collect();
        self.with(|config| config.command = words)
    }

    /// The probe runs this script as the container's command; answers go to the log.
    #[must_use]
    pub fn script(self, script: &Script) -> Self {
        let text = script.text(self.pod.cri().tag(), None);
        self.command(&[PROBE_PATH, &text])
    }

    /// Mounts a host path.
    #[must_use]
    pub fn mount(self, host: &str, inside: &str, change: impl FnOnce(&mut v1::Mount)) -> Self {
        let mut mount =
            v1::Mount { host_path: host.into(), container_path: inside.into(), ..Default::default() };
        change(&mut mount);
        self.with(|config| config.mounts.push(mount))
    }

    /// The configuration.
    pub fn config(&self) -> &v1::ContainerConfig {
        &self.config
    }

    /// Makes it and leaves the error to the caller.
    pub async fn try_create(self) -> Result<Result<Container, CallError>, Stop> {
        let mut config = self.config;
        if config.image.is_none() {
            config.image = Some(super::images::spec(&self.pod.cri().plain().await?.id));
        }
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: self.pod.id.clone(),
            config: Some(config.clone()),
            sandbox_config: Some(self.pod.config.clone()),
        };
        let answer = self.pod.cri().client().create_container(request).await;
        if let Ok(answer) = &answer {
            self.pod.cri().remember(Made::Container(answer.container_id.clone()));
        }
        Ok(answer.map(|a| Container { id: a.container_id, pod: self.pod, config }))
    }

    /// Makes it as preparation of a case.
    pub async fn create(self) -> Result<Container, Stop> {
        self.try_create().await?.setup()
    }

    /// Makes and starts it as preparation of a case.
    pub async fn start(self) -> Result<Container, Stop> {
        let container = self.create().await?;
        container.start().await.setup()?;
        Ok(container)
    }

    /// Makes it, starts it and waits for its end.
    pub async fn run(self) -> Result<Container, Stop> {
        let container = self.start().await?;
        container.exited().await?;
        Ok(container)
    }

    /// Runs this script as the container's command and gives its answers from the log.
    pub async fn answers(self, script: &Script) -> Result<Answers, Stop> {
        let tag = self.pod.cri().tag().to_owned();
        let container = self.script(script).run().await?;
        let text = container.log_text("stdout")?;
        Ok(Answers::parse(&text, &tag))
    }

    /// Expects a refusal at creation or at start, and that it never runs; gives the error.
    pub async fn must_be_refused(self) -> Result<CallError, Stop> {
        match self.try_create().await? {
            Err(error) => Err::<(), _>(error).must_fail(),
            Ok(container) => container.start().await.must_fail(),
        }
    }
}

/// A container's namespace options follow the pod's, as the kubelet's do.
fn namespace_options(config: &v1::PodSandboxConfig) -> Option<v1::NamespaceOption> {
    let security = config.linux.as_ref()?.security_context.as_ref()?;
    security.namespace_options.clone()
}

/// A container that was made.
#[derive(Debug, Clone)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its pod.
    pub pod: Pod,
    /// What it was made with.
    pub config: v1::ContainerConfig,
}

impl Container {
    /// The endpoint.
    pub fn cri(&self) -> &Cri {
        self.pod.cri()
    }

    /// Starts it.
    pub async fn start(&self) -> Result<(), CallError> {
        let request = v1::StartContainerRequest { container_id: self.id.clone() };
        self.cri().client().start_container(request).await.map(|_| ())
    }

    /// Stops it with a grace period in seconds.
    pub async fn stop(&self, timeout: i64) -> Result<(), CallError> {
        let request = v1::StopContainerRequest { container_id: self.id.clone(), timeout };
        self.cri().client().stop_container(request).await.map(|_| ())
    }

    /// Removes it.
    pub async fn remove(&self) -> Result<(), CallError> {
        let request = v1::RemoveContainerRequest { container_id: self.id.clone() };
        self.cri().client().remove_container(request).await.map(|_| ())
    }

    /// The whole answer of `ContainerStatus`.
    pub async fn try_status(&self, verbose: bool) -> Result<v1::ContainerStatusResponse, CallError> {
        let request = v1::ContainerStatusRequest { container_id: self.id.clone(), verbose };
        self.cri().client().container_status(request).await
    }

    /// Its status.
    pub async fn status(&self) -> Result<v1::ContainerStatus, Stop> {
        let answer = self.try_status(false).await.must_succeed()?;
        answer.status.ok_or_else(|| Stop::violation("ContainerStatus answers a status", "none"))
    }

    /// Waits for its end and gives its status.
    pub async fn exited(&self) -> Result<v1::ContainerStatus, Stop> {
        wait_until("the container has ended", self.cri().wait(), async || {
            let status = self.status().await?;
            if status.state == v1::ContainerState::ContainerExited as i32 {
                return Ok(Poll::Ready(status));
            }
            Ok(Poll::NotYet(format!("state {:?}", status.state())))
        })
        .await
    }

    /// How `ListContainers` shows it.
    pub async fn listed(&self) -> Result<Option<v1::Container>, Stop> {
        let filter = v1::ContainerFilter { id: self.id.clone(), ..Default::default() };
        let request = v1::ListContainersRequest { filter: Some(filter) };
        let mut found = self.cri().client().list_containers(request).await.must_succeed()?.containers;
        Ok(if found.is_empty() { None } else { Some(found.remove(0)) })
    }

    /// Runs a command in it, without streaming.
    pub async fn exec(&self, words: &[&str], timeout: i64) -> Result<v1::ExecSyncResponse, CallError> {
        let cmd = words.iter().map(|w| (*w).to_owned()).collect();
        let request = v1::ExecSyncRequest { container_id: self.id.clone(), cmd, timeout };
        self.cri().client().exec_sync(request).await
    }

    /// Runs a script in it, without streaming, and gives the answer of the call.
    pub async fn exec_script(
        &self,
        script: &Script,
        timeout: i64,
    ) -> Result<v1::ExecSyncResponse, CallError> {
        self.exec(&[PROBE_PATH, &script.text(self.cri().tag(), None)], timeout).await
    }

    /// Asks the probe in it.
    pub async fn ask(&self, script: &Script) -> Result<Answers, Stop> {
        let answer = self.exec_script(script, 30).await.setup()?;
        Ok(Answers::parse(&String::from_utf8_lossy(&answer.stdout), self.cri().tag()))
    }

    /// The URL of a streamed command.
    pub async fn exec_url(&self, words: &[&str], streams: Streams) -> Result<String, CallError> {
        let cmd = words.iter().map(|w| (*w).to_owned()).collect();
        let Streams { stdin, stdout, stderr, tty } = streams;
        let request = v1::ExecRequest { container_id: self.id.clone(), cmd, tty, stdin, stdout, stderr };
        Ok(self.cri().client().exec(request).await?.url)
    }

    /// The URL of an attachment.
    pub async fn attach_url(&self, streams: Streams) -> Result<String, CallError> {
        let Streams { stdin, stdout, stderr, tty } = streams;
        let request = v1::AttachRequest { container_id: self.id.clone(), stdin, tty, stdout, stderr };
        Ok(self.cri().client().attach(request).await?.url)
    }

    /// Opens a streamed script.
    pub async fn stream(
        &self,
        script: &Script,
        protocol: Protocol,
        streams: Streams,
    ) -> Result<Session, Stop> {
        let text = script.text(self.cri().tag(), None);
        let url = self.exec_url(&[PROBE_PATH, &text], streams).await.must_succeed()?;
        open(&url, protocol, streams, self.cri().wait()).await
    }

    /// Runs a streamed script to its end.
    pub async fn run_stream(
        &self,
        script: &Script,
        protocol: Protocol,
        streams: Streams,
        stdin: Option<&[u8]>,
    ) -> Result<Output, Stop> {
        let session = self.stream(script, protocol, streams).await?;
        let limit = self.cri().wait().max(Duration::from_secs(20));
        session.run(stdin, limit, OUTPUT_LIMIT).await.map_err(|error| streamed(&error))
    }

    /// Its log file on the host.
    pub fn log_file(&self) -> PathBuf {
        self.pod.log_directory().join(&self.config.log_path)
    }

    /// Its log, taken apart. A line that breaks the format is a violation.
    pub fn log(&self) -> Result<Vec<LogLine>, Stop> {
        let bytes = std::fs::read(self.log_file()).map_err(|error| {
            Stop::violation("the log file exists below the pod's log directory", error.kind().to_string())
        })?;
        super::parse_log(&bytes)
    }

    /// What one stream of its log says.
    pub fn log_bytes(&self, stream: &str) -> Result<Vec<u8>, Stop> {
        let mut out = Vec::new();
        for line in self.log()?.into_iter().filter(|l| l.stream == stream) {
            out.extend_from_slice(&line.content);
            if line.full {
                out.push(b'\n');
            }
        }
        Ok(out)
    }

    /// The same as text.
    pub fn log_text(&self, stream: &str) -> Result<String, Stop> {
        Ok(String::from_utf8_lossy(&self.log_bytes(stream)?).into_owned())
    }

    /// Waits until its log holds a text.
    pub async fn logs(&self, text: &str) -> Result<(), Stop> {
        wait_until(&format!("the log holds {text:?}"), self.cri().wait(), async || {
            let log = std::fs::read(self.log_file()).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            if log.contains(text) {
                return Ok(Poll::Ready(()));
            }
            Ok(Poll::NotYet(format!("{} bytes of log", log.len())))
        })
        .await
    }

    /// Replaces the limits.
    pub async fn update(&self, linux: v1::LinuxContainerResources) -> Result<(), CallError> {
        let request = v1::UpdateContainerResourcesRequest {
            container_id: self.id.clone(),
            linux: Some(linux),
            ..Default::default()
        };
        self.cri().client().update_container_resources(request).await.map(|_| ())
    }
}

/// Opens a stream URL; failing is a violation.
pub(super) async fn open(
    url: &str,
    protocol: Protocol,
    streams: Streams,
    limit: Duration,
) -> Result<Session, Stop> {
    Session::open(url, protocol, streams, limit).await.map_err(|error| streamed(&error))
}

/// A failed stream as a violation.
pub fn streamed(error: &super::stream::StreamError) -> Stop {
    Stop::violation("the stream works", super::answer::stable(&error.to_string()))
}
