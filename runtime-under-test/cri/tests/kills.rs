//! Servers that are killed without warning: no container, log line or exit code is lost, and nothing is left over.
//! `PLIMSOLL_CRI_TEST_KILLS` and `PLIMSOLL_CRI_TEST_CONTAINERS` raise the numbers. Skipped without handler or root.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::format_collect,
    clippy::format_push_string,
    clippy::too_many_lines,
    clippy::wildcard_imports,
    reason = "a test's way to fail is to panic, and its story is told in one function"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{Server, container, pod, unable};
use plimsoll_cri::api::runtime_service_client::RuntimeServiceClient;
use plimsoll_cri::api::*;
use tonic::Status;
use tonic::transport::Channel;

type Client = RuntimeServiceClient<Channel>;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

fn on_host_network(name: &str, logs: &Path) -> PodSandboxConfig {
    let options = NamespaceOption { network: NamespaceMode::Node as i32, ..Default::default() };
    let security_context =
        LinuxSandboxSecurityContext { namespace_options: Some(options), ..Default::default() };
    PodSandboxConfig {
        hostname: String::new(),
        linux: Some(LinuxPodSandboxConfig { security_context: Some(security_context), ..Default::default() }),
        ..pod(name, &logs.join(name))
    }
}

async fn make(client: &mut Client, config: PodSandboxConfig) -> Result<String, Status> {
    let request = RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
    Ok(client.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id)
}

async fn begin(
    client: &mut Client,
    pod_sandbox_id: &str,
    name: &str,
    script: &str,
) -> Result<String, Status> {
    let config = container(name, &["/bin/sh", "-c", script]);
    let request = CreateContainerRequest {
        pod_sandbox_id: pod_sandbox_id.into(),
        config: Some(config),
        sandbox_config: None,
    };
    let container_id = client.create_container(request).await?.into_inner().container_id;
    client.start_container(StartContainerRequest { container_id: container_id.clone() }).await?;
    Ok(container_id)
}

async fn containers(client: &mut Client) -> BTreeMap<String, i32> {
    let list =
        client.list_containers(ListContainersRequest::default()).await.unwrap().into_inner().containers;
    list.into_iter().map(|c| (c.id, c.state)).collect()
}

async fn status(client: &mut Client, container_id: &str) -> ContainerStatus {
    let request = ContainerStatusRequest { container_id: container_id.into(), verbose: false };
    client.container_status(request).await.unwrap().into_inner().status.unwrap()
}

/// What a log says, without times; parts of a line are joined.
fn lines(log: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap();
    text.lines().map(|l| l.splitn(4, ' ').nth(3).unwrap().to_owned()).collect()
}

fn mounts_below(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let dir = dir.display().to_string();
    text.lines().filter(|l| l.contains(&dir)).map(str::to_owned).collect()
}

/// Processes that name the directory on their command line.
fn processes_of(dir: &Path, but: u32) -> Vec<String> {
    let dir = dir.display().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if pid != but.to_string() && pid.parse::<u32>().is_ok() && line.contains(&dir) {
            found.push(line);
        }
    }
    found
}

async fn remove_all(client: &mut Client) {
    let pods = client.list_pod_sandbox(ListPodSandboxRequest::default()).await.unwrap().into_inner().items;
    for pod in pods {
        client.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: pod.id }).await.unwrap();
    }
}

/// Nothing of pods and containers is left on the host.
fn nothing_left(server: &Server) {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let mounts = mounts_below(server.dir.path());
        let processes = processes_of(server.dir.path(), server.pid());
        let dirs: Vec<PathBuf> = ["state/pods", "state/containers", "root/containers"]
            .iter()
            .flat_map(|d| std::fs::read_dir(server.path(d)).unwrap().flatten().map(|e| e.path()))
            .collect();
        if mounts.is_empty() && processes.is_empty() && dirs.is_empty() {
            return;
        }
        assert!(Instant::now() < until, "left over: {mounts:#?} {processes:#?} {dirs:#?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test]
async fn kills_lose_nothing_that_runs() {
    if unable() {
        return;
    }
    let kills = number("PLIMSOLL_CRI_TEST_KILLS", 12);
    let wanted = number("PLIMSOLL_CRI_TEST_CONTAINERS", 24);
    let mut server = Server::start(31);
    let logs = server.path("logs");
    let (mut client, _) = server.clients().await;
    let mut talking: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut ending: BTreeMap<String, i32> = BTreeMap::new();
    let mut pods = BTreeSet::new();
    for n in 0..wanted.div_ceil(4) {
        let name = format!("p{n}");
        let id = make(&mut client, on_host_network(&name, &logs)).await.unwrap();
        let talk = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.1; done";
        for c in 0..3 {
            let talker = begin(&mut client, &id, &format!("t{c}"), talk).await.unwrap();
            talking.insert(talker, logs.join(&name).join(format!("t{c}/0.log")));
        }
        let code = 1 + i32::try_from(n % 100).unwrap();
        let script = format!("sleep {}.{}; exit {code}", n % 7, n % 10);
        ending.insert(begin(&mut client, &id, "e", &script).await.unwrap(), code);
        pods.insert(id);
    }
    let all: BTreeSet<String> = talking.keys().chain(ending.keys()).cloned().collect();
    let mut slowest = Duration::ZERO;
    let mut known = BTreeMap::new();
    for _ in 0..kills {
        let start = Instant::now();
        server.kill_and_restart();
        slowest = slowest.max(start.elapsed());
        (client, _) = server.clients().await;
        let now = containers(&mut client).await;
        assert_eq!(now.keys().cloned().collect::<BTreeSet<_>>(), all, "containers after a kill");
        for id in talking.keys() {
            assert_eq!(now[id], ContainerState::ContainerRunning as i32, "state of {id}");
        }
        let listed =
            client.list_pod_sandbox(ListPodSandboxRequest::default()).await.unwrap().into_inner().items;
        assert!(listed.iter().all(|p| p.state == PodSandboxState::SandboxReady as i32));
        assert_eq!(listed.into_iter().map(|p| p.id).collect::<BTreeSet<_>>(), pods, "sandboxes after a kill");
        for (id, code) in &ending {
            if now[id] == ContainerState::ContainerExited as i32 {
                let status = status(&mut client, id).await;
                assert_eq!(status.exit_code, *code, "exit code of {id}");
                let finished = known.entry(id.clone()).or_insert(status.finished_at);
                assert_eq!(*finished, status.finished_at, "end of {id} as told before");
            }
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    println!("{kills} kills with {} containers, slowest return {} ms", all.len(), slowest.as_millis());
    for (id, code) in &ending {
        let until = Instant::now() + Duration::from_secs(60);
        while status(&mut client, id).await.state != ContainerState::ContainerExited as i32 {
            assert!(Instant::now() < until, "{id} does not end");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(status(&mut client, id).await.exit_code, *code);
    }
    for id in talking.keys() {
        let stop = StopContainerRequest { container_id: id.clone(), timeout: 0 };
        client.stop_container(stop).await.unwrap();
        assert_eq!(status(&mut client, id).await.exit_code, 137);
    }
    for log in talking.values() {
        let lines = lines(log);
        let expected: Vec<String> = (0..lines.len()).map(|n| n.to_string()).collect();
        assert!(lines.len() > kills, "{} has {} lines", log.display(), lines.len());
        assert_eq!(lines, expected, "{}", log.display());
    }
    remove_all(&mut client).await;
    nothing_left(&server);
}

#[tokio::test]
async fn kills_in_the_middle_of_calls_leave_nothing_half_made() {
    if unable() {
        return;
    }
    let kills = number("PLIMSOLL_CRI_TEST_KILLS", 12);
    let mut server = Server::start(32);
    let logs = server.path("logs");
    let mut promised: BTreeMap<String, i32> = BTreeMap::new();
    let mut known: BTreeMap<String, i32> = BTreeMap::new();
    for n in 0..kills {
        let (mut client, _) = server.clients().await;
        let config = pod(&format!("r{n}"), &logs.join(n.to_string()));
        let own = n;
        let life = tokio::spawn(async move {
            let mut done = Vec::new();
            let Ok(id) = make(&mut client, config).await else { return done };
            for c in 0..4_i32 {
                let script = format!("exit {}", c + 10);
                if let Ok(container) = begin(&mut client, &id, &format!("c{c}"), &script).await {
                    done.push((container, c + 10));
                }
                // A stop and a removal are in the middle of it too.
                if c == 2 && own % 3 == 0 {
                    let stop = StopPodSandboxRequest { pod_sandbox_id: id.clone() };
                    let _ = client.stop_pod_sandbox(stop).await;
                }
            }
            done
        });
        // Over the rounds the kill falls into every part of the life.
        tokio::time::sleep(Duration::from_millis(5 + (n as u64 * 37) % 600)).await;
        server.kill_and_restart();
        let done = tokio::time::timeout(Duration::from_secs(60), life).await.unwrap().unwrap();
        let (mut client, _) = server.clients().await;
        let now = containers(&mut client).await;
        for (id, code) in done {
            assert!(now.contains_key(&id), "a started container is lost in round {n}");
            promised.insert(id, code);
        }
        for (id, code) in &promised {
            let until = Instant::now() + Duration::from_secs(30);
            while status(&mut client, id).await.state != ContainerState::ContainerExited as i32 {
                assert!(Instant::now() < until, "{id} does not end in round {n}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let told = status(&mut client, id).await.exit_code;
            // The stop of its sandbox may have come before its own end; what was told once stays.
            assert!(told == *code || told == 137, "exit code {told} of {id}, which ends with {code}");
            assert_eq!(*known.entry(id.clone()).or_insert(told), told, "exit code told before round {n}");
        }
    }
    println!("{kills} kills in the middle of calls, {} containers kept", promised.len());
    let (mut client, _) = server.clients().await;
    remove_all(&mut client).await;
    nothing_left(&server);
}
