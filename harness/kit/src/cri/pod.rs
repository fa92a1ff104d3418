//! Pod sandboxes.

use std::path::PathBuf;

use super::container::ContainerBuilder;
use super::{Answered as _, CallError, Cri, Made, TAG_LABEL, v1};
use crate::stop::Stop;

/// A pod to be run.
#[derive(Debug, Clone)]
pub struct PodBuilder {
    cri: Cri,
    config: v1::PodSandboxConfig,
    handler: String,
}

impl PodBuilder {
    pub(super) fn new(cri: Cri) -> Self {
        let name = cri.name("pod");
        let metadata = v1::PodSandboxMetadata {
            uid: name.clone(),
            name: name.clone(),
            namespace: "plimsoll".into(),
            attempt: 0,
        };
        let config = v1::PodSandboxConfig {
            metadata: Some(metadata),
            hostname: name.chars().take(63).collect(),
            log_directory: cri.dir().join(&name).display().to_string(),
            labels: [(TAG_LABEL.to_owned(), cri.tag().to_owned())].into(),
            linux: Some(v1::LinuxPodSandboxConfig {
                // A cgroup per pod below the attempt's own, as a kubelet names one: what stays in it is found.
                cgroup_parent: match cri.cgroup() {
                    "" => String::new(),
                    cgroup => format!("{cgroup}/{name}"),
                },
                security_context: Some(v1::LinuxSandboxSecurityContext::default()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let handler = cri.handler().to_owned();
        Self { cri, config, handler }
    }

    /// Changes the configuration.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut v1::PodSandboxConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Changes the Linux part of the configuration.
    #[must_use]
    pub fn linux(mut self, change: impl FnOnce(&mut v1::LinuxPodSandboxConfig)) -> Self {
        change(self.config.linux.get_or_insert_default());
        self
    }

    /// Changes the security context.
    #[must_use]
    pub fn security(self, change: impl FnOnce(&mut v1::LinuxSandboxSecurityContext)) -> Self {
        self.linux(|linux| change(linux.security_context.get_or_insert_default()))
    }

    /// Changes the namespace options.
    #[must_use]
    pub fn namespaces(self, change: impl FnOnce(&mut v1::NamespaceOption)) -> Self {
        self.security(|security| change(security.namespace_options.get_or_insert_default()))
    }

    /// On the network of the host.
    #[must_use]
    pub fn host_network(self) -> Self {
        self.namespaces(|options| options.network = v1::NamespaceMode::Node as i32)
            .with(|config| config.hostname.clear())
    }

    /// With this handler instead of the target's.
    #[must_use]
    pub fn handler(mut self, name: &str) -> Self {
        name.clone_into(&mut self.handler);
        self
    }

    /// The configuration.
    pub fn config(&self) -> &v1::PodSandboxConfig {
        &self.config
    }

    /// Runs it and leaves the error to the caller.
    pub async fn try_run(self) -> Result<Pod, CallError> {
        if !self.config.log_directory.is_empty() {
            let _ = std::fs::create_dir_all(&self.config.log_directory);
        }
        let request = v1::RunPodSandboxRequest {
            config: Some(self.config.clone()),
            runtime_handler: self.handler.clone(),
        };
        let id = self.cri.client().run_pod_sandbox(request).await?.pod_sandbox_id;
        self.cri.remember(Made::Pod(id.clone()));
        Ok(Pod { cri: self.cri, id, config: self.config })
    }

    /// Runs it as preparation of a case.
    pub async fn run(self) -> Result<Pod, Stop> {
        self.try_run().await.setup()
    }
}

/// A pod that was run.
#[derive(Debug, Clone)]
pub struct Pod {
    cri: Cri,
    /// Its id.
    pub id: String,
    /// What it was run with.
    pub config: v1::PodSandboxConfig,
}

impl Pod {
    /// The endpoint.
    pub fn cri(&self) -> &Cri {
        &self.cri
    }

    /// Its metadata.
    pub fn metadata(&self) -> v1::PodSandboxMetadata {
        self.config.metadata.clone().unwrap_or_default()
    }

    /// Directory of its logs on the host.
    pub fn log_directory(&self) -> PathBuf {
        self.config.log_directory.clone().into()
    }

    /// The whole answer of `PodSandboxStatus`.
    pub async fn try_status(&self, verbose: bool) -> Result<v1::PodSandboxStatusResponse, CallError> {
        let request = v1::PodSandboxStatusRequest { pod_sandbox_id: self.id.clone(), verbose };
        self.cri.client().pod_sandbox_status(request).await
    }

    /// Its status.
    pub async fn status(&self) -> Result<v1::PodSandboxStatus, Stop> {
        let answer = self.try_status(false).await.must_succeed()?;
        answer.status.ok_or_else(|| Stop::violation("PodSandboxStatus answers a status", "none"))
    }

    /// Its address.
    pub async fn ip(&self) -> Result<String, Stop> {
        let ip = self.status().await?.network.unwrap_or_default().ip;
        if ip.is_empty() { Err(Stop::setup("the pod has no address")) } else { Ok(ip) }
    }

    /// Stops it.
    pub async fn stop(&self) -> Result<(), CallError> {
        let request = v1::StopPodSandboxRequest { pod_sandbox_id: self.id.clone() };
        self.cri.client().stop_pod_sandbox(request).await.map(|_| ())
    }

    /// Removes it.
    pub async fn remove(&self) -> Result<(), CallError> {
        let request = v1::RemovePodSandboxRequest { pod_sandbox_id: self.id.clone() };
        self.cri.client().remove_pod_sandbox(request).await.map(|_| ())
    }

    /// Whether `ListPodSandbox` shows it, and in what form.
    pub async fn listed(&self) -> Result<Option<v1::PodSandbox>, Stop> {
        let filter = v1::PodSandboxFilter { id: self.id.clone(), ..Default::default() };
        let mut items = self.list(filter).await?;
        Ok(if items.is_empty() { None } else { Some(items.remove(0)) })
    }

    /// `ListPodSandbox` with this filter.
    pub async fn list(&self, filter: v1::PodSandboxFilter) -> Result<Vec<v1::PodSandbox>, Stop> {
        let request = v1::ListPodSandboxRequest { filter: Some(filter) };
        Ok(self.cri.client().list_pod_sandbox(request).await.must_succeed()?.items)
    }

    /// Containers of this pod.
    pub async fn containers(&self) -> Result<Vec<v1::Container>, Stop> {
        let filter = v1::ContainerFilter { pod_sandbox_id: self.id.clone(), ..Default::default() };
        let request = v1::ListContainersRequest { filter: Some(filter) };
        Ok(self.cri.client().list_containers(request).await.must_succeed()?.containers)
    }

    /// A container of this pod, of the plain image, whose command waits.
    pub fn container(&self) -> ContainerBuilder {
        ContainerBuilder::new(self.clone())
    }
}
