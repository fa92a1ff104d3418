//! What clients see: statuses, list items, filters.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Container, Daemon, Pod, State, lock, sandbox};
use crate::api;
use crate::oci::{signal, spec};

/// Whether all wanted labels are there (requirements `filter-labels`: exact, all of them).
pub fn labels_match(wanted: &BTreeMap<String, String>, have: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| have.get(key) == Some(value))
}

/// Whether an id filter fits; a prefix is enough, as clients with short ids expect.
fn id_matches(wanted: &str, id: &str) -> bool {
    wanted.is_empty() || wanted == id || wanted.len() >= 8 && id.starts_with(wanted)
}

impl Daemon {
    /// Status of a sandbox.
    pub fn pod_status(&self, pod: &Pod) -> api::PodSandboxStatus {
        let record = lock(&pod.record).clone();
        let options = sandbox::options(&pod.config);
        let ips = record.network.map(|n| n.ips).unwrap_or_default();
        let network = ips.split_first().map(|(first, rest)| api::PodSandboxNetworkStatus {
            ip: first.clone(),
            additional_ips: rest.iter().map(|ip| api::PodIp { ip: ip.clone() }).collect(),
        });
        api::PodSandboxStatus {
            id: pod.id.clone(),
            metadata: pod.config.metadata.clone(),
            state: pod_state(record.ready),
            created_at: record.created_at,
            network: Some(network.unwrap_or_default()),
            linux: Some(api::LinuxPodSandboxStatus {
                namespaces: Some(api::Namespace { options: Some(options) }),
            }),
            labels: pod.config.labels.clone(),
            annotations: pod.config.annotations.clone(),
            runtime_handler: record.handler,
        }
    }

    /// Sandboxes that match.
    pub fn list_pods(&self, filter: Option<api::PodSandboxFilter>) -> Vec<api::PodSandbox> {
        let filter = filter.unwrap_or_default();
        let all: Vec<_> = lock(&self.table).pods.values().cloned().collect();
        let one = |pod: &std::sync::Arc<Pod>| {
            let (state, created_at, handler) = {
                let record = lock(&pod.record);
                (pod_state(record.ready), record.created_at, record.handler.clone())
            };
            let fits = id_matches(&filter.id, &pod.id)
                && filter.state.as_ref().is_none_or(|s| s.state == state)
                && labels_match(&filter.label_selector, &pod.config.labels);
            fits.then(|| api::PodSandbox {
                id: pod.id.clone(),
                metadata: pod.config.metadata.clone(),
                state,
                created_at,
                labels: pod.config.labels.clone(),
                annotations: pod.config.annotations.clone(),
                runtime_handler: handler,
            })
        };
        all.iter().filter_map(one).collect()
    }

    /// Verbose information: JSON under `info`.
    pub fn pod_info(&self, pod: &Pod) -> BTreeMap<String, String> {
        let record = lock(&pod.record).clone();
        let info = json!({"pid": record.pause, "cgroupPath": record.cgroup, "cgroupParent": record.cgroup_parent,
            "runtimeHandler": record.handler, "stateDir": pod.dir, "ips": record.network.map(|n| n.ips)});
        BTreeMap::from([("info".to_owned(), info.to_string())])
    }

    /// Status of a container.
    pub fn container_status(&self, container: &Container) -> api::ContainerStatus {
        let record = lock(&container.record).clone();
        let exit = *container.exit.borrow();
        let state = container.state();
        let config = &container.config;
        let (reason, message) = match (&exit, &record.start_error) {
            (Some(_), Some(error)) => ("StartError", error.clone()),
            (Some(exit), _) if exit.oom => ("OOMKilled", String::new()),
            (Some(exit), _) if exit.code == 0 => ("Completed", String::new()),
            (Some(_), _) => ("Error", String::new()),
            (None, _) => ("", String::new()),
        };
        let mut mounts = config.mounts.clone();
        for mount in &mut mounts {
            if let Some(image) = mount.image.as_mut()
                && let Some(id) = record.image_volumes.get(&mount.container_path)
            {
                image.image_ref.clone_from(id);
            }
        }
        let mut image = config.image.clone().unwrap_or_default();
        if !image.user_specified_image.is_empty() {
            image.image.clone_from(&image.user_specified_image);
        }
        let (uid, gid, groups) = record.user;
        api::ContainerStatus {
            id: container.id.clone(),
            metadata: config.metadata.clone(),
            state: cri_state(state) as i32,
            created_at: record.created_at,
            started_at: record.started_at,
            finished_at: exit.map_or(0, |e| e.at),
            exit_code: exit.map_or(0, |e| e.code),
            image: Some(image),
            image_ref: record.image_id.clone(),
            reason: reason.to_owned(),
            message,
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            mounts,
            log_path: container.log_path.clone(),
            resources: Some(api::ContainerResources {
                linux: Some(lock(&container.resources).clone()),
                windows: None,
            }),
            image_id: record.image_id,
            user: Some(api::ContainerUser {
                linux: Some(api::LinuxContainerUser {
                    uid: uid.into(),
                    gid: gid.into(),
                    supplemental_groups: groups.into_iter().map(i64::from).collect(),
                }),
            }),
            stop_signal: signal::to_cri(record.stop_signal) as i32,
        }
    }

    /// Containers that match.
    pub fn list_containers(&self, filter: Option<api::ContainerFilter>) -> Vec<api::Container> {
        let filter = filter.unwrap_or_default();
        let all: Vec<_> = lock(&self.table).containers.values().cloned().collect();
        let one = |container: &std::sync::Arc<Container>| {
            let state = cri_state(container.state()) as i32;
            let (pod, created_at, image_id) = {
                let record = lock(&container.record);
                (record.pod.clone(), record.created_at, record.image_id.clone())
            };
            let fits = id_matches(&filter.id, &container.id)
                && id_matches(&filter.pod_sandbox_id, &pod)
                && filter.state.as_ref().is_none_or(|s| s.state == state)
                && labels_match(&filter.label_selector, &container.config.labels);
            fits.then(|| api::Container {
                id: container.id.clone(),
                pod_sandbox_id: pod,
                metadata: container.config.metadata.clone(),
                image: container.config.image.clone(),
                image_ref: image_id.clone(),
                state,
                created_at,
                labels: container.config.labels.clone(),
                annotations: container.config.annotations.clone(),
                image_id,
            })
        };
        all.iter().filter_map(one).collect()
    }

    /// Verbose information: JSON under `info`.
    pub fn container_info(&self, container: &Container) -> BTreeMap<String, String> {
        let record = lock(&container.record).clone();
        let pid = if container.state() == State::Running { record.pid } else { 0 };
        let spec: serde_json::Value = std::fs::read(container.dir.join("config.json"))
            .ok()
            .and_then(|b| serde_json::from_slice(&b).ok())
            .unwrap_or_default();
        let privileged = spec::security(&container.config).privileged;
        let info = json!({"sandboxID": record.pod, "pid": pid, "cgroupPath": record.cgroup, "privileged": privileged, "runtimeSpec": spec});
        BTreeMap::from([("info".to_owned(), info.to_string())])
    }
}

fn pod_state(ready: bool) -> i32 {
    (if ready { api::PodSandboxState::SandboxReady } else { api::PodSandboxState::SandboxNotready }) as i32
}

fn cri_state(state: State) -> api::ContainerState {
    match state {
        State::Created => api::ContainerState::ContainerCreated,
        State::Running => api::ContainerState::ContainerRunning,
        State::Exited => api::ContainerState::ContainerExited,
    }
}
