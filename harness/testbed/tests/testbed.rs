//! A testbed runs a pod with every handler and leaves nothing behind.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests

use std::collections::BTreeSet;
use std::time::Duration;

use plimsoll_cri_client::stream::exec::{Protocol, Session, Streams};
use plimsoll_cri_client::stream::{Finish, forward::Forward};
use plimsoll_cri_client::{Client, Options as ClientOptions, v1};
use plimsoll_images::registry::Registry;
use plimsoll_images::standard::Catalogue;
use plimsoll_testbed::{Options, Testbed};

const LIMIT: Duration = Duration::from_secs(20);

/// The guest program, or why there is none.
fn probe() -> Option<Vec<u8>> {
    let skip = |why: &str| {
        assert!(std::env::var("PLIMSOLL_CI").is_err(), "{why}");
        println!("SKIP: {why}");
        None
    };
    if !std::path::Path::new("/usr/bin/containerd").exists() {
        return skip("containerd is not installed");
    }
    Some(plimsoll_kit::probe::PROBE.to_vec())
}

fn host_state() -> BTreeSet<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut state: BTreeSet<String> =
        mounts.lines().filter(|l| l.contains("plimsoll-bed")).map(ToOwned::to_owned).collect();
    for dir in ["/run/netns", "/var/lib/cni"] {
        if let Ok(entries) = std::fs::read_dir(dir) {
            state.extend(entries.flatten().map(|e| e.path().display().to_string()));
        }
    }
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains("plimsoll-bed") {
            state.insert(format!("{}: {}", process.path().display(), String::from_utf8_lossy(&line)));
        }
    }
    state
}

async fn pod_runs(client: &Client, handler: &str, image: &str) {
    let metadata = v1::PodSandboxMetadata {
        name: format!("pod-{handler}"),
        uid: handler.into(),
        namespace: "test".into(),
        attempt: 0,
    };
    let config = v1::PodSandboxConfig {
        metadata: Some(metadata),
        linux: Some(v1::LinuxPodSandboxConfig::default()),
        ..Default::default()
    };
    let run = v1::RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: handler.into() };
    let pod = client.run_pod_sandbox(run).await.unwrap().pod_sandbox_id;
    let status = client
        .pod_sandbox_status(v1::PodSandboxStatusRequest { pod_sandbox_id: pod.clone(), verbose: false })
        .await
        .unwrap();
    assert!(status.status.unwrap().network.unwrap().ip.starts_with("10.213."));
    let container = v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: "c".into(), attempt: 0 }),
        image: Some(v1::ImageSpec { image: image.into(), ..Default::default() }),
        command: vec!["/probe".into()],
        args: vec![r#"{"nonce":1,"steps":[{"do":"tcp_echo","port":7777}]}"#.into()],
        linux: Some(v1::LinuxContainerConfig::default()),
        ..Default::default()
    };
    let request = v1::CreateContainerRequest {
        pod_sandbox_id: pod.clone(),
        config: Some(container),
        sandbox_config: Some(config),
    };
    let id = client.create_container(request).await.unwrap().container_id;
    client.start_container(v1::StartContainerRequest { container_id: id.clone() }).await.unwrap();
    let script = r#"{"nonce":1,"steps":[{"do":"print","text":"hello"},{"do":"exit","code":7}]}"#;
    let exec = v1::ExecSyncRequest {
        container_id: id.clone(),
        cmd: vec!["/probe".into(), script.into()],
        timeout: 20,
    };
    let answer = client.exec_sync(exec).await.unwrap();
    assert_eq!(answer.exit_code, 7, "{handler}: {answer:?}");
    assert!(String::from_utf8_lossy(&answer.stdout).contains("hello"), "{handler}: {answer:?}");

    for protocol in [Protocol::SPDY, Protocol::WEBSOCKET_V4] {
        let exec = v1::ExecRequest {
            container_id: id.clone(),
            cmd: vec!["/probe".into(), script.into()],
            stdout: true,
            stderr: true,
            ..Default::default()
        };
        let url = client.exec(exec).await.unwrap().url;
        let streams = Streams { stdout: true, stderr: true, ..Streams::default() };
        let session = Session::open(&url, protocol, streams, LIMIT).await.unwrap();
        let output = session.run(None, LIMIT, 1 << 20).await.unwrap();
        assert_eq!(output.finish, Some(Finish::ExitCode(7)), "{handler} {protocol:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("hello"));
    }
    let request = v1::PortForwardRequest { pod_sandbox_id: pod.clone(), port: vec![7777] };
    let url = client.port_forward(request).await.unwrap().url;
    let mut forward = Forward::open(&url, LIMIT).await.unwrap();
    let link = forward.exchange(7777, b"ping", LIMIT).await.unwrap();
    if handler != "runsc" {
        assert_eq!(link.received, b"ping", "{handler}: {}", String::from_utf8_lossy(&link.error));
    }
}

#[tokio::test]
async fn every_handler_runs_a_pod_and_nothing_stays() {
    let Some(probe) = probe() else { return };
    let bed = Testbed::start(Options::new(probe.clone())).await.unwrap();
    let registry = Registry::start().unwrap();
    let image = registry.add("test/plain", "1", &Catalogue::new(probe).plain());
    let client = Client::lazy(&bed.target(""), ClientOptions::default());
    let spec = v1::ImageSpec { image: image.clone(), ..Default::default() };
    client.pull_image(v1::PullImageRequest { image: Some(spec), ..Default::default() }).await.unwrap();
    for handler in bed.handlers() {
        pod_runs(&client, handler, &image).await;
    }
    let base = bed.socket().parent().unwrap().to_owned();
    let ids: Vec<String> = client
        .list_pod_sandbox(v1::ListPodSandboxRequest::default())
        .await
        .unwrap()
        .items
        .into_iter()
        .map(|p| p.id)
        .collect();
    bed.stop().await.unwrap();
    assert!(!base.exists());
    for id in ids {
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            assert!(!hierarchy.path().join("k8s.io").join(&id).exists(), "cgroup of {id} stays");
        }
    }
    let after: Vec<_> = host_state().into_iter().filter(|l| l.contains(base.to_str().unwrap())).collect();
    assert_eq!(after, Vec::<String>::new());
}

#[tokio::test]
async fn a_restarted_daemon_finds_its_pods_again() {
    let Some(probe) = probe() else { return };
    let options = Options { subnet: Some(77), ..Options::new(probe) };
    let mut bed = Testbed::start(options).await.unwrap();
    let client = Client::lazy(&bed.target(""), ClientOptions::default());
    let metadata =
        v1::PodSandboxMetadata { name: "p".into(), uid: "u".into(), namespace: "n".into(), attempt: 0 };
    let config = v1::PodSandboxConfig {
        metadata: Some(metadata),
        linux: Some(v1::LinuxPodSandboxConfig::default()),
        ..Default::default()
    };
    let run = v1::RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
    let pod = client.run_pod_sandbox(run).await.unwrap().pod_sandbox_id;
    bed.restart().await.unwrap();
    let pods = client.reconnected().list_pod_sandbox(v1::ListPodSandboxRequest::default()).await.unwrap();
    assert_eq!(pods.items.iter().map(|p| (p.id.as_str(), p.state)).collect::<Vec<_>>(), [(pod.as_str(), 0)]);
    bed.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let options = Options { containerd: Some("/no/such/containerd".into()), ..Options::new(vec![0]) };
    let error = Testbed::start(options).await.err().unwrap().to_string();
    assert!(error.contains("containerd") || error.contains("ptp"), "{error}");
    let options = Options { cni_bin: "/no/such/dir".into(), ..Options::new(vec![0]) };
    let error = Testbed::start(options).await.err().unwrap().to_string();
    assert!(error.contains("install"), "{error}");
}
