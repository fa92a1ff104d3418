//! Endpoints that misbehave, and one that behaves: each failure is clear and comes in time.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use plimsoll_cri_client::{Capabilities, Client, Code, Kind, Options, Presence, Target, v1};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tonic::{Request, Response, Status};

fn socket() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cri.sock");
    (dir, path)
}

fn options() -> Options {
    Options { connect: Duration::from_secs(3), ..Options::default() }
}

async fn failure(path: &Path) -> plimsoll_cri_client::CallError {
    let start = Instant::now();
    let error = Client::connect(&Target::new(path), options()).await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(15), "took {:?}: {error}", start.elapsed());
    error
}

/// Serves every connection with `talk`.
fn serve<F, R>(path: &Path, talk: F) -> tokio::task::JoinHandle<()>
where
    F: Fn(UnixStream) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream));
        }
    })
}

#[tokio::test]
async fn no_endpoint() {
    let (_dir, path) = socket();
    let error = failure(&path).await;
    assert_eq!(error.kind, Kind::Transport, "{error}");
    assert!(error.to_string().contains("cri.sock"), "{error}");
    assert!(error.to_string().contains("is the server running"), "{error}");
}

#[tokio::test]
async fn a_socket_that_never_answers() {
    let (_dir, path) = socket();
    let server = serve(&path, |stream| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    });
    let error = failure(&path).await;
    assert_eq!(error.kind, Kind::Deadline, "{error:?}");
    server.abort();
}

#[tokio::test]
async fn a_socket_that_speaks_http1() {
    let (_dir, path) = socket();
    let server = serve(&path, |mut stream| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        let _ = stream.read(&mut [0; 1024]).await;
    });
    let error = failure(&path).await;
    assert_eq!(error.kind, Kind::Transport, "{error:?}");
    server.abort();
}

#[tokio::test]
async fn a_socket_that_closes() {
    let (_dir, path) = socket();
    let server = serve(&path, |mut stream| async move {
        let _ = stream.read(&mut [0; 10]).await;
    });
    let error = failure(&path).await;
    assert_eq!(error.kind, Kind::Transport, "{error:?}");
    server.abort();
}

/// A server whose answers are set by the test.
#[derive(Clone, Default)]
struct Server {
    name: String,
}

type Answer<T> = Result<Response<T>, Status>;

/// Implements every rpc as `Unimplemented`, except those given.
macro_rules! runtime_service {
    ($($method:ident($request:ident) -> $response:ident),* $(,)?; $($stream:ident: $smethod:ident($srequest:ident) -> $sresponse:ident),* $(,)?) => {
        #[tonic::async_trait]
        impl v1::runtime_service_server::RuntimeService for Server {
            $(type $stream = tokio_stream::Pending<Result<v1::$sresponse, Status>>;)*
            $(async fn $smethod(&self, _: Request<v1::$srequest>) -> Answer<Self::$stream> {
                if stringify!($smethod) == "get_container_events" {
                    return Ok(Response::new(tokio_stream::pending()));
                }
                Err(Status::unimplemented("no streams"))
            })*
            async fn version(&self, _: Request<v1::VersionRequest>) -> Answer<v1::VersionResponse> {
                Ok(Response::new(v1::VersionResponse { version: "0.1.0".into(), runtime_name: self.name.clone(), ..Default::default() }))
            }
            async fn status(&self, _: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
                Ok(Response::new(v1::StatusResponse::default()))
            }
            async fn pod_sandbox_stats(&self, _: Request<v1::PodSandboxStatsRequest>) -> Answer<v1::PodSandboxStatsResponse> {
                Err(Status::not_found("no such pod"))
            }
            async fn update_pod_sandbox_resources(&self, _: Request<v1::UpdatePodSandboxResourcesRequest>) -> Answer<v1::UpdatePodSandboxResourcesResponse> {
                Err(Status::unknown("not implemented yet"))
            }
            $(async fn $method(&self, _: Request<v1::$request>) -> Answer<v1::$response> {
                Err(Status::unimplemented("not here"))
            })*
        }
    };
}

runtime_service! {
    run_pod_sandbox(RunPodSandboxRequest) -> RunPodSandboxResponse,
    stop_pod_sandbox(StopPodSandboxRequest) -> StopPodSandboxResponse,
    remove_pod_sandbox(RemovePodSandboxRequest) -> RemovePodSandboxResponse,
    pod_sandbox_status(PodSandboxStatusRequest) -> PodSandboxStatusResponse,
    list_pod_sandbox(ListPodSandboxRequest) -> ListPodSandboxResponse,
    create_container(CreateContainerRequest) -> CreateContainerResponse,
    start_container(StartContainerRequest) -> StartContainerResponse,
    stop_container(StopContainerRequest) -> StopContainerResponse,
    remove_container(RemoveContainerRequest) -> RemoveContainerResponse,
    list_containers(ListContainersRequest) -> ListContainersResponse,
    container_status(ContainerStatusRequest) -> ContainerStatusResponse,
    update_container_resources(UpdateContainerResourcesRequest) -> UpdateContainerResourcesResponse,
    reopen_container_log(ReopenContainerLogRequest) -> ReopenContainerLogResponse,
    exec_sync(ExecSyncRequest) -> ExecSyncResponse,
    exec(ExecRequest) -> ExecResponse,
    attach(AttachRequest) -> AttachResponse,
    port_forward(PortForwardRequest) -> PortForwardResponse,
    container_stats(ContainerStatsRequest) -> ContainerStatsResponse,
    list_container_stats(ListContainerStatsRequest) -> ListContainerStatsResponse,
    list_pod_sandbox_stats(ListPodSandboxStatsRequest) -> ListPodSandboxStatsResponse,
    update_runtime_config(UpdateRuntimeConfigRequest) -> UpdateRuntimeConfigResponse,
    checkpoint_container(CheckpointContainerRequest) -> CheckpointContainerResponse,
    checkpoint_pod(CheckpointPodRequest) -> CheckpointPodResponse,
    restore_pod(RestorePodRequest) -> RestorePodResponse,
    list_metric_descriptors(ListMetricDescriptorsRequest) -> ListMetricDescriptorsResponse,
    list_pod_sandbox_metrics(ListPodSandboxMetricsRequest) -> ListPodSandboxMetricsResponse,
    runtime_config(RuntimeConfigRequest) -> RuntimeConfigResponse;
    StreamPodSandboxesStream: stream_pod_sandboxes(StreamPodSandboxesRequest) -> StreamPodSandboxesResponse,
    StreamContainersStream: stream_containers(StreamContainersRequest) -> StreamContainersResponse,
    StreamContainerStatsStream: stream_container_stats(StreamContainerStatsRequest) -> StreamContainerStatsResponse,
    StreamPodSandboxStatsStream: stream_pod_sandbox_stats(StreamPodSandboxStatsRequest) -> StreamPodSandboxStatsResponse,
    GetContainerEventsStream: get_container_events(GetEventsRequest) -> ContainerEventResponse,
    StreamPodSandboxMetricsStream: stream_pod_sandbox_metrics(StreamPodSandboxMetricsRequest) -> StreamPodSandboxMetricsResponse,
}

fn start(path: &Path, name: &str) -> tokio::task::JoinHandle<()> {
    let listener = UnixListener::bind(path).unwrap();
    let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
    let server = v1::runtime_service_server::RuntimeServiceServer::new(Server { name: name.into() })
        .max_encoding_message_size(usize::MAX);
    tokio::spawn(async move {
        tonic::transport::Server::builder().add_service(server).serve_with_incoming(incoming).await.unwrap();
    })
}

#[tokio::test]
async fn capabilities_follow_answers() {
    let (_dir, path) = socket();
    let server = start(&path, "some");
    let (client, version) = Client::connect(&Target::new(&path), options()).await.unwrap();
    assert_eq!(version.runtime_name, "some");
    let found = Capabilities::detect(&client).await.unwrap();
    assert!(found.has("PodSandboxStats"), "an error that is an answer shows that the rpc is there");
    assert!(found.has("GetContainerEvents"), "a silent event stream is there: {:?}", found.rpcs);
    assert!(found.has("RunPodSandbox"), "core rpcs are never gated");
    for absent in
        ["RuntimeConfig", "StreamContainers", "StreamImages", "ListMetricDescriptors", "CheckpointPod"]
    {
        assert_eq!(found.rpcs[absent], Presence::Absent, "{absent}");
    }
    assert!(!found.has("UpdatePodSandboxResources"));
    assert_eq!(found.deviations().len(), 1);
    assert!(!found.v1alpha2);
    server.abort();
}

#[tokio::test]
async fn calls_are_recorded_with_code_and_time() {
    let (_dir, path) = socket();
    let server = start(&path, "some");
    let (client, _) = Client::connect(&Target::new(&path), options()).await.unwrap();
    let error = client.runtime_config(v1::RuntimeConfigRequest {}).await.unwrap_err();
    assert!(error.is_unimplemented() && !error.is_deviant_unimplemented());
    let unknown =
        client.raw("runtime.v1.RuntimeService", "NoSuchMethod", bytes::Bytes::new(), Duration::from_secs(5));
    assert_eq!(unknown.await.unwrap_err().code, Code::Unimplemented);
    let records = client.records().all();
    assert_eq!(records.iter().map(|r| r.rpc).collect::<Vec<_>>(), ["Version", "RuntimeConfig", "(raw)"]);
    assert_eq!(records[1].code, "Unimplemented");
    assert!(records[0].response.contains("some") && records[0].nanoseconds > 0);
    server.abort();
}

#[tokio::test]
async fn a_restarted_server_is_found_again() {
    let (_dir, path) = socket();
    // Its own thread and runtime, so that its connections die with it.
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (ready, listening) = tokio::sync::oneshot::channel();
    let first = path.clone();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let _server = start(&first, "first");
            ready.send(()).unwrap();
            let _ = stopped.await;
        });
    });
    listening.await.unwrap();
    let (client, _) = Client::connect(&Target::new(&path), options()).await.unwrap();
    stop.send(()).unwrap();
    thread.join().unwrap();
    std::fs::remove_file(&path).unwrap();
    let server = start(&path, "second");
    let mut name = String::new();
    for _ in 0..20 {
        match client.version(v1::VersionRequest::default()).await {
            Ok(version) => {
                name = version.runtime_name;
                if name == "second" {
                    break;
                }
            }
            Err(error) => assert_eq!(error.kind, Kind::Transport, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(name, "second");
    server.abort();
}

#[tokio::test]
async fn an_answer_over_the_limit_is_refused_without_being_held() {
    let (_dir, path) = socket();
    let server = start(&path, &"x".repeat(20 << 20));
    let error = failure(&path).await;
    assert_eq!(error.kind, Kind::TooLarge, "{error}");
    server.abort();
}
