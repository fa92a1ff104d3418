//! The server driven through its socket, with runc as the handler. Skipped where runc or root is missing.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::format_collect,
    clippy::format_push_string,
    clippy::too_many_lines,
    clippy::wildcard_imports,
    clippy::match_wildcard_for_single_variants,
    reason = "a test's way to fail is to panic, and its story is told in one function"
)]

mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::{IMAGE, Server, busybox, container, image, layer, pod, registry, unable};
use plimsoll_cri::api::runtime_service_client::RuntimeServiceClient;
use plimsoll_cri::api::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::transport::Channel;
use tonic::{Code, Status};

type Client = RuntimeServiceClient<Channel>;

async fn run(client: &mut Client, config: PodSandboxConfig) -> Result<String, Status> {
    let request = RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
    Ok(client.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id)
}

async fn create(
    client: &mut Client,
    pod_sandbox_id: &str,
    config: ContainerConfig,
) -> Result<String, Status> {
    let request = CreateContainerRequest {
        pod_sandbox_id: pod_sandbox_id.into(),
        config: Some(config),
        sandbox_config: None,
    };
    Ok(client.create_container(request).await?.into_inner().container_id)
}

async fn start(client: &mut Client, container_id: &str) -> Result<(), Status> {
    client.start_container(StartContainerRequest { container_id: container_id.into() }).await.map(drop)
}

async fn status(client: &mut Client, container_id: &str) -> Result<ContainerStatus, Status> {
    let answer = client
        .container_status(ContainerStatusRequest { container_id: container_id.into(), verbose: false })
        .await?;
    Ok(answer.into_inner().status.unwrap())
}

async fn until_exited(client: &mut Client, id: &str) -> ContainerStatus {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let now = status(client, id).await.unwrap();
        if now.state == ContainerState::ContainerExited as i32 {
            return now;
        }
        assert!(Instant::now() < until, "still {:?}", now.state());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn sync(
    client: &mut Client,
    id: &str,
    command: &[&str],
    timeout: i64,
) -> Result<ExecSyncResponse, Status> {
    let cmd = command.iter().map(|s| (*s).to_owned()).collect();
    Ok(client.exec_sync(ExecSyncRequest { container_id: id.into(), cmd, timeout }).await?.into_inner())
}

async fn remove(client: &mut Client, pod: &str) {
    client.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: pod.into() }).await.unwrap();
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn life_of_pods_and_containers() {
    if unable() {
        return;
    }
    let mut server = Server::start(1);
    let (mut client, _) = server.clients().await;
    let version = client.version(VersionRequest::default()).await.unwrap().into_inner();
    assert_eq!(version.version, "0.1.0");
    let logs = server.path("logs");
    let id = run(&mut client, pod("a", &logs)).await.unwrap();
    let twin = run(&mut client, pod("a", &logs)).await.unwrap_err();
    assert_eq!(twin.code(), Code::AlreadyExists);
    let ready = client
        .pod_sandbox_status(PodSandboxStatusRequest { pod_sandbox_id: id.clone(), verbose: true })
        .await
        .unwrap()
        .into_inner();
    let pod_status = ready.status.unwrap();
    assert_eq!(pod_status.state, PodSandboxState::SandboxReady as i32);
    assert!(pod_status.network.unwrap().ip.starts_with("10.213.1."));
    assert_eq!(pod_status.annotations, BTreeMap::from([("a".to_owned(), "1".to_owned())]));

    let script = "echo out; echo err >&2; printf 'no newline'; hostname; exit 7";
    let short = create(&mut client, &id, container("short", &["/bin/sh", "-c", script])).await.unwrap();
    assert_eq!(status(&mut client, &short).await.unwrap().state, ContainerState::ContainerCreated as i32);
    start(&mut client, &short).await.unwrap();
    let done = until_exited(&mut client, &short).await;
    assert_eq!((done.exit_code, done.reason.as_str()), (7, "Error"));
    assert!(done.created_at <= done.started_at && done.started_at <= done.finished_at);
    let log = std::fs::read_to_string(logs.join("short/0.log")).unwrap();
    assert!(
        log.contains(" stdout F out\n")
            && log.contains(" stderr F err\n")
            && log.contains("stdout F no newlinehost-a\n"),
        "{log}"
    );
    assert_eq!(start(&mut client, &short).await.unwrap_err().code(), Code::FailedPrecondition);

    let mut long = container(
        "long",
        &["/bin/sh", "-c", "trap 'echo bye; exit 3' TERM; echo up; while true; do sleep 0.05; done"],
    );
    long.linux = Some(LinuxContainerConfig {
        resources: Some(LinuxContainerResources {
            memory_limit_in_bytes: 64 << 20,
            cpu_shares: 512,
            ..Default::default()
        }),
        security_context: Some(LinuxContainerSecurityContext {
            run_as_user: Some(Int64Value { value: 1000 }),
            ..Default::default()
        }),
    });
    let long = create(&mut client, &id, long).await.unwrap();
    start(&mut client, &long).await.unwrap();
    let who = sync(&mut client, &long, &["id"], 10).await.unwrap();
    assert_eq!((text(&who.stdout).trim(), who.exit_code), ("uid=1000(web) gid=1000 groups=1000", 0));
    let both = sync(
        &mut client,
        &long,
        &["sh", "-c", "echo o; echo e >&2; echo $FROM_IMAGE; cat /second; ls /gone; exit 5"],
        10,
    )
    .await
    .unwrap();
    assert_eq!(both.exit_code, 5);
    assert!(text(&both.stdout).starts_with("o\n1\n2") && text(&both.stderr).starts_with("e\n"), "{both:?}");
    let before = Instant::now();
    assert_eq!(
        sync(&mut client, &long, &["sleep", "60"], 1).await.unwrap_err().code(),
        Code::DeadlineExceeded
    );
    assert!(before.elapsed() < Duration::from_secs(10));
    let processes = sync(&mut client, &long, &["sh", "-c", "cat /proc/1/comm; cat /proc/[0-9]*/cmdline"], 10)
        .await
        .unwrap();
    assert!(text(&processes.stdout).starts_with("pause\n"), "{}", text(&processes.stdout));
    assert!(!text(&processes.stdout).contains("sleep\u{0}60"), "the timed out command is gone");

    let stats = client
        .container_stats(ContainerStatsRequest { container_id: long.clone() })
        .await
        .unwrap()
        .into_inner()
        .stats
        .unwrap();
    assert!(stats.memory.unwrap().working_set_bytes.unwrap().value > 0);
    let change = LinuxContainerResources { memory_limit_in_bytes: 96 << 20, ..Default::default() };
    let update = UpdateContainerResourcesRequest {
        container_id: long.clone(),
        linux: Some(change),
        ..Default::default()
    };
    client.update_container_resources(update).await.unwrap();
    let now = status(&mut client, &long).await.unwrap().resources.unwrap().linux.unwrap();
    assert_eq!((now.memory_limit_in_bytes, now.cpu_shares), (96 << 20, 512));

    let rotated = logs.join("long/0.log.old");
    std::fs::rename(logs.join("long/0.log"), &rotated).unwrap();
    client.reopen_container_log(ReopenContainerLogRequest { container_id: long.clone() }).await.unwrap();
    drop(client);
    server.kill_and_restart();
    let (mut client, _) = server.clients().await;
    let after = status(&mut client, &long).await.unwrap();
    assert_eq!(after.state, ContainerState::ContainerRunning as i32);
    assert_eq!(status(&mut client, &short).await.unwrap().exit_code, 7);
    assert_eq!(sync(&mut client, &long, &["echo", "again"], 10).await.unwrap().stdout, b"again\n");
    client.stop_container(StopContainerRequest { container_id: long.clone(), timeout: 20 }).await.unwrap();
    client.stop_container(StopContainerRequest { container_id: long.clone(), timeout: 20 }).await.unwrap();
    let stopped = status(&mut client, &long).await.unwrap();
    assert_eq!(stopped.exit_code, 3);
    assert!(std::fs::read_to_string(logs.join("long/0.log")).unwrap().ends_with(" stdout F bye\n"));
    assert!(std::fs::read_to_string(&rotated).unwrap().ends_with(" stdout F up\n"));
    client.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: id.clone() }).await.unwrap();
    client.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: id.clone() }).await.unwrap();
    remove(&mut client, &id).await;
    remove(&mut client, &id).await;
    assert_eq!(status(&mut client, &long).await.unwrap_err().code(), Code::NotFound);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&server.dir.path().display().to_string()), "no mount is left");
    assert_eq!(std::fs::read_dir(server.path("state/containers")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(server.path("root/containers")).unwrap().count(), 0);
}

#[tokio::test]
async fn exits_while_the_server_is_down_are_kept() {
    if unable() {
        return;
    }
    let mut server = Server::start(2);
    let (mut client, _) = server.clients().await;
    let id = run(&mut client, pod("down", &server.path("logs"))).await.unwrap();
    let dying = create(&mut client, &id, container("dying", &["sh", "-c", "sleep 0.5; echo last; exit 42"]))
        .await
        .unwrap();
    start(&mut client, &dying).await.unwrap();
    drop(client);
    server.kill_and_restart();
    let (mut client, _) = server.clients().await;
    let done = until_exited(&mut client, &dying).await;
    assert_eq!(done.exit_code, 42);
    assert!(std::fs::read_to_string(server.path("logs/dying/0.log")).unwrap().ends_with(" stdout F last\n"));
    remove(&mut client, &id).await;
}

#[tokio::test]
async fn bad_requests_are_refused_and_leave_nothing() {
    if unable() {
        return;
    }
    let server = Server::start(3);
    let (mut client, _) = server.clients().await;
    let logs = server.path("logs");
    for broken in [
        PodSandboxConfig::default(),
        PodSandboxConfig { hostname: "x".repeat(65), ..pod("h", &logs) },
        PodSandboxConfig {
            linux: Some(LinuxPodSandboxConfig {
                sysctls: BTreeMap::from([("kernel.core_pattern".into(), "|/x".into())]),
                ..Default::default()
            }),
            ..pod("s", &logs)
        },
        PodSandboxConfig {
            port_mappings: vec![PortMapping { container_port: 80, host_port: 70000, ..Default::default() }],
            ..pod("p", &logs)
        },
    ] {
        assert_eq!(run(&mut client, broken).await.unwrap_err().code(), Code::InvalidArgument);
    }
    let unknown = RunPodSandboxRequest { config: Some(pod("u", &logs)), runtime_handler: "no-such".into() };
    assert_eq!(client.run_pod_sandbox(unknown).await.unwrap_err().code(), Code::InvalidArgument);
    let id = run(&mut client, pod("good", &logs)).await.unwrap();
    let missing = ContainerConfig {
        image: Some(ImageSpec { image: "test.local/none:1".into(), ..Default::default() }),
        ..container("m", &[])
    };
    assert_eq!(create(&mut client, &id, missing).await.unwrap_err().code(), Code::NotFound);
    let escape = ContainerConfig { log_path: "../../x".into(), ..container("l", &[]) };
    assert_eq!(create(&mut client, &id, escape).await.unwrap_err().code(), Code::InvalidArgument);
    let nothing = create(&mut client, &id, container("nf", &["/no/such/program"])).await;
    if let Ok(container) = nothing {
        start(&mut client, &container).await.unwrap_err();
        let failed = status(&mut client, &container).await.unwrap();
        assert_eq!(
            (failed.state, failed.reason.as_str()),
            (ContainerState::ContainerExited as i32, "StartError")
        );
        assert_ne!(failed.exit_code, 0);
        client.remove_container(RemoveContainerRequest { container_id: container }).await.unwrap();
    }
    assert!(
        client
            .list_containers(ListContainersRequest::default())
            .await
            .unwrap()
            .into_inner()
            .containers
            .is_empty()
    );
    assert_eq!(std::fs::read_dir(server.path("root/containers")).unwrap().count(), 0);
    remove(&mut client, &id).await;
}

#[tokio::test]
async fn images_come_from_registries() {
    if unable() {
        return;
    }
    let server = Server::start(4);
    let (_, mut images) = server.clients().await;
    let small = || image(vec![layer(&[("f", b"1")])], &serde_json::json!({"User": "web:adm"}));
    let mut corrupt = small();
    let config = corrupt.config.clone();
    let layer_digest =
        corrupt.blobs.keys().find(|d| **d != config && **d != corrupt.manifest).unwrap().clone();
    corrupt.blobs.get_mut(&layer_digest).unwrap()[20] ^= 1;
    let address =
        registry(vec![("lib/small", small()), ("lib/busybox", busybox()), ("lib/corrupt", corrupt)], None);
    let private = registry(vec![("lib/small", small())], Some("Basic dTpw"));
    let pull = |name: String, auth: Option<AuthConfig>| PullImageRequest {
        image: Some(ImageSpec { image: name, ..Default::default() }),
        auth,
        sandbox_config: None,
    };
    let status_of = |name: &str| ImageStatusRequest {
        image: Some(ImageSpec { image: name.into(), ..Default::default() }),
        verbose: false,
    };

    let bad = images.pull_image(pull(format!("{address}/lib/corrupt:1"), None)).await.unwrap_err();
    assert!(bad.message().contains("digest"), "{bad}");
    assert!(images.image_status(status_of(&config)).await.unwrap().into_inner().image.is_none());
    let name = format!("{address}/lib/small:1");
    let reference = images.pull_image(pull(name.clone(), None)).await.unwrap().into_inner().image_ref;
    assert_eq!(reference, config);
    let found = images.image_status(status_of(&name)).await.unwrap().into_inner().image.unwrap();
    assert_eq!((found.id.as_str(), found.username.as_str(), found.uid), (config.as_str(), "web", None));
    assert_eq!(found.repo_tags, vec![name.clone()]);
    assert_eq!(
        images.pull_image(pull(format!("{address}/lib/none:1"), None)).await.unwrap_err().code(),
        Code::NotFound
    );
    assert_eq!(
        images.pull_image(pull("Bad//Name".into(), None)).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let gone = images.pull_image(pull("127.0.0.1:1/x/y:1".into(), None)).await.unwrap_err();
    assert_eq!(
        (gone.code(), gone.message().starts_with("RegistryUnavailable")),
        (Code::Unknown, true),
        "{gone}"
    );

    let secret = format!("{private}/lib/small:1");
    assert_eq!(
        images.pull_image(pull(secret.clone(), None)).await.unwrap_err().code(),
        Code::Unauthenticated
    );
    let auth = AuthConfig { username: "u".into(), password: "p".into(), ..Default::default() };
    assert_eq!(images.pull_image(pull(secret, Some(auth))).await.unwrap().into_inner().image_ref, config);
    let all = images.list_images(ListImagesRequest::default()).await.unwrap().into_inner().images;
    assert_eq!(all.iter().filter(|i| i.id == config).map(|i| i.repo_tags.len()).collect::<Vec<_>>(), vec![2]);
    let before = images.image_fs_info(ImageFsInfoRequest {}).await.unwrap().into_inner().image_filesystems[0]
        .inodes_used
        .unwrap()
        .value;
    for _ in 0..2 {
        images
            .remove_image(RemoveImageRequest {
                image: Some(ImageSpec { image: name.clone(), ..Default::default() }),
            })
            .await
            .unwrap();
    }
    assert!(images.image_status(status_of(&config)).await.unwrap().into_inner().image.is_none());
    let after = images.image_fs_info(ImageFsInfoRequest {}).await.unwrap().into_inner().image_filesystems[0]
        .inodes_used
        .unwrap()
        .value;
    assert!(after < before);
    assert!(images.image_status(status_of(IMAGE)).await.unwrap().into_inner().image.is_some());
}

/// Sends a request head to a stream URL and returns the connection and the answer's head.
async fn upgrade(url: &str, method: &str, headers: &str) -> (tokio::net::TcpStream, String) {
    let rest = url.strip_prefix("http://").unwrap();
    let (address, path) = rest.split_once('/').unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream
        .write_all(
            format!("{method} /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\n{headers}\r\n")
                .as_bytes(),
        )
        .await
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    (stream, String::from_utf8(head).unwrap())
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[tokio::test]
async fn streams_over_spdy_and_websocket() {
    if unable() {
        return;
    }
    let server = Server::start(5);
    let (mut client, _) = server.clients().await;
    let id = run(&mut client, pod("st", &server.path("logs"))).await.unwrap();
    let mut config = container("main", &["sh", "-c", "while read l; do echo got $l; done; sleep 1000"]);
    config.stdin = true;
    let main = create(&mut client, &id, config).await.unwrap();
    start(&mut client, &main).await.unwrap();
    let exec = |stdin: bool, script: &str| ExecRequest {
        container_id: main.clone(),
        cmd: vec!["sh".into(), "-c".into(), script.into()],
        stdin,
        stdout: true,
        stderr: true,
        tty: false,
    };
    // SPDY, with the bytes that a Go client sends: streams error, stdout, stderr.
    let url = client
        .exec(exec(false, "echo hello; sleep 0.2; echo oops >&2; exit 7"))
        .await
        .unwrap()
        .into_inner()
        .url;
    let (mut stream, head) = upgrade(&url, "POST", "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v5.channel.k8s.io\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n").await;
    assert!(
        head.starts_with("HTTP/1.1 101") && head.contains("X-Stream-Protocol-Version: v4.channel.k8s.io"),
        "{head}"
    );
    let from_go = "80030001 0000002a 00000001 00000000 0000 78f9e3c6a7c26260606004a7b392a2d4c45c6851c29a5a54945f0400 0000ffff \
        80030001 00000019 00000003 00000000 0000 c22ac5565c92925f5a02000000ffff 80030001 00000015 00000005 00000000 0000 c229975a540400 0000ffff";
    stream.write_all(&unhex(from_go)).await.unwrap();
    let mut all = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut all)).await.unwrap().unwrap();
    let shown = text(&all);
    assert!(shown.contains("hello\n") && shown.contains("oops\n"), "{shown}");
    assert!(shown.contains("NonZeroExitCode") && shown.contains(r#""message":"7""#), "{shown}");
    assert!(
        upgrade(&url, "POST", "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n")
            .await
            .1
            .starts_with("HTTP/1.1 404")
    );

    let url = client.exec(exec(false, "true")).await.unwrap().into_inner().url;
    assert!(upgrade(&url, "POST", "Upgrade: SPDY/3.1\r\n").await.1.starts_with("HTTP/1.1 400"));
    let url = client.exec(exec(false, "true")).await.unwrap().into_inner().url;
    let refused = upgrade(&url, "POST", "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v9\r\n").await.1;
    assert!(
        refused.starts_with("HTTP/1.1 403")
            && refused.contains("X-Accepted-Stream-Protocol-Versions: v4.channel.k8s.io"),
        "{refused}"
    );

    // WebSocket v5: input, its end, the status.
    let url = client.exec(exec(true, "cat; exit 3")).await.unwrap().into_inner().url;
    let frames = websocket(&url, "v5.channel.k8s.io", &[b"\x00ping", b"\xff\x00"]).await;
    assert_eq!(frames[0], vec![1], "an empty frame on the lowest channel comes first");
    assert!(frames.contains(&b"\x01ping".to_vec()), "{frames:?}");
    assert!(frames.iter().any(|f| f[0] == 3 && text(f).contains("ExitCode")), "{frames:?}");

    // Attach: input reaches the first process, its output comes back and is logged.
    let attach =
        AttachRequest { container_id: main.clone(), stdin: true, stdout: true, stderr: true, tty: false };
    let url = client.attach(attach).await.unwrap().into_inner().url;
    let frames = websocket_until(&url, "v4.channel.k8s.io", &[b"\x00line\n"], b"got line").await;
    assert!(frames.iter().any(|f| f[0] == 1 && text(f).contains("got line")), "{frames:?}");
    assert!(std::fs::read_to_string(server.path("logs/main/0.log")).unwrap().contains("stdout F got line"));
    assert_eq!(status(&mut client, &main).await.unwrap().state, ContainerState::ContainerRunning as i32);

    let none = client
        .exec(ExecRequest { container_id: main.clone(), cmd: vec!["x".into()], ..Default::default() })
        .await
        .unwrap_err();
    assert_eq!(none.code(), Code::InvalidArgument);
    remove(&mut client, &id).await;
}

async fn websocket(url: &str, protocol: &str, send: &[&[u8]]) -> Vec<Vec<u8>> {
    websocket_until(url, protocol, send, b"\0never\0").await
}

/// Sends messages and collects the answers up to the close, or up to one that holds `stop`.
async fn websocket_until(url: &str, protocol: &str, send: &[&[u8]], stop: &[u8]) -> Vec<Vec<u8>> {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio_tungstenite::tungstenite::Message;
    let headers = format!(
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {protocol}\r\n"
    );
    let (stream, head) = upgrade(url, "GET", &headers).await;
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    let role = tokio_tungstenite::tungstenite::protocol::Role::Client;
    let mut socket = tokio_tungstenite::WebSocketStream::from_raw_socket(stream, role, None).await;
    for message in send {
        socket.send(Message::binary(message.to_vec())).await.unwrap();
    }
    let mut out = Vec::new();
    let collect = async {
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Binary(bytes) = message {
                out.push(bytes.to_vec());
                if bytes.windows(stop.len()).any(|w| w == stop) {
                    return;
                }
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), collect).await.expect("the stream does not end");
    out
}

#[tokio::test]
async fn networks_users_terminals_and_events() {
    if unable() {
        return;
    }
    let server = Server::start(6);
    let (mut client, _) = server.clients().await;
    let logs = server.path("logs");
    let mut events = client.get_container_events(GetEventsRequest {}).await.unwrap().into_inner();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut config = pod("net", &logs);
    config.port_mappings = vec![PortMapping {
        container_port: 8080,
        host_port: i32::from(port),
        host_ip: "127.0.0.1".into(),
        ..Default::default()
    }];
    config.dns_config = Some(DnsConfig { servers: vec!["192.0.2.1".into()], ..Default::default() });
    let id = run(&mut client, config).await.unwrap();
    let listen = "while true; do echo served | nc -l -p 8080; done";
    let web = create(&mut client, &id, container("web", &["sh", "-c", listen])).await.unwrap();
    start(&mut client, &web).await.unwrap();
    assert_eq!(
        sync(&mut client, &web, &["cat", "/etc/resolv.conf"], 10).await.unwrap().stdout,
        b"nameserver 192.0.2.1\n"
    );
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let mut answer = String::new();
        if let Ok(mut stream) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
            let _ = tokio::time::timeout(Duration::from_secs(2), stream.read_to_string(&mut answer)).await;
        }
        if answer == "served\n" {
            break;
        }
        assert!(Instant::now() < until, "the host port does not lead into the pod");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut tty = container("tty", &["sh", "-c", "stty size; sleep 100"]);
    tty.tty = true;
    let tty = create(&mut client, &id, tty).await.unwrap();
    start(&mut client, &tty).await.unwrap();
    let exec = ExecRequest {
        container_id: tty.clone(),
        cmd: vec!["sh".into(), "-c".into(), "test -t 0 && echo terminal".into()],
        tty: true,
        stdout: true,
        ..Default::default()
    };
    let url = client.exec(exec).await.unwrap().into_inner().url;
    let frames = websocket(&url, "v4.channel.k8s.io", &[]).await;
    assert!(frames.iter().any(|f| f[0] == 1 && text(f).contains("terminal\r\n")), "{frames:?}");
    remove(&mut client, &id).await;
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err(), "the host port is closed");
    let mut kinds = Vec::new();
    while let Ok(Ok(Some(event))) = tokio::time::timeout(Duration::from_millis(500), events.message()).await {
        if event.container_id == web {
            kinds.push(event.container_event_type);
        }
    }
    assert_eq!(kinds, vec![0, 1, 2, 3], "created, started, stopped, deleted");

    let mapping = vec![IdMapping { host_id: 200_000, container_id: 0, length: 65_536 }];
    let userns = UserNamespace { mode: NamespaceMode::Pod as i32, uids: mapping.clone(), gids: mapping };
    let options = NamespaceOption { userns_options: Some(userns), ..Default::default() };
    let context =
        LinuxSandboxSecurityContext { namespace_options: Some(options.clone()), ..Default::default() };
    let mut config = pod("user", &logs);
    config.linux = Some(LinuxPodSandboxConfig { security_context: Some(context), ..Default::default() });
    let handlers = client.status(StatusRequest::default()).await.unwrap().into_inner().runtime_handlers;
    if !handlers[0].features.unwrap().user_namespaces {
        println!("SKIP: id-mapped mounts do not work here");
        assert_eq!(run(&mut client, config).await.unwrap_err().code(), Code::InvalidArgument);
        return;
    }
    let id = run(&mut client, config).await.unwrap();
    let mut root = container("root", &["sleep", "100"]);
    root.linux = Some(LinuxContainerConfig {
        security_context: Some(LinuxContainerSecurityContext {
            namespace_options: Some(options),
            ..Default::default()
        }),
        ..Default::default()
    });
    let root = create(&mut client, &id, root).await.unwrap();
    start(&mut client, &root).await.unwrap();
    let seen = sync(
        &mut client,
        &root,
        &["sh", "-c", "cat /proc/self/uid_map; ls -ln /etc/passwd; touch /new && ls -ln /new"],
        10,
    )
    .await
    .unwrap();
    let seen = text(&seen.stdout);
    assert!(seen.split_whitespace().take(3).eq(["0", "200000", "65536"]), "{seen}");
    assert_eq!(seen.matches(" 0        0 ").count(), 2, "files belong to root: {seen}");
    remove(&mut client, &id).await;
}
