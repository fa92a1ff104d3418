//! The reference runtime in runc's place under a packaged containerd (`BinaryName`): a pod's whole life.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests

use plimsoll_cri_client::stream::Finish;
use plimsoll_cri_client::stream::exec::{Output, Protocol, Session, Streams};
use plimsoll_cri_client::{Client, Options as ClientOptions, v1};
use plimsoll_images::registry::Registry;
use plimsoll_images::standard::Catalogue;
use plimsoll_testbed::{Handler, Options, Testbed};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
const OUTPUTS: Streams = Streams { stdin: false, stdout: true, stderr: true, tty: false };

/// Whether containerd is here; said aloud when not.
fn containerd() -> bool {
    let here = std::path::Path::new("/usr/bin/containerd").exists() && nix::unistd::geteuid().is_root();
    if !here {
        assert!(std::env::var_os("PLIMSOLL_CI").is_none(), "needs containerd and root");
        println!("SKIP: needs containerd and root");
    }
    here
}

/// A script of the guest program.
fn script(steps: &str) -> Vec<String> {
    vec!["/probe".into(), format!(r#"{{"nonce":1,"steps":[{steps}]}}"#)]
}

/// A pod with one handler, and what is done in it.
struct Pod<'a> {
    client: &'a Client,
    config: v1::PodSandboxConfig,
    id: String,
    image: String,
}

impl<'a> Pod<'a> {
    async fn run(client: &'a Client, handler: &str, image: &str, name: &str) -> Self {
        let metadata =
            v1::PodSandboxMetadata { name: name.into(), uid: name.into(), namespace: "t".into(), attempt: 0 };
        let config = v1::PodSandboxConfig {
            metadata: Some(metadata),
            hostname: "dropin".into(),
            linux: Some(v1::LinuxPodSandboxConfig::default()),
            ..Default::default()
        };
        let request =
            v1::RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: handler.into() };
        let id = client.run_pod_sandbox(request).await.unwrap().pod_sandbox_id;
        Self { client, config, id, image: image.into() }
    }

    /// Creates and starts a container.
    async fn start(&self, name: &str, steps: &str, change: impl Fn(&mut v1::ContainerConfig)) -> String {
        let mut command = script(steps);
        let mut config = v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata { name: name.into(), attempt: 0 }),
            image: Some(v1::ImageSpec { image: self.image.clone(), ..Default::default() }),
            args: command.split_off(1),
            command,
            linux: Some(v1::LinuxContainerConfig::default()),
            ..Default::default()
        };
        change(&mut config);
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: self.id.clone(),
            config: Some(config),
            sandbox_config: Some(self.config.clone()),
        };
        let container_id = self.client.create_container(request).await.unwrap().container_id;
        let request = v1::StartContainerRequest { container_id: container_id.clone() };
        self.client.start_container(request).await.unwrap();
        container_id
    }

    async fn status(&self, id: &str) -> v1::ContainerStatus {
        let request = v1::ContainerStatusRequest { container_id: id.into(), verbose: false };
        self.client.container_status(request).await.unwrap().status.unwrap()
    }

    async fn exited(&self, id: &str) -> v1::ContainerStatus {
        let end = Instant::now() + LIMIT;
        loop {
            let status = self.status(id).await;
            if status.state() == v1::ContainerState::ContainerExited {
                return status;
            }
            assert!(Instant::now() < end, "never exited: {status:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn exec(&self, id: &str, steps: &str, streams: Streams, input: Option<&[u8]>) -> Output {
        let request = v1::ExecRequest {
            container_id: id.into(),
            cmd: script(steps),
            tty: streams.tty,
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr,
        };
        let url = self.client.exec(request).await.unwrap().url;
        let session = Session::open(&url, Protocol::SPDY, streams, LIMIT).await.unwrap();
        session.run(input, LIMIT, 1 << 20).await.unwrap()
    }

    async fn exec_sync(&self, id: &str, steps: &str) -> (i32, String) {
        let request = v1::ExecSyncRequest { container_id: id.into(), cmd: script(steps), timeout: 60 };
        let answer = self.client.exec_sync(request).await.unwrap();
        (answer.exit_code, String::from_utf8_lossy(&answer.stdout).into_owned())
    }

    async fn remove(self) {
        let pod_sandbox_id = self.id;
        self.client
            .stop_pod_sandbox(v1::StopPodSandboxRequest { pod_sandbox_id: pod_sandbox_id.clone() })
            .await
            .unwrap();
        self.client.remove_pod_sandbox(v1::RemovePodSandboxRequest { pod_sandbox_id }).await.unwrap();
    }
}

/// Without and with a terminal: output, error output, input, exit code.
async fn execs(pod: &Pod<'_>, id: &str) {
    let (code, out) = pod.exec_sync(id, r#"{"ask":"hostname"},{"do":"exit","code":7}"#).await;
    assert_eq!(code, 7, "{out}");
    assert!(out.contains(r#""hostname":"dropin""#), "{out}");

    let both =
        r#"{"do":"print","text":"to-out"},{"do":"print","fd":2,"text":"to-err"},{"do":"exit","code":3}"#;
    let output = pod.exec(id, both, OUTPUTS, None).await;
    assert_eq!(output.finish, Some(Finish::ExitCode(3)));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(text(&output.stdout).contains("to-out") && text(&output.stderr).contains("to-err"));

    let terminal = Streams { stdin: false, stdout: true, stderr: false, tty: true };
    let output = pod.exec(id, r#"{"ask":"stdio_tty"},{"do":"exit","code":4}"#, terminal, None).await;
    assert_eq!(output.finish, Some(Finish::ExitCode(4)));
    let said = text(&output.stdout);
    assert_eq!(said.matches(r#""isatty":true"#).count(), 3, "{said}");
    let plain = pod.exec(id, r#"{"ask":"stdio_tty"}"#, OUTPUTS, None).await;
    assert!(!text(&plain.stdout).contains(r#""isatty":true"#));

    let all = Streams { stdin: true, ..OUTPUTS };
    let output = pod.exec(id, r#"{"ask":"stdin","timeout_ms":20000}"#, all, Some(b"typed")).await;
    assert!(text(&output.stdout).contains("typed"), "{}", text(&output.stdout));
}

/// Attach brings input to the container's own process and its output back, with and without a terminal.
/// A terminal's end of input is a character: containerd sends no output any more to a client that closes its side.
async fn attaches(pod: &Pod<'_>) {
    for tty in [false, true] {
        let id = pod
            .start(
                if tty { "attach-tty" } else { "attach" },
                r#"{"ask":"stdin","timeout_ms":30000,"max":5},{"do":"print","text":"answered"}"#,
                |c| {
                    c.stdin = true;
                    c.stdin_once = true;
                    c.tty = tty;
                },
            )
            .await;
        let streams = Streams { stdin: true, stdout: true, stderr: !tty, tty };
        let request =
            v1::AttachRequest { container_id: id.clone(), stdin: true, tty, stdout: true, stderr: !tty };
        let url = pod.client.attach(request).await.unwrap().url;
        let mut session = Session::open(&url, Protocol::SPDY, streams, LIMIT).await.unwrap();
        let output = if tty {
            session.input().stdin(b"typed\n\x04").await.unwrap();
            session.gather(LIMIT, 1 << 20).await.unwrap()
        } else {
            session.run(Some(b"typed"), LIMIT, 1 << 20).await.unwrap()
        };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("answered"), "tty {tty}: {said}");
        assert_eq!(pod.exited(&id).await.exit_code, 0, "tty {tty}");
    }
}

/// Statistics of a container that holds memory, and a change of its limits while it runs.
async fn stats_and_update(pod: &Pod<'_>) {
    let id = pod
        .start("holder", r#"{"do":"hold_memory","bytes":33554432,"timeout_ms":600000}"#, |c| {
            c.linux.as_mut().unwrap().resources =
                Some(v1::LinuxContainerResources { memory_limit_in_bytes: 256 << 20, ..Default::default() });
        })
        .await;
    let end = Instant::now() + LIMIT;
    loop {
        let request = v1::ContainerStatsRequest { container_id: id.clone() };
        let stats = pod.client.container_stats(request).await.unwrap().stats.unwrap();
        let memory = stats.memory.as_ref().and_then(|m| m.working_set_bytes.as_ref()).map_or(0, |v| v.value);
        let cpu = stats.cpu.as_ref().and_then(|c| c.usage_core_nano_seconds.as_ref()).map_or(0, |v| v.value);
        if memory >= 32 << 20 && cpu > 0 {
            break;
        }
        assert!(Instant::now() < end, "32 MiB are held, and the statistics say {stats:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let linux = v1::LinuxContainerResources {
        memory_limit_in_bytes: 128 << 20,
        cpu_shares: 512,
        cpu_quota: 50_000,
        cpu_period: 100_000,
        ..Default::default()
    };
    let request = v1::UpdateContainerResourcesRequest {
        container_id: id.clone(),
        linux: Some(linux),
        ..Default::default()
    };
    pod.client.update_container_resources(request).await.unwrap();
    let files = cgroup_files(&id, &["memory.limit_in_bytes", "memory.max"]);
    assert!(!files.is_empty() && files.iter().all(|t| t == "134217728"), "{files:?}");
    let files = cgroup_files(&id, &["cpu.cfs_quota_us", "cpu.max"]);
    assert!(!files.is_empty() && files.iter().all(|t| t.starts_with("50000")), "{files:?}");
    let request = v1::StopContainerRequest { container_id: id.clone(), timeout: 20 };
    pod.client.stop_container(request).await.unwrap();
    assert_eq!(pod.status(&id).await.state(), v1::ContainerState::ContainerExited);
    pod.client.remove_container(v1::RemoveContainerRequest { container_id: id.clone() }).await.unwrap();
    assert_eq!(cgroup_files(&id, &["cgroup.procs"]), Vec::<String>::new(), "the cgroup stays");
}

/// The content of these files of a container's cgroups, in whatever hierarchy they are.
fn cgroup_files(id: &str, names: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![std::path::PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = todo.pop() {
        if dir.ends_with(id) {
            found.extend(names.iter().filter_map(|n| std::fs::read_to_string(dir.join(n)).ok()));
            continue;
        }
        // A container's directory is at most two below the mount point of a hierarchy.
        if dir.components().count() < 7 {
            let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
            todo.extend(entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
        }
    }
    found.into_iter().map(|t| t.trim().to_owned()).collect()
}

/// More memory than allowed: containerd learns from the runtime's cgroup that it was the kernel.
async fn out_of_memory(pod: &Pod<'_>) {
    let hog = r#"{"do":"hold_memory","bytes":268435456}"#;
    let id = pod
        .start("hog", hog, |c| {
            c.linux.as_mut().unwrap().resources = Some(v1::LinuxContainerResources {
                memory_limit_in_bytes: 32 << 20,
                memory_swap_limit_in_bytes: 32 << 20,
                ..Default::default()
            });
        })
        .await;
    let status = pod.exited(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
}

/// What cannot be executed is an error of start that says so, and nothing else breaks.
async fn missing_program(pod: &Pod<'_>) {
    let config = v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: "missing".into(), attempt: 0 }),
        image: Some(v1::ImageSpec { image: pod.image.clone(), ..Default::default() }),
        command: vec!["/no/such/program".into()],
        linux: Some(v1::LinuxContainerConfig::default()),
        ..Default::default()
    };
    let request = v1::CreateContainerRequest {
        pod_sandbox_id: pod.id.clone(),
        config: Some(config),
        sandbox_config: Some(pod.config.clone()),
    };
    let container_id = pod.client.create_container(request).await.unwrap().container_id;
    let request = v1::StartContainerRequest { container_id: container_id.clone() };
    let error = pod.client.start_container(request).await.unwrap_err();
    assert!(error.message.contains("no such file or directory"), "{}", error.message);
    pod.client.remove_container(v1::RemoveContainerRequest { container_id }).await.unwrap();
}

#[tokio::test]
async fn a_pod_lives_and_ends_with_the_reference_runtime() {
    if !containerd() {
        return;
    }
    let probe = plimsoll_kit::probe::PROBE.to_vec();
    let handler =
        Handler { flags: vec!["oci".into()], ..Handler::new("reference", env!("CARGO_BIN_EXE_plimsoll")) };
    let options = Options { handlers: vec![handler], hide_unified: false, ..Options::new(probe.clone()) };
    let bed = Testbed::start(options).await.unwrap();
    let registry = Registry::start().unwrap();
    let image = registry.add("test/plain", "1", &Catalogue::new(probe).plain());
    let client = Client::lazy(&bed.target(""), ClientOptions::default());
    let spec = v1::ImageSpec { image: image.clone(), ..Default::default() };
    client.pull_image(v1::PullImageRequest { image: Some(spec), ..Default::default() }).await.unwrap();

    let pod = Pod::run(&client, "reference", &image, "whole").await;
    let id = pod.start("main", r#"{"do":"pause_forever","on":["TERM"],"code":5}"#, |_| ()).await;
    assert_eq!(pod.status(&id).await.state(), v1::ContainerState::ContainerRunning);
    execs(&pod, &id).await;
    attaches(&pod).await;
    stats_and_update(&pod).await;
    out_of_memory(&pod).await;
    missing_program(&pod).await;

    let request = v1::StopContainerRequest { container_id: id.clone(), timeout: 30 };
    client.stop_container(request).await.unwrap();
    assert_eq!(pod.status(&id).await.exit_code, 5, "TERM reaches the program");
    pod.remove().await;
    let log = std::fs::read_to_string(bed.log()).unwrap_or_default();
    bed.stop().await.unwrap();
    assert!(!log.contains("panicked"), "{log}");
}
