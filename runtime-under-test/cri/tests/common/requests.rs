//! Requests that nobody should send.

use std::collections::BTreeMap;
use std::path::Path;

use plimsoll_cri::api::*;
use prost::Message as _;

use crate::common::{container, pod};

/// The rpcs of the interface with their service, but the stream of events.
pub const RPCS: [(&str, &str); 42] = [
    ("RuntimeService", "Version"),
    ("RuntimeService", "RunPodSandbox"),
    ("RuntimeService", "StopPodSandbox"),
    ("RuntimeService", "RemovePodSandbox"),
    ("RuntimeService", "PodSandboxStatus"),
    ("RuntimeService", "ListPodSandbox"),
    ("RuntimeService", "StreamPodSandboxes"),
    ("RuntimeService", "CreateContainer"),
    ("RuntimeService", "StartContainer"),
    ("RuntimeService", "StopContainer"),
    ("RuntimeService", "RemoveContainer"),
    ("RuntimeService", "ListContainers"),
    ("RuntimeService", "StreamContainers"),
    ("RuntimeService", "ContainerStatus"),
    ("RuntimeService", "UpdateContainerResources"),
    ("RuntimeService", "ReopenContainerLog"),
    ("RuntimeService", "ExecSync"),
    ("RuntimeService", "Exec"),
    ("RuntimeService", "Attach"),
    ("RuntimeService", "PortForward"),
    ("RuntimeService", "ContainerStats"),
    ("RuntimeService", "ListContainerStats"),
    ("RuntimeService", "StreamContainerStats"),
    ("RuntimeService", "PodSandboxStats"),
    ("RuntimeService", "ListPodSandboxStats"),
    ("RuntimeService", "StreamPodSandboxStats"),
    ("RuntimeService", "UpdateRuntimeConfig"),
    ("RuntimeService", "Status"),
    ("RuntimeService", "CheckpointContainer"),
    ("RuntimeService", "ListMetricDescriptors"),
    ("RuntimeService", "ListPodSandboxMetrics"),
    ("RuntimeService", "StreamPodSandboxMetrics"),
    ("RuntimeService", "RuntimeConfig"),
    ("RuntimeService", "UpdatePodSandboxResources"),
    ("RuntimeService", "CheckpointPod"),
    ("RuntimeService", "RestorePod"),
    ("ImageService", "ListImages"),
    ("ImageService", "StreamImages"),
    ("ImageService", "ImageStatus"),
    ("ImageService", "PullImage"),
    ("ImageService", "RemoveImage"),
    ("ImageService", "ImageFsInfo"),
];

/// Bytes that are no message of any kind.
pub fn garbage() -> Vec<Vec<u8>> {
    vec![
        vec![0xff; 9],                                                    // a tag that never ends
        vec![0x0a],                                                       // a field without its length
        vec![0x0a, 0x80, 0x80, 0x80, 0x80, 0x08, 1],                      // a length of 2 GiB
        vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], // a length of 2^62
        vec![0x0f],                                                       // a wire type that does not exist
        [vec![0x0b; 200], vec![0]].concat(),                              // groups in groups, never closed
    ]
}

/// Requests of the right type whose content is wrong.
pub fn requests(pod_id: &str) -> Vec<(&'static str, Vec<u8>)> {
    let ids = ["", "../../etc", "/", "\u{0}", "a b", "no-such-id", &"x".repeat(1 << 20), "\u{202e}\u{1f6a2}"]
        .map(str::to_owned);
    let mut all: Vec<(&'static str, Vec<u8>)> = Vec::new();
    for id in &ids {
        let pod_sandbox_id = id.clone();
        let container_id = id.clone();
        all.extend([
            (
                "PodSandboxStatus",
                PodSandboxStatusRequest { pod_sandbox_id: id.clone(), verbose: true }.encode_to_vec(),
            ),
            (
                "ContainerStatus",
                ContainerStatusRequest { container_id: id.clone(), verbose: true }.encode_to_vec(),
            ),
            ("StartContainer", StartContainerRequest { container_id: id.clone() }.encode_to_vec()),
            (
                "ExecSync",
                ExecSyncRequest { container_id: id.clone(), cmd: vec!["x".into()], timeout: 1 }
                    .encode_to_vec(),
            ),
            (
                "Exec",
                ExecRequest {
                    container_id: id.clone(),
                    cmd: vec!["x".into()],
                    stdout: true,
                    ..Default::default()
                }
                .encode_to_vec(),
            ),
            (
                "Attach",
                AttachRequest { container_id: id.clone(), stdout: true, ..Default::default() }
                    .encode_to_vec(),
            ),
            (
                "PortForward",
                PortForwardRequest { pod_sandbox_id: id.clone(), port: vec![80] }.encode_to_vec(),
            ),
            ("ContainerStats", ContainerStatsRequest { container_id: id.clone() }.encode_to_vec()),
            ("PodSandboxStats", PodSandboxStatsRequest { pod_sandbox_id: id.clone() }.encode_to_vec()),
            (
                "UpdateContainerResources",
                UpdateContainerResourcesRequest { container_id: id.clone(), ..Default::default() }
                    .encode_to_vec(),
            ),
            ("ReopenContainerLog", ReopenContainerLogRequest { container_id }.encode_to_vec()),
            (
                "UpdatePodSandboxResources",
                UpdatePodSandboxResourcesRequest { pod_sandbox_id, ..Default::default() }.encode_to_vec(),
            ),
        ]);
    }
    let logs = Path::new("/nonexistent-logs");
    let odd_names = ["", "a/b", "../x", "\u{0}", &"n".repeat(70_000), ".", "-rf", "\n"].map(str::to_owned);
    for name in &odd_names {
        let mut config = pod("p", logs);
        config.hostname.clone_from(name);
        config.log_directory.clear();
        if !name.is_empty() {
            all.push((
                "RunPodSandbox",
                RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() }.encode_to_vec(),
            ));
        }
        if !name.is_empty() {
            let handler =
                RunPodSandboxRequest { config: Some(pod("p", logs)), runtime_handler: name.clone() };
            all.push(("RunPodSandbox", handler.encode_to_vec()));
        }
    }
    let create = |config: ContainerConfig| {
        let request = CreateContainerRequest {
            pod_sandbox_id: pod_id.into(),
            config: Some(config),
            sandbox_config: None,
        };
        ("CreateContainer", request.encode_to_vec())
    };
    let with = |change: &dyn Fn(&mut ContainerConfig)| {
        let mut config = container("c", &["/bin/sleep", "60"]);
        config.log_path.clear();
        change(&mut config);
        create(config)
    };
    let mount = |host: &str, inside: &str, propagation: i32| {
        let mount = Mount {
            host_path: host.into(),
            container_path: inside.into(),
            propagation,
            ..Default::default()
        };
        with(&|c| c.mounts = vec![mount.clone()])
    };
    let security = |change: &dyn Fn(&mut LinuxContainerSecurityContext)| {
        let mut context = LinuxContainerSecurityContext::default();
        change(&mut context);
        with(&|c| {
            c.linux =
                Some(LinuxContainerConfig { security_context: Some(context.clone()), ..Default::default() })
        })
    };
    let profile =
        |kind: i32, file: &str| Some(SecurityProfile { profile_type: kind, localhost_ref: file.into() });
    all.extend([
        with(&|c| c.metadata = None),
        with(&|c| c.image = None),
        with(&|c| c.image = Some(ImageSpec { image: "../../etc/passwd".into(), ..Default::default() })),
        with(&|c| c.image = Some(ImageSpec { image: "sha256:zz".into(), ..Default::default() })),
        with(&|c| c.command = vec!["\u{0}".into()]),
        with(&|c| c.args = vec!["a\u{0}b".into()]),
        with(&|c| c.working_dir = "a\u{0}b".into()),
        with(&|c| c.envs = vec![KeyValue { key: String::new(), value: b"x".to_vec() }]),
        with(&|c| c.envs = vec![KeyValue { key: "A=B".into(), value: b"x".to_vec() }]),
        with(&|c| c.envs = vec![KeyValue { key: "A".into(), value: b"a\0b".to_vec() }]),
        with(&|c| c.log_path = "../../../../tmp/plimsoll-escape".into()),
        with(&|c| c.log_path = "/tmp/plimsoll-escape".into()),
        with(&|c| c.stop_signal = 9999),
        with(&|c| {
            c.devices = vec![Device {
                host_path: "/no/such".into(),
                container_path: "/dev/x".into(),
                permissions: "rwm".into(),
            }]
        }),
        with(&|c| {
            c.devices = vec![Device {
                host_path: "/dev/null".into(),
                container_path: "/dev/x".into(),
                permissions: "q".into(),
            }]
        }),
        with(&|c| {
            c.devices = vec![Device {
                host_path: "/etc/passwd".into(),
                container_path: "/dev/x".into(),
                permissions: "r".into(),
            }]
        }),
        with(&|c| c.cdi_devices = vec![CdiDevice { name: "nonsense".into() }]),
        mount("", "/m", 0),
        mount("/no/such/path", "/m", 0),
        mount("/tmp", "", 0),
        mount("/tmp", "/m\u{0}", 0),
        mount("/tmp", "/m", 77),
        mount("relative", "/m", 0),
        security(&|s| s.run_as_user = Some(Int64Value { value: -1 })),
        security(&|s| s.run_as_user = Some(Int64Value { value: 1 << 40 })),
        security(&|s| s.run_as_group = Some(Int64Value { value: 5 })),
        security(&|s| s.run_as_username = "no-such-user".into()),
        security(&|s| s.supplemental_groups = vec![-5]),
        security(&|s| s.supplemental_groups_policy = 99),
        security(&|s| {
            s.capabilities =
                Some(Capability { add_capabilities: vec!["NO_SUCH".into()], ..Default::default() })
        }),
        security(&|s| s.seccomp = profile(2, "relative.json")),
        security(&|s| s.seccomp = profile(2, "/no/such/file.json")),
        security(&|s| s.seccomp = profile(77, "")),
        security(&|s| s.namespace_options = Some(NamespaceOption { pid: 99, ..Default::default() })),
        security(&|s| {
            s.namespace_options =
                Some(NamespaceOption { pid: 3, target_id: "no-such".into(), ..Default::default() })
        }),
        security(&|s| s.privileged = true),
    ]);
    let sandbox = |change: &dyn Fn(&mut PodSandboxConfig)| {
        let mut config = pod("q", logs);
        config.log_directory.clear();
        change(&mut config);
        (
            "RunPodSandbox",
            RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() }.encode_to_vec(),
        )
    };
    let sysctl = |name: &str, value: &str| {
        let sysctls = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        sandbox(&|c| c.linux = Some(LinuxPodSandboxConfig { sysctls: sysctls.clone(), ..Default::default() }))
    };
    let port = |container_port: i32, host_port: i32, host_ip: &str, protocol: i32| {
        let mapping = PortMapping { container_port, host_port, host_ip: host_ip.into(), protocol };
        sandbox(&|c| c.port_mappings = vec![mapping.clone()])
    };
    all.extend([
        sandbox(&|c| c.metadata = None),
        sandbox(&|c| c.log_directory = "relative/logs".into()),
        sandbox(&|c| {
            c.linux = Some(LinuxPodSandboxConfig { cgroup_parent: "../../x".into(), ..Default::default() })
        }),
        sysctl("kernel.core_pattern", "|/bin/sh"),
        sysctl("../../etc/passwd", "x"),
        sysctl("kernel.shm_rmid_forced", "1\n0"),
        sysctl("", "1"),
        port(80, 70_000, "", 0),
        port(-1, 80, "", 0),
        port(80, 8080, "not-an-address", 0),
        port(80, 8080, "", 99),
        ("PortForward", PortForwardRequest { pod_sandbox_id: pod_id.into(), port: vec![0] }.encode_to_vec()),
        (
            "PortForward",
            PortForwardRequest { pod_sandbox_id: pod_id.into(), port: vec![-80] }.encode_to_vec(),
        ),
        (
            "ExecSync",
            ExecSyncRequest { timeout: -5, cmd: vec!["x".into()], container_id: "x".into() }.encode_to_vec(),
        ),
    ]);
    all
}
