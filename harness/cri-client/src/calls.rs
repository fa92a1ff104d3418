//! Every rpc of CRI v1: its name, its deadline, and a method of [`Client`].

use crate::client::{Client, Receive};
use crate::error::CallError;
use crate::v1;

/// The service that has an rpc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// `runtime.v1.RuntimeService`.
    Runtime,
    /// `runtime.v1.ImageService`.
    Image,
}

impl Service {
    /// Its full name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Runtime => "runtime.v1.RuntimeService",
            Self::Image => "runtime.v1.ImageService",
        }
    }
}

/// One rpc.
#[derive(Debug, PartialEq, Eq)]
pub struct Rpc {
    /// Its name.
    pub name: &'static str,
    /// Its service.
    pub service: Service,
    /// Kubernetes release whose interface brought it, 1.23 for that or earlier.
    pub since: &'static str,
    /// Whether the server answers with a stream.
    pub streaming: bool,
    /// Its deadline in seconds unless the client has another.
    pub seconds: u64,
}

impl Rpc {
    /// Path of the HTTP/2 request.
    pub fn path(&self) -> String {
        format!("/{}/{}", self.service.name(), self.name)
    }
}

macro_rules! rpcs {
    ($($service:ident $kind:ident $method:ident $name:ident($request:ident) -> $response:ident, $since:literal, $seconds:literal;)*) => {
        /// Every rpc of the interface, in its order.
        pub static RPCS: &[Rpc] = &[$(Rpc {
            name: stringify!($name),
            service: Service::$service,
            since: $since,
            streaming: rpcs!(@streams $kind),
            seconds: $seconds,
        }),*];

        /// Index of each rpc in [`RPCS`].
        #[allow(non_camel_case_types, clippy::enum_variant_names)]
        enum At { $($name),* }

        impl Client {
            $(
                #[doc = concat!("Calls `", stringify!($name), "`.")]
                pub async fn $method(
                    &self,
                    request: v1::$request,
                ) -> Result<rpcs!(@answer $kind $response), CallError> {
                    // Boxed: requests are large, and a caller's future holds every call that it makes.
                    Box::pin(self.$kind(&RPCS[At::$name as usize], request)).await
                }
            )*
        }
    };
    (@streams unary) => { false };
    (@streams streaming) => { true };
    (@answer unary $response:ident) => { v1::$response };
    (@answer streaming $response:ident) => { Receive<v1::$response> };
}

rpcs! {
    Runtime unary version Version(VersionRequest) -> VersionResponse, "1.23", 20;
    Runtime unary run_pod_sandbox RunPodSandbox(RunPodSandboxRequest) -> RunPodSandboxResponse, "1.23", 60;
    Runtime unary stop_pod_sandbox StopPodSandbox(StopPodSandboxRequest) -> StopPodSandboxResponse, "1.23", 60;
    Runtime unary remove_pod_sandbox RemovePodSandbox(RemovePodSandboxRequest) -> RemovePodSandboxResponse, "1.23", 60;
    Runtime unary pod_sandbox_status PodSandboxStatus(PodSandboxStatusRequest) -> PodSandboxStatusResponse, "1.23", 20;
    Runtime unary list_pod_sandbox ListPodSandbox(ListPodSandboxRequest) -> ListPodSandboxResponse, "1.23", 20;
    Runtime streaming stream_pod_sandboxes StreamPodSandboxes(StreamPodSandboxesRequest) -> StreamPodSandboxesResponse, "1.36", 20;
    Runtime unary create_container CreateContainer(CreateContainerRequest) -> CreateContainerResponse, "1.23", 60;
    Runtime unary start_container StartContainer(StartContainerRequest) -> StartContainerResponse, "1.23", 60;
    Runtime unary stop_container StopContainer(StopContainerRequest) -> StopContainerResponse, "1.23", 60;
    Runtime unary remove_container RemoveContainer(RemoveContainerRequest) -> RemoveContainerResponse, "1.23", 60;
    Runtime unary list_containers ListContainers(ListContainersRequest) -> ListContainersResponse, "1.23", 20;
    Runtime streaming stream_containers StreamContainers(StreamContainersRequest) -> StreamContainersResponse, "1.36", 20;
    Runtime unary container_status ContainerStatus(ContainerStatusRequest) -> ContainerStatusResponse, "1.23", 20;
    Runtime unary update_container_resources UpdateContainerResources(UpdateContainerResourcesRequest) -> UpdateContainerResourcesResponse, "1.23", 20;
    Runtime unary reopen_container_log ReopenContainerLog(ReopenContainerLogRequest) -> ReopenContainerLogResponse, "1.23", 20;
    Runtime unary exec_sync ExecSync(ExecSyncRequest) -> ExecSyncResponse, "1.23", 60;
    Runtime unary exec Exec(ExecRequest) -> ExecResponse, "1.23", 20;
    Runtime unary attach Attach(AttachRequest) -> AttachResponse, "1.23", 20;
    Runtime unary port_forward PortForward(PortForwardRequest) -> PortForwardResponse, "1.23", 20;
    Runtime unary container_stats ContainerStats(ContainerStatsRequest) -> ContainerStatsResponse, "1.23", 20;
    Runtime unary list_container_stats ListContainerStats(ListContainerStatsRequest) -> ListContainerStatsResponse, "1.23", 20;
    Runtime streaming stream_container_stats StreamContainerStats(StreamContainerStatsRequest) -> StreamContainerStatsResponse, "1.36", 20;
    Runtime unary pod_sandbox_stats PodSandboxStats(PodSandboxStatsRequest) -> PodSandboxStatsResponse, "1.23", 20;
    Runtime unary list_pod_sandbox_stats ListPodSandboxStats(ListPodSandboxStatsRequest) -> ListPodSandboxStatsResponse, "1.23", 20;
    Runtime streaming stream_pod_sandbox_stats StreamPodSandboxStats(StreamPodSandboxStatsRequest) -> StreamPodSandboxStatsResponse, "1.36", 20;
    Runtime unary update_runtime_config UpdateRuntimeConfig(UpdateRuntimeConfigRequest) -> UpdateRuntimeConfigResponse, "1.23", 20;
    Runtime unary status Status(StatusRequest) -> StatusResponse, "1.23", 20;
    Runtime unary checkpoint_container CheckpointContainer(CheckpointContainerRequest) -> CheckpointContainerResponse, "1.25", 60;
    Runtime unary checkpoint_pod CheckpointPod(CheckpointPodRequest) -> CheckpointPodResponse, "next", 60;
    Runtime unary restore_pod RestorePod(RestorePodRequest) -> RestorePodResponse, "next", 60;
    Runtime streaming get_container_events GetContainerEvents(GetEventsRequest) -> ContainerEventResponse, "1.25", 20;
    Runtime unary list_metric_descriptors ListMetricDescriptors(ListMetricDescriptorsRequest) -> ListMetricDescriptorsResponse, "1.26", 20;
    Runtime unary list_pod_sandbox_metrics ListPodSandboxMetrics(ListPodSandboxMetricsRequest) -> ListPodSandboxMetricsResponse, "1.26", 20;
    Runtime streaming stream_pod_sandbox_metrics StreamPodSandboxMetrics(StreamPodSandboxMetricsRequest) -> StreamPodSandboxMetricsResponse, "1.36", 20;
    Runtime unary runtime_config RuntimeConfig(RuntimeConfigRequest) -> RuntimeConfigResponse, "1.28", 20;
    Runtime unary update_pod_sandbox_resources UpdatePodSandboxResources(UpdatePodSandboxResourcesRequest) -> UpdatePodSandboxResourcesResponse, "1.33", 20;
    Image unary list_images ListImages(ListImagesRequest) -> ListImagesResponse, "1.23", 20;
    Image streaming stream_images StreamImages(StreamImagesRequest) -> StreamImagesResponse, "1.36", 20;
    Image unary image_status ImageStatus(ImageStatusRequest) -> ImageStatusResponse, "1.23", 20;
    Image unary pull_image PullImage(PullImageRequest) -> PullImageResponse, "1.23", 120;
    Image unary remove_image RemoveImage(RemoveImageRequest) -> RemoveImageResponse, "1.23", 20;
    Image unary image_fs_info ImageFsInfo(ImageFsInfoRequest) -> ImageFsInfoResponse, "1.23", 20;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interface_has_43_rpcs_with_unique_paths() {
        assert_eq!(RPCS.len(), 43);
        let mut paths: Vec<_> = RPCS.iter().map(Rpc::path).collect();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), 43);
        assert_eq!(RPCS[0].path(), "/runtime.v1.RuntimeService/Version");
    }
}
