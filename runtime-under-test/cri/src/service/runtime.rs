//! `runtime.v1.RuntimeService`: thin, every rpc goes to the module that knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::BroadcastStream;
use tonic::{Request, Response, Status};

use super::{Answers, Service, batches, blocking, detached, need, undone_if_unwanted};
use crate::api::runtime_service_server::RuntimeService;
#[allow(clippy::wildcard_imports, reason = "nearly every message of the interface is named below")]
use crate::api::*;
use crate::error::{Error, Result};
use crate::pods::exec::Wants;
use crate::pods::view::labels_match;
use crate::pods::{Container as Own, Pod, State, lock};
use crate::stats::metrics;
use crate::stream::tokens::Ticket;

type Answer<T> = std::result::Result<Response<T>, Status>;

impl Service {
    async fn container_stats_list(
        &self,
        filter: Option<ContainerStatsFilter>,
    ) -> std::result::Result<Vec<ContainerStats>, Status> {
        let daemon = Arc::clone(&self.daemon);
        let filter = filter.unwrap_or_default();
        blocking(move || {
            let wanted = |c: &Arc<Own>| {
                c.state() == State::Running
                    && (filter.id.is_empty() || c.id.starts_with(&filter.id))
                    && (filter.pod_sandbox_id.is_empty() || c.pod_id().starts_with(&filter.pod_sandbox_id))
                    && labels_match(&filter.label_selector, &c.config.labels)
            };
            let all: Vec<Arc<Own>> = lock(&daemon.table).containers.values().cloned().collect();
            Ok(all.iter().filter(|c| wanted(c)).map(|c| daemon.container_stats(c)).collect())
        })
        .await
    }

    async fn pod_stats_list(
        &self,
        filter: Option<PodSandboxStatsFilter>,
    ) -> std::result::Result<Vec<PodSandboxStats>, Status> {
        let daemon = Arc::clone(&self.daemon);
        let filter = filter.unwrap_or_default();
        blocking(move || {
            let wanted = |p: &Arc<Pod>| {
                p.ready()
                    && (filter.id.is_empty() || p.id.starts_with(&filter.id))
                    && labels_match(&filter.label_selector, &p.config.labels)
            };
            let all: Vec<Arc<Pod>> = lock(&daemon.table).pods.values().cloned().collect();
            Ok(all.iter().filter(|p| wanted(p)).map(|p| daemon.pod_stats(p)).collect())
        })
        .await
    }

    async fn metrics_list(&self) -> std::result::Result<Vec<PodSandboxMetrics>, Status> {
        let daemon = Arc::clone(&self.daemon);
        blocking(move || {
            let all: Vec<Arc<Pod>> = lock(&daemon.table).pods.values().cloned().collect();
            Ok(all.iter().filter(|p| p.ready()).map(|p| daemon.pod_metrics(p)).collect())
        })
        .await
    }

    fn conditions(&self) -> RuntimeStatus {
        let (reason, message) = self.daemon.network.problem().unwrap_or_default();
        let condition = |r#type: &str, status: bool, reason: String, message: String| RuntimeCondition {
            r#type: r#type.to_owned(),
            status,
            reason,
            message,
        };
        RuntimeStatus {
            conditions: vec![
                condition("RuntimeReady", true, String::new(), String::new()),
                condition("NetworkReady", reason.is_empty(), reason, message),
            ],
        }
    }

    fn handlers(&self) -> Vec<RuntimeHandler> {
        let daemon = &self.daemon;
        let features = |rro: bool| {
            Some(RuntimeHandlerFeatures { recursive_read_only_mounts: rro, user_namespaces: daemon.userns })
        };
        let default = daemon.runtime("").is_ok_and(|r| r.rro);
        let mut out = vec![RuntimeHandler { name: String::new(), features: features(default) }];
        out.extend(
            daemon
                .runtimes
                .values()
                .map(|r| RuntimeHandler { name: r.name.clone(), features: features(r.rro) }),
        );
        out
    }

    fn running(&self, id: &str) -> Result<Arc<Own>> {
        need("container_id", id)?;
        let container = self.daemon.container(id)?;
        if container.state() == State::Running {
            Ok(container)
        } else {
            Err(Error::precondition(format!("container {} is not running", container.id)))
        }
    }
}

/// The rules of exec and attach (`exec.validate-*`).
fn check_streams(wants: Wants) -> Result<()> {
    if !wants.stdin && !wants.stdout && !wants.stderr {
        return Err(Error::invalid("one of stdin, stdout and stderr must be set"));
    }
    if wants.tty && wants.stderr {
        return Err(Error::invalid("tty and stderr exclude each other: a terminal has one output stream"));
    }
    Ok(())
}

#[tonic::async_trait]
impl RuntimeService for Service {
    type StreamPodSandboxesStream = Answers<StreamPodSandboxesResponse>;
    type StreamContainersStream = Answers<StreamContainersResponse>;
    type StreamContainerStatsStream = Answers<StreamContainerStatsResponse>;
    type StreamPodSandboxStatsStream = Answers<StreamPodSandboxStatsResponse>;
    type StreamPodSandboxMetricsStream = Answers<StreamPodSandboxMetricsResponse>;
    type GetContainerEventsStream = Answers<ContainerEventResponse>;

    async fn version(&self, _: Request<VersionRequest>) -> Answer<VersionResponse> {
        Ok(Response::new(VersionResponse {
            version: "0.1.0".into(),
            runtime_name: "plimsoll-cri".into(),
            runtime_version: env!("CARGO_PKG_VERSION").into(),
            runtime_api_version: "v1".into(),
        }))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Answer<StatusResponse> {
        let mut info = BTreeMap::new();
        if request.into_inner().verbose {
            let config = &self.daemon.config;
            let text = json!({"root": config.root, "state": config.state, "defaultRuntime": config.default_runtime, "userNamespaces": self.daemon.userns, "cdiSpecDirs": config.cdi_dirs});
            info.insert("config".to_owned(), text.to_string());
        }
        Ok(Response::new(StatusResponse {
            status: Some(self.conditions()),
            info,
            runtime_handlers: self.handlers(),
            features: Some(RuntimeFeatures {
                supplemental_groups_policy: true,
                user_namespaces_host_network: false,
                mount_options: true,
            }),
        }))
    }

    async fn runtime_config(&self, _: Request<RuntimeConfigRequest>) -> Answer<RuntimeConfigResponse> {
        let linux = LinuxRuntimeConfiguration { cgroup_driver: CgroupDriver::Cgroupfs as i32 };
        Ok(Response::new(RuntimeConfigResponse { linux: Some(linux) }))
    }

    async fn update_runtime_config(
        &self,
        request: Request<UpdateRuntimeConfigRequest>,
    ) -> Answer<UpdateRuntimeConfigResponse> {
        let cidr =
            request.into_inner().runtime_config.and_then(|c| c.network_config).unwrap_or_default().pod_cidr;
        tracing::info!(pod_cidr = %cidr, "the node's pod range was announced");
        Ok(Response::new(UpdateRuntimeConfigResponse {}))
    }

    async fn run_pod_sandbox(&self, request: Request<RunPodSandboxRequest>) -> Answer<RunPodSandboxResponse> {
        let request = request.into_inner();
        let config = request.config.ok_or_else(|| Error::invalid("config is missing"))?;
        let (daemon, own) = (Arc::clone(&self.daemon), Arc::clone(&self.daemon));
        let work = move || daemon.run_pod(config, request.runtime_handler);
        let undo = |id: String| async move {
            tracing::info!(pod = %id, "nobody waits for this sandbox any more; it is removed");
            if let Err(error) = own.remove_pod(&id).await {
                tracing::warn!(pod = %id, %error, "removing an unwanted sandbox");
            }
        };
        let pod_sandbox_id = undone_if_unwanted(work, undo).await?;
        Ok(Response::new(RunPodSandboxResponse { pod_sandbox_id }))
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<StopPodSandboxRequest>,
    ) -> Answer<StopPodSandboxResponse> {
        let (daemon, id) = (Arc::clone(&self.daemon), request.into_inner().pod_sandbox_id);
        need("pod_sandbox_id", &id)?;
        detached(async move { daemon.stop_pod(&id).await }).await?;
        Ok(Response::new(StopPodSandboxResponse {}))
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<RemovePodSandboxRequest>,
    ) -> Answer<RemovePodSandboxResponse> {
        let (daemon, id) = (Arc::clone(&self.daemon), request.into_inner().pod_sandbox_id);
        need("pod_sandbox_id", &id)?;
        detached(async move { daemon.remove_pod(&id).await }).await?;
        Ok(Response::new(RemovePodSandboxResponse {}))
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<PodSandboxStatusRequest>,
    ) -> Answer<PodSandboxStatusResponse> {
        let request = request.into_inner();
        let pod = self.daemon.pod(&request.pod_sandbox_id)?;
        let info = if request.verbose { self.daemon.pod_info(&pod) } else { BTreeMap::new() };
        Ok(Response::new(PodSandboxStatusResponse {
            status: Some(self.daemon.pod_status(&pod)),
            info,
            containers_statuses: self
                .daemon
                .containers_of(&pod.id)
                .iter()
                .map(|c| self.daemon.container_status(c))
                .collect(),
            timestamp: crate::util::now_ns(),
        }))
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<ListPodSandboxRequest>,
    ) -> Answer<ListPodSandboxResponse> {
        Ok(Response::new(ListPodSandboxResponse {
            items: self.daemon.list_pods(request.into_inner().filter),
        }))
    }

    async fn stream_pod_sandboxes(
        &self,
        request: Request<StreamPodSandboxesRequest>,
    ) -> Answer<Self::StreamPodSandboxesStream> {
        let items = self.daemon.list_pods(request.into_inner().filter);
        Ok(Response::new(batches(items, |pod_sandboxes| StreamPodSandboxesResponse { pod_sandboxes })))
    }

    async fn create_container(
        &self,
        request: Request<CreateContainerRequest>,
    ) -> Answer<CreateContainerResponse> {
        let request = request.into_inner();
        need("pod_sandbox_id", &request.pod_sandbox_id)?;
        let config = request.config.ok_or_else(|| Error::invalid("config is missing"))?;
        let daemon = Arc::clone(&self.daemon);
        let container_id = blocking(move || daemon.create_container(&request.pod_sandbox_id, config)).await?;
        Ok(Response::new(CreateContainerResponse { container_id }))
    }

    async fn start_container(
        &self,
        request: Request<StartContainerRequest>,
    ) -> Answer<StartContainerResponse> {
        let (daemon, id) = (Arc::clone(&self.daemon), request.into_inner().container_id);
        detached(async move { daemon.start_container(&id).await }).await?;
        Ok(Response::new(StartContainerResponse {}))
    }

    async fn stop_container(&self, request: Request<StopContainerRequest>) -> Answer<StopContainerResponse> {
        let request = request.into_inner();
        need("container_id", &request.container_id)?;
        // Not detached: a client that goes away must not have its container killed early.
        self.daemon.stop_container(&request.container_id, request.timeout).await?;
        Ok(Response::new(StopContainerResponse {}))
    }

    async fn remove_container(
        &self,
        request: Request<RemoveContainerRequest>,
    ) -> Answer<RemoveContainerResponse> {
        let (daemon, id) = (Arc::clone(&self.daemon), request.into_inner().container_id);
        need("container_id", &id)?;
        detached(async move { daemon.remove_container(&id).await }).await?;
        Ok(Response::new(RemoveContainerResponse {}))
    }

    async fn list_containers(
        &self,
        request: Request<ListContainersRequest>,
    ) -> Answer<ListContainersResponse> {
        Ok(Response::new(ListContainersResponse {
            containers: self.daemon.list_containers(request.into_inner().filter),
        }))
    }

    async fn stream_containers(
        &self,
        request: Request<StreamContainersRequest>,
    ) -> Answer<Self::StreamContainersStream> {
        let items = self.daemon.list_containers(request.into_inner().filter);
        Ok(Response::new(batches(items, |containers| StreamContainersResponse { containers })))
    }

    async fn container_status(
        &self,
        request: Request<ContainerStatusRequest>,
    ) -> Answer<ContainerStatusResponse> {
        let request = request.into_inner();
        let container = self.daemon.container(&request.container_id)?;
        let info = if request.verbose { self.daemon.container_info(&container) } else { BTreeMap::new() };
        Ok(Response::new(ContainerStatusResponse {
            status: Some(self.daemon.container_status(&container)),
            info,
        }))
    }

    async fn update_container_resources(
        &self,
        request: Request<UpdateContainerResourcesRequest>,
    ) -> Answer<UpdateContainerResourcesResponse> {
        let request = request.into_inner();
        let daemon = Arc::clone(&self.daemon);
        blocking(move || daemon.update_container(&request.container_id, &request.linux.unwrap_or_default()))
            .await?;
        Ok(Response::new(UpdateContainerResourcesResponse {}))
    }

    async fn reopen_container_log(
        &self,
        request: Request<ReopenContainerLogRequest>,
    ) -> Answer<ReopenContainerLogResponse> {
        let (daemon, id) = (Arc::clone(&self.daemon), request.into_inner().container_id);
        blocking(move || daemon.reopen_log(&id)).await?;
        Ok(Response::new(ReopenContainerLogResponse {}))
    }

    async fn exec_sync(&self, request: Request<ExecSyncRequest>) -> Answer<ExecSyncResponse> {
        let request = request.into_inner();
        if request.timeout < 0 {
            return Err(Error::invalid("timeout must not be negative").into());
        }
        Ok(Response::new(self.daemon.exec_sync(&request.container_id, request.cmd, request.timeout).await?))
    }

    async fn exec(&self, request: Request<ExecRequest>) -> Answer<ExecResponse> {
        let request = request.into_inner();
        let wants =
            Wants { tty: request.tty, stdin: request.stdin, stdout: request.stdout, stderr: request.stderr };
        need("container_id", &request.container_id)?;
        check_streams(wants)?;
        if request.cmd.is_empty() {
            return Err(Error::invalid("cmd is empty").into());
        }
        let container = self.running(&request.container_id)?;
        let url = self
            .daemon
            .streams
            .issue("exec", Ticket::Exec { container: container.id.clone(), command: request.cmd, wants })?;
        Ok(Response::new(ExecResponse { url }))
    }

    async fn attach(&self, request: Request<AttachRequest>) -> Answer<AttachResponse> {
        let request = request.into_inner();
        let wants =
            Wants { tty: request.tty, stdin: request.stdin, stdout: request.stdout, stderr: request.stderr };
        need("container_id", &request.container_id)?;
        check_streams(wants)?;
        let container = self.running(&request.container_id)?;
        if request.tty != container.config.tty {
            return Err(Error::invalid(format!(
                "tty is {} but the container was made with {}",
                request.tty, container.config.tty
            ))
            .into());
        }
        let url =
            self.daemon.streams.issue("attach", Ticket::Attach { container: container.id.clone(), wants })?;
        Ok(Response::new(AttachResponse { url }))
    }

    async fn port_forward(&self, request: Request<PortForwardRequest>) -> Answer<PortForwardResponse> {
        let request = request.into_inner();
        need("pod_sandbox_id", &request.pod_sandbox_id)?;
        let pod = self.daemon.pod(&request.pod_sandbox_id)?;
        if !pod.ready() {
            return Err(Error::precondition(format!("sandbox {} is not ready", pod.id)).into());
        }
        let ports = request.port.iter().map(|p| u16::try_from(*p).ok().filter(|p| *p > 0));
        let ports: Option<Vec<u16>> = ports.collect();
        let ports = ports.ok_or_else(|| Error::invalid("port must be within 1..=65535"))?;
        let url =
            self.daemon.streams.issue("portforward", Ticket::PortForward { pod: pod.id.clone(), ports })?;
        Ok(Response::new(PortForwardResponse { url }))
    }

    async fn container_stats(
        &self,
        request: Request<ContainerStatsRequest>,
    ) -> Answer<ContainerStatsResponse> {
        let daemon = Arc::clone(&self.daemon);
        let container = daemon.container(&request.into_inner().container_id)?;
        let stats = blocking(move || Ok(daemon.container_stats(&container))).await?;
        Ok(Response::new(ContainerStatsResponse { stats: Some(stats) }))
    }

    async fn list_container_stats(
        &self,
        request: Request<ListContainerStatsRequest>,
    ) -> Answer<ListContainerStatsResponse> {
        Ok(Response::new(ListContainerStatsResponse {
            stats: self.container_stats_list(request.into_inner().filter).await?,
        }))
    }

    async fn stream_container_stats(
        &self,
        request: Request<StreamContainerStatsRequest>,
    ) -> Answer<Self::StreamContainerStatsStream> {
        let items = self.container_stats_list(request.into_inner().filter).await?;
        Ok(Response::new(batches(items, |container_stats| StreamContainerStatsResponse { container_stats })))
    }

    async fn pod_sandbox_stats(
        &self,
        request: Request<PodSandboxStatsRequest>,
    ) -> Answer<PodSandboxStatsResponse> {
        let daemon = Arc::clone(&self.daemon);
        let pod = daemon.pod(&request.into_inner().pod_sandbox_id)?;
        let stats = blocking(move || Ok(daemon.pod_stats(&pod))).await?;
        Ok(Response::new(PodSandboxStatsResponse { stats: Some(stats) }))
    }

    async fn list_pod_sandbox_stats(
        &self,
        request: Request<ListPodSandboxStatsRequest>,
    ) -> Answer<ListPodSandboxStatsResponse> {
        Ok(Response::new(ListPodSandboxStatsResponse {
            stats: self.pod_stats_list(request.into_inner().filter).await?,
        }))
    }

    async fn stream_pod_sandbox_stats(
        &self,
        request: Request<StreamPodSandboxStatsRequest>,
    ) -> Answer<Self::StreamPodSandboxStatsStream> {
        let items = self.pod_stats_list(request.into_inner().filter).await?;
        Ok(Response::new(batches(items, |pod_sandbox_stats| StreamPodSandboxStatsResponse {
            pod_sandbox_stats,
        })))
    }

    async fn list_metric_descriptors(
        &self,
        _: Request<ListMetricDescriptorsRequest>,
    ) -> Answer<ListMetricDescriptorsResponse> {
        Ok(Response::new(ListMetricDescriptorsResponse { descriptors: metrics::descriptors() }))
    }

    async fn list_pod_sandbox_metrics(
        &self,
        _: Request<ListPodSandboxMetricsRequest>,
    ) -> Answer<ListPodSandboxMetricsResponse> {
        Ok(Response::new(ListPodSandboxMetricsResponse { pod_metrics: self.metrics_list().await? }))
    }

    async fn stream_pod_sandbox_metrics(
        &self,
        _: Request<StreamPodSandboxMetricsRequest>,
    ) -> Answer<Self::StreamPodSandboxMetricsStream> {
        let items = self.metrics_list().await?;
        Ok(Response::new(batches(items, |pod_sandbox_metrics| StreamPodSandboxMetricsResponse {
            pod_sandbox_metrics,
        })))
    }

    async fn get_container_events(
        &self,
        _: Request<GetEventsRequest>,
    ) -> Answer<Self::GetContainerEventsStream> {
        // A reader too slow for the queue loses its oldest events and goes on; the server never waits for it.
        let events =
            BroadcastStream::new(self.daemon.events.subscribe()).filter_map(std::result::Result::ok).map(Ok);
        Ok(Response::new(Box::pin(events)))
    }

    async fn update_pod_sandbox_resources(
        &self,
        request: Request<UpdatePodSandboxResourcesRequest>,
    ) -> Answer<UpdatePodSandboxResourcesResponse> {
        // The client has set the pod's cgroup already; there is nothing of ours to resize.
        let pod = self.daemon.pod(&request.into_inner().pod_sandbox_id)?;
        tracing::info!(pod = %pod.id, "pod resources changed");
        Ok(Response::new(UpdatePodSandboxResourcesResponse {}))
    }

    async fn checkpoint_container(
        &self,
        request: Request<CheckpointContainerRequest>,
    ) -> Answer<CheckpointContainerResponse> {
        let (daemon, request) = (Arc::clone(&self.daemon), request.into_inner());
        need("container_id", &request.container_id)?;
        blocking(move || {
            daemon.checkpoint_container(&request.container_id, &request.location, request.timeout)
        })
        .await?;
        Ok(Response::new(CheckpointContainerResponse {}))
    }

    async fn checkpoint_pod(&self, _: Request<CheckpointPodRequest>) -> Answer<CheckpointPodResponse> {
        Err(Error::unimplemented(
            "checkpoints of whole pods are not supported; checkpoint containers one by one",
        )
        .into())
    }

    async fn restore_pod(&self, _: Request<RestorePodRequest>) -> Answer<RestorePodResponse> {
        Err(Error::unimplemented("checkpoints of whole pods are not supported").into())
    }
}
