//! What nobody should send: malformed requests, hostile images, floods of output. Every one gets a clear answer,
//! the server's memory stays bounded, and it goes on. Skipped where the handler or root is missing.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::format_collect,
    clippy::format_push_string,
    clippy::too_many_lines,
    clippy::wildcard_imports,
    clippy::semicolon_if_nothing_returned,
    clippy::match_wild_err_arm,
    reason = "a test's way to fail is to panic, and its story is told in one function"
)]

mod common;
#[path = "common/corpus.rs"]
mod corpus;
#[path = "common/requests.rs"]
mod requests;

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::{Buf as _, BufMut as _};
use common::{Image, Server, container, pod, registry, unable};
use corpus::{Fate, MARK};
use plimsoll_cri::api::image_service_client::ImageServiceClient;
use plimsoll_cri::api::runtime_service_client::RuntimeServiceClient;
use plimsoll_cri::api::*;
use requests::{RPCS, garbage, requests};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Status};

/// Longest time for one answer.
const LIMIT: Duration = Duration::from_secs(60);

/// Messages as bytes, so that they can be wrong.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}

async fn raw(channel: &Channel, service: &str, method: &str, message: Vec<u8>) -> Result<Vec<u8>, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone()).max_decoding_message_size(64 << 20);
    client.ready().await.unwrap();
    let path = format!("/runtime.v1.{service}/{method}").parse().unwrap();
    let call = client.unary(tonic::Request::new(message), path, Raw);
    match tokio::time::timeout(LIMIT, call).await {
        Ok(answer) => answer.map(tonic::Response::into_inner),
        Err(_) => panic!("{method} does not answer"),
    }
}

async fn channel(server: &Server) -> Channel {
    let socket = server.path("sock/cri.sock");
    tonic::transport::Endpoint::try_from(format!("unix:{}", socket.display()))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

/// Resident memory of the server in bytes: its high-water mark.
fn peak(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}

async fn alive(channel: &Channel) {
    let mut client = RuntimeServiceClient::new(channel.clone());
    assert_eq!(client.version(VersionRequest::default()).await.unwrap().into_inner().version, "0.1.0");
}

fn clear(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::NotFound
            | Code::FailedPrecondition
            | Code::AlreadyExists
            | Code::OutOfRange
            | Code::Unimplemented
    )
}

#[tokio::test]
async fn malformed_requests_get_a_clear_answer() {
    if unable() {
        return;
    }
    let server = Server::start(21);
    let channel = channel(&server).await;
    let mut client = RuntimeServiceClient::new(channel.clone());
    let good = RunPodSandboxRequest {
        config: Some(pod("good", &server.path("logs"))),
        runtime_handler: String::new(),
    };
    let id = client.run_pod_sandbox(good).await.unwrap().into_inner().pod_sandbox_id;
    let before = peak(&server);
    let mut sent = 0;
    for (service, method) in RPCS {
        for bytes in garbage() {
            let error = raw(&channel, service, method, bytes).await.expect_err(method);
            // What tonic and other gRPC servers answer to bytes that are no message.
            assert_eq!(error.code(), Code::Internal, "{method}: {error}");
            sent += 1;
        }
        alive(&channel).await;
    }
    let mut unclear = Vec::new();
    for (method, bytes) in requests(&id) {
        let start = Instant::now();
        match raw(&channel, "RuntimeService", method, bytes).await {
            Ok(_) => unclear.push(format!("{sent} {method}: accepted")),
            Err(error) if !clear(error.code()) => {
                unclear.push(format!(
                    "{sent} {method}: {:?} {}",
                    error.code(),
                    error.message().chars().take(120).collect::<String>()
                ));
            }
            Err(error) => assert!(!error.message().is_empty(), "{method}"),
        }
        assert!(start.elapsed() < LIMIT);
        sent += 1;
    }
    alive(&channel).await;
    assert!(unclear.is_empty(), "{unclear:#?}");
    assert!(sent >= 300, "only {sent} requests");
    let grown = peak(&server) - before;
    println!("{sent} malformed requests, peak memory +{} KiB", grown >> 10);
    assert!(grown < 64 << 20, "the server's memory grew by {grown} bytes");
    let pods = client.list_pod_sandbox(ListPodSandboxRequest::default()).await.unwrap().into_inner().items;
    assert_eq!(pods.len(), 1, "only the good sandbox is left");
    let containers =
        client.list_containers(ListContainersRequest::default()).await.unwrap().into_inner().containers;
    assert!(containers.is_empty(), "containers of refused requests");
}

async fn pull(images: &mut ImageServiceClient<Channel>, reference: &str) -> Result<String, Status> {
    let image = Some(ImageSpec { image: reference.into(), ..Default::default() });
    let call = images.pull_image(PullImageRequest { image, ..Default::default() });
    match tokio::time::timeout(Duration::from_secs(120), call).await {
        Ok(answer) => answer.map(|a| a.into_inner().image_ref),
        Err(_) => panic!("pulling {reference} does not end"),
    }
}

/// Files with the corpus's mark in the places that its images aim at.
fn escaped(places: &[&Path]) -> Vec<String> {
    let there =
        |dir: &&Path| dir.join(MARK).symlink_metadata().is_ok().then(|| dir.join(MARK).display().to_string());
    places.iter().filter_map(there).collect()
}

#[tokio::test]
async fn hostile_images_stay_inside() {
    if unable() {
        return;
    }
    let server = Server::start(22);
    let (_, mut images) = server.clients().await;
    let channel = channel(&server).await;
    let outside = server.path("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("canary"), "alive").unwrap();
    let passwd = std::fs::read("/etc/passwd").unwrap();
    let all = corpus::corpus(&outside.display().to_string());
    assert!(all.len() >= 150, "only {} images", all.len());
    let fates: Vec<(String, Fate)> = all.iter().map(|h| (format!("bad/{}", h.name), h.fate)).collect();
    let named: Vec<(&str, Image)> =
        fates.iter().zip(all).map(|((name, _), hostile)| (name.as_str(), hostile.image)).collect();
    let address = registry(named, None);
    let before = peak(&server);
    let (mut wrong, mut refused) = (Vec::new(), 0);
    for (name, fate) in &fates {
        match pull(&mut images, &format!("{address}/{name}:1")).await {
            Ok(_) if *fate == Fate::Refused => wrong.push(format!("{name}: pulled")),
            Ok(_) => {}
            Err(error) if clear(error.code()) || error.code() == Code::DataLoss => refused += 1,
            Err(error) => wrong.push(format!("{name}: {:?} {}", error.code(), error.message())),
        }
        let found = escaped(&[
            &outside,
            server.dir.path(),
            Path::new("/"),
            Path::new("/etc"),
            Path::new("/tmp"),
            &server.path("root"),
            &server.path("root/images"),
        ]);
        assert!(found.is_empty(), "{name} wrote {found:?}");
        assert_eq!(std::fs::read_to_string(outside.join("canary")).unwrap(), "alive", "after {name}");
    }
    assert_eq!(std::fs::read("/etc/passwd").unwrap(), passwd);
    let grown = peak(&server) - before;
    println!("{} hostile images, {refused} refused, peak memory +{} KiB", fates.len(), grown >> 10);
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(grown < 128 << 20, "the server's memory grew by {grown} bytes");
    alive(&channel).await;
}

#[tokio::test]
async fn configurations_that_aim_at_the_host_miss() {
    if unable() {
        return;
    }
    let server = Server::start(23);
    let (mut client, mut images) = server.clients().await;
    let all = corpus::configs();
    let names: Vec<String> = all.iter().map(|(n, _)| format!("aim/{n}")).collect();
    let address =
        registry(names.iter().map(String::as_str).zip(all.into_iter().map(|(_, i)| i)).collect(), None);
    let good = RunPodSandboxRequest {
        config: Some(pod("good", &server.path("logs"))),
        runtime_handler: String::new(),
    };
    let id = client.run_pod_sandbox(good).await.unwrap().into_inner().pod_sandbox_id;
    for (n, name) in names.iter().enumerate() {
        let reference = format!("{address}/{name}:1");
        match pull(&mut images, &reference).await {
            Err(error) => assert!(clear(error.code()), "{name}: {error}"),
            Ok(image) => {
                let mut config = container(&format!("aim-{n}"), &[]);
                config.image = Some(ImageSpec { image, ..Default::default() });
                let request = CreateContainerRequest {
                    pod_sandbox_id: id.clone(),
                    config: Some(config),
                    sandbox_config: None,
                };
                match client.create_container(request).await {
                    Err(error) => assert!(clear(error.code()), "{name}: {error}"),
                    Ok(made) => {
                        // The image has no program, so at the latest the start fails.
                        let container_id = made.into_inner().container_id;
                        let started = client.start_container(StartContainerRequest { container_id }).await;
                        assert!(started.is_err(), "{name} was started");
                    }
                }
            }
        }
        assert!(escaped(&[Path::new("/tmp"), Path::new("/"), server.dir.path()]).is_empty(), "{name}");
    }
    client.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: id }).await.unwrap();
}

#[tokio::test]
async fn a_gigabyte_of_output_is_cut() {
    if unable() {
        return;
    }
    let server = Server::start(24);
    let (mut client, _) = server.clients().await;
    let good = RunPodSandboxRequest {
        config: Some(pod("flood", &server.path("logs"))),
        runtime_handler: String::new(),
    };
    let id = client.run_pod_sandbox(good).await.unwrap().into_inner().pod_sandbox_id;
    let config = container("flood", &["/bin/sleep", "3600"]);
    let request =
        CreateContainerRequest { pod_sandbox_id: id.clone(), config: Some(config), sandbox_config: None };
    let container_id = client.create_container(request).await.unwrap().into_inner().container_id;
    client.start_container(StartContainerRequest { container_id: container_id.clone() }).await.unwrap();
    let before = peak(&server);
    let cmd =
        ["sh", "-c", "yes 0123456789abcdef0123456789abcdef | head -c 1073741824"].map(str::to_owned).to_vec();
    let request = ExecSyncRequest { container_id: container_id.clone(), cmd, timeout: 300 };
    let answer = client.exec_sync(request).await.unwrap().into_inner();
    let grown = peak(&server) - before;
    println!("1 GiB of output: {} bytes kept, peak memory +{} KiB", answer.stdout.len(), grown >> 10);
    assert!(answer.stdout.len() <= 16 << 20, "{} bytes", answer.stdout.len());
    assert!(answer.stdout.len() >= 1 << 20 && answer.stdout.starts_with(b"0123456789abcdef"));
    assert!(grown < 96 << 20, "the server's memory grew by {grown} bytes");
    let echo = ExecSyncRequest { container_id, cmd: vec!["echo".into(), "on".into()], timeout: 20 };
    assert_eq!(client.exec_sync(echo).await.unwrap().into_inner().stdout, b"on\n");
    client.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: id }).await.unwrap();
}
