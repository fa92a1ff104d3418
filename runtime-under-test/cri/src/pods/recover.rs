//! After a restart: what is on disk becomes what is known; what was half made or belongs to nobody is swept up.

use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::container::alive;
use super::events::read_exit;
use super::{
    Container, ContainerRecord, Daemon, Pod, PodRecord, container_name, lock, log_place, pod_name,
    read_message, rootfs,
};
use crate::api::{ContainerConfig, PodSandboxConfig};
use crate::error::{Context as _, Result};
use crate::net::builtin;
use crate::oci::short_socket;
use crate::util;

impl Daemon {
    /// Loads all sandboxes and containers. Blocking; called once before serving.
    pub fn recover(self: &Arc<Self>) -> Result<()> {
        for dir in [self.pods_dir(), self.containers_dir(), self.config.root.join("containers")] {
            util::make_dir(&dir, 0o711)?;
        }
        for (id, dir) in entries(&self.pods_dir()) {
            match self.load_pod(&id, &dir) {
                Ok(pod) if lock(&pod.record).complete => {
                    let pod = Arc::new(pod);
                    if let Ok(name) = pod_name(&pod.config) {
                        let _ = self.reserve(&name, &id);
                    }
                    lock(&self.table).pods.insert(id, pod);
                }
                Ok(pod) => self.discard(&pod),
                Err(error) => {
                    tracing::warn!(pod = %id, %error, "an unreadable sandbox is removed");
                    rootfs::unmount_all(&dir);
                    let _ = util::remove_dir(&dir);
                }
            }
        }
        for (id, dir) in entries(&self.containers_dir()) {
            self.load_or_scrap(&id, &dir);
        }
        self.sweep();
        let pods: Vec<Arc<Pod>> = lock(&self.table).pods.values().cloned().collect();
        for pod in pods {
            // A stopped sandbox has no monitor any more.
            if alive(pod.pause()) || pod.socket.exists() {
                self.watch(&pod);
            } else if lock(&pod.record).ready {
                lock(&pod.record).ready = false;
                let _ = pod.save();
            }
        }
        Ok(())
    }

    fn load_pod(&self, id: &str, dir: &Path) -> Result<Pod> {
        let record: PodRecord = read_json(&dir.join("pod.json"))?;
        let config: PodSandboxConfig = read_message(&dir.join("config.pb"))?;
        Ok(Pod {
            id: id.to_owned(),
            config,
            dir: dir.to_owned(),
            socket: short_socket(&self.config.state, 'm', id),
            record: Mutex::new(record),
            monitor: Mutex::new(None),
            operation: tokio::sync::Mutex::new(()),
        })
    }

    fn load_or_scrap(self: &Arc<Self>, id: &str, dir: &Path) {
        let loaded = self.load_container(id, dir);
        match loaded {
            Ok(container) => {
                let container = Arc::new(container);
                let (complete, chains, pod) = {
                    let record = lock(&container.record);
                    (record.complete, record.chains.clone(), record.pod.clone())
                };
                if !complete || self.pod(&pod).is_err() {
                    self.scrap(&container);
                    return;
                }
                self.images.hold(id, &chains);
                if let Ok(name) = container_name(&pod, &container.config) {
                    let _ = self.reserve(&name, id);
                }
                lock(&self.table).containers.insert(id.to_owned(), container);
            }
            Err(error) => {
                tracing::warn!(container = %id, %error, "an unreadable container is removed");
                rootfs::unmount_all(dir);
                let _ = util::remove_dir(dir);
                let _ = util::remove_dir(&self.layer_dir(id));
            }
        }
    }

    fn load_container(&self, id: &str, dir: &Path) -> Result<Container> {
        let record: ContainerRecord = read_json(&dir.join("container.json"))?;
        let config: ContainerConfig = read_message(&dir.join("config.pb"))?;
        let given = config.linux.as_ref().and_then(|l| l.resources.clone()).unwrap_or_default();
        let resources = read_message(&dir.join("resources.pb")).unwrap_or(given);
        let place = self.pod(&record.pod).ok().and_then(|pod| log_place(&pod.config, &config).ok().flatten());
        let container = Container {
            id: id.to_owned(),
            config,
            dir: dir.to_owned(),
            log_path: place.map_or(String::new(), |(dir, path)| dir.join(path).display().to_string()),
            exit: watch::Sender::new(record.exit),
            told: Mutex::new(record.started_at > 0),
            record: Mutex::new(record),
            resources: Mutex::new(resources),
            operation: tokio::sync::Mutex::new(()),
        };
        if let Some(exit) = read_exit(&container) {
            container.exit.send_if_modified(|slot| slot.replace(exit).is_none());
        }
        Ok(container)
    }

    /// Files, sockets and leases that belong to nobody.
    fn sweep(&self) {
        let (pods, containers): (Vec<String>, Vec<String>) = {
            let table = lock(&self.table);
            (table.pods.keys().cloned().collect(), table.containers.keys().cloned().collect())
        };
        for (id, dir) in entries(&self.config.root.join("containers")) {
            if !containers.contains(&id) {
                let _ = util::remove_dir(&dir);
            }
        }
        for entry in std::fs::read_dir(self.config.state.join("s")).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let known = pods
                .iter()
                .chain(&containers)
                .any(|id| name.get(1..).is_some_and(|short| id.starts_with(short)));
            if !known {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        builtin::collect(&self.config.state, &|id| pods.iter().any(|pod| pod == id));
        self.images.collect();
    }
}

fn entries(dir: &Path) -> Vec<(String, std::path::PathBuf)> {
    let list = std::fs::read_dir(dir).into_iter().flatten().flatten();
    list.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())).collect()
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_slice(&std::fs::read(path).with_path("reading", path)?).with_path("reading", path)
}
