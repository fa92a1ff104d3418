//! Pod sandboxes and containers: what is known of them, in memory and on disk.

pub mod cdi;
pub mod cgroup;
pub mod checkpoint;
pub mod container;
pub mod create;
pub mod events;
pub mod exec;
pub mod mounts;
pub mod recover;
pub mod rootfs;
pub mod sandbox;
pub mod user;
pub mod view;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, watch};

use crate::api::{ContainerConfig, ContainerEventResponse, LinuxContainerResources, PodSandboxConfig};
use crate::config::Config;
use crate::error::{Context as _, Error, Result};
use crate::images::store::ImageStore;
use crate::monitor::proto::Exit;
use crate::net::{Attachment, Network};
use crate::oci::Runtime;
use crate::util;

/// Takes a lock; a panic elsewhere does not spread.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everything of the running server.
pub struct Daemon {
    /// Settings.
    pub config: Config,
    /// Images.
    pub images: Arc<ImageStore>,
    /// Handlers by name.
    pub runtimes: BTreeMap<String, Runtime>,
    /// Pod network.
    pub network: Network,
    /// Cgroups of this host.
    pub cgroups: cgroup::Layout,
    /// Sandboxes and containers.
    pub table: Mutex<Table>,
    /// Life-cycle events.
    pub events: broadcast::Sender<ContainerEventResponse>,
    /// Streaming requests that wait for their client.
    pub streams: crate::stream::tokens::Tokens,
    /// Cpu samples for rates.
    pub rates: crate::stats::Rates,
    /// User namespaces with id-mapped mounts work here.
    pub userns: bool,
    /// For tasks that outlive a call.
    pub handle: tokio::runtime::Handle,
    /// Itself.
    pub own: Weak<Daemon>,
}

/// All sandboxes and containers, and the names that are taken.
#[derive(Default)]
pub struct Table {
    /// By id.
    pub pods: BTreeMap<String, Arc<Pod>>,
    /// By id.
    pub containers: BTreeMap<String, Arc<Container>>,
    /// Identity of a sandbox or container to its id.
    pub names: BTreeMap<String, String>,
}

/// What is written about a sandbox beside the client's configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PodRecord {
    /// Handler as requested; empty is the default.
    pub handler: String,
    /// Nanoseconds since 1970.
    pub created_at: i64,
    /// Set when `RunPodSandbox` succeeded: others are swept up after a crash.
    pub complete: bool,
    /// Not stopped and not dead.
    pub ready: bool,
    /// Pid of the sandbox process.
    pub pause: i32,
    /// Network, if it has one of its own.
    pub network: Option<Attachment>,
    /// Cgroup of the sandbox process.
    pub cgroup: String,
    /// Cgroup under which containers go.
    pub cgroup_parent: String,
    /// The parent was not there before: it goes when the sandbox does.
    #[serde(default)]
    pub own_parent: bool,
}

/// One sandbox.
pub struct Pod {
    /// Id.
    pub id: String,
    /// The client's configuration.
    pub config: PodSandboxConfig,
    /// State directory.
    pub dir: PathBuf,
    /// Its monitor's socket.
    pub socket: PathBuf,
    /// What changes.
    pub record: Mutex<PodRecord>,
    /// The monitor, if this server started it.
    pub monitor: Mutex<Option<std::process::Child>>,
    /// One life-cycle operation at a time.
    pub operation: tokio::sync::Mutex<()>,
}

/// What is written about a container beside the client's configuration.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// Sandbox.
    pub pod: String,
    /// Set when `CreateContainer` succeeded.
    pub complete: bool,
    /// Nanoseconds since 1970.
    pub created_at: i64,
    /// 0 before the start.
    pub started_at: i64,
    /// Image id.
    pub image_id: String,
    /// Layers it stands on.
    pub chains: Vec<String>,
    /// First process.
    pub pid: i32,
    /// Cgroup.
    pub cgroup: String,
    /// Signal for a graceful stop, kernel number.
    pub stop_signal: i32,
    /// Ids of the first process: uid, gid, groups.
    pub user: (u32, u32, Vec<u32>),
    /// Why it never ran, if starting failed.
    pub start_error: Option<String>,
    /// The end as recorded by the server itself (failed start).
    pub exit: Option<Exit>,
    /// Image volumes: container path to image id.
    pub image_volumes: BTreeMap<String, String>,
}

/// One container.
pub struct Container {
    /// Id.
    pub id: String,
    /// The client's configuration.
    pub config: ContainerConfig,
    /// State directory, also the OCI bundle.
    pub dir: PathBuf,
    /// Absolute path of its log; empty for none.
    pub log_path: String,
    /// What changes.
    pub record: Mutex<ContainerRecord>,
    /// Limits in force.
    pub resources: Mutex<LinuxContainerResources>,
    /// How it ended.
    pub exit: watch::Sender<Option<Exit>>,
    /// Its start was announced: its end may be, too.
    pub told: Mutex<bool>,
    /// One life-cycle operation at a time.
    pub operation: tokio::sync::Mutex<()>,
}

/// State of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Made, nothing ran.
    Created,
    /// Runs.
    Running,
    /// Ended.
    Exited,
}

impl Pod {
    /// Writes what is known.
    pub fn save(&self) -> Result<()> {
        let record = lock(&self.record).clone();
        util::write_atomic(
            &self.dir.join("pod.json"),
            &serde_json::to_vec(&record).doing("writing a sandbox record")?,
        )
    }

    /// Not stopped and not dead.
    pub fn ready(&self) -> bool {
        let record = lock(&self.record);
        record.ready && record.complete
    }

    /// Pid of the sandbox process.
    pub fn pause(&self) -> i32 {
        lock(&self.record).pause
    }

    /// Handler as requested.
    pub fn handler(&self) -> String {
        lock(&self.record).handler.clone()
    }
}

impl Container {
    /// Writes what is known.
    pub fn save(&self) -> Result<()> {
        let record = lock(&self.record).clone();
        util::write_atomic(
            &self.dir.join("container.json"),
            &serde_json::to_vec(&record).doing("writing a container record")?,
        )
    }

    /// Its state now.
    pub fn state(&self) -> State {
        if self.exit.borrow().is_some() {
            State::Exited
        } else if lock(&self.record).started_at > 0 {
            State::Running
        } else {
            State::Created
        }
    }

    /// Its sandbox.
    pub fn pod_id(&self) -> String {
        lock(&self.record).pod.clone()
    }
}

impl Daemon {
    /// The handler for a name; empty is the default.
    pub fn runtime(&self, handler: &str) -> Result<&Runtime> {
        let name = if handler.is_empty() { &self.config.default_runtime } else { handler };
        self.runtimes.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.runtimes.keys().map(String::as_str).collect();
            Error::invalid(format!(
                "runtime handler {handler:?} is not configured; known are {}",
                known.join(", ")
            ))
        })
    }

    /// A sandbox by id or unambiguous prefix.
    pub fn pod(&self, id: &str) -> Result<Arc<Pod>> {
        find(&lock(&self.table).pods, id).ok_or_else(|| Error::not_found(format!("no pod sandbox {id:?}")))
    }

    /// A container by id or unambiguous prefix.
    pub fn container(&self, id: &str) -> Result<Arc<Container>> {
        find(&lock(&self.table).containers, id)
            .ok_or_else(|| Error::not_found(format!("no container {id:?}")))
    }

    /// All containers of a sandbox.
    pub fn containers_of(&self, pod: &str) -> Vec<Arc<Container>> {
        lock(&self.table).containers.values().filter(|c| c.pod_id() == pod).cloned().collect()
    }

    /// Takes a name for an id, or says who has it.
    pub fn reserve(&self, name: &str, id: &str) -> Result<()> {
        let mut table = lock(&self.table);
        match table.names.get(name) {
            Some(owner) => Err(Error::new(
                tonic::Code::AlreadyExists,
                format!("{name} exists already with id {owner}; remove it or use the next attempt"),
            )),
            None => {
                table.names.insert(name.to_owned(), id.to_owned());
                Ok(())
            }
        }
    }

    /// Gives all names of an id back.
    pub fn unreserve(&self, id: &str) {
        lock(&self.table).names.retain(|_, owner| owner != id);
    }

    /// Directory of all sandboxes.
    pub fn pods_dir(&self) -> PathBuf {
        self.config.state.join("pods")
    }

    /// Directory of all containers.
    pub fn containers_dir(&self) -> PathBuf {
        self.config.state.join("containers")
    }

    /// Writable layer of a container.
    pub fn layer_dir(&self, id: &str) -> PathBuf {
        self.config.root.join("containers").join(id)
    }
}

fn find<T>(map: &BTreeMap<String, Arc<T>>, id: &str) -> Option<Arc<T>> {
    if let Some(hit) = map.get(id) {
        return Some(Arc::clone(hit));
    }
    if id.len() < 8 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut hits = map.range(id.to_owned()..).take_while(|(key, _)| key.starts_with(id));
    match (hits.next(), hits.next()) {
        (Some((_, hit)), None) => Some(Arc::clone(hit)),
        _ => None,
    }
}

/// Identity of a sandbox (`sandbox.run.metadata-identity`).
pub fn pod_name(config: &PodSandboxConfig) -> Result<String> {
    let m = config
        .metadata
        .as_ref()
        .ok_or_else(|| Error::invalid("config.metadata is missing; it is the identity of the sandbox"))?;
    if m.name.is_empty() || m.namespace.is_empty() || m.uid.is_empty() {
        return Err(Error::invalid("config.metadata must have name, namespace and uid"));
    }
    Ok(format!("sandbox {}/{}/{}/{}", m.namespace, m.name, m.uid, m.attempt))
}

/// Identity of a container within its sandbox.
pub fn container_name(pod: &str, config: &ContainerConfig) -> Result<String> {
    let m = config
        .metadata
        .as_ref()
        .ok_or_else(|| Error::invalid("config.metadata is missing; it is the identity of the container"))?;
    if m.name.is_empty() {
        return Err(Error::invalid("config.metadata.name is empty"));
    }
    Ok(format!("container {pod}/{}/{}", m.name, m.attempt))
}

/// Writes a message beside a record.
pub fn write_message<M: prost::Message>(path: &Path, message: &M) -> Result<()> {
    util::write_atomic(path, &message.encode_to_vec())
}

/// Reads a message.
pub fn read_message<M: prost::Message + Default>(path: &Path) -> Result<M> {
    let bytes = std::fs::read(path).with_path("reading", path)?;
    M::decode(bytes.as_slice()).with_path("decoding", path)
}

/// Where a container's log lies (`log.path.*`): directory, relative path and the absolute path shown to clients.
pub fn log_place(pod: &PodSandboxConfig, config: &ContainerConfig) -> Result<Option<(PathBuf, PathBuf)>> {
    if pod.log_directory.is_empty() || config.log_path.is_empty() {
        return Ok(None);
    }
    let relative = Path::new(&config.log_path);
    if !relative
        .components()
        .all(|c| matches!(c, std::path::Component::Normal(_) | std::path::Component::CurDir))
    {
        return Err(Error::invalid(format!(
            "log_path {:?} must stay below the log_directory",
            config.log_path
        )));
    }
    Ok(Some((PathBuf::from(&pod.log_directory), relative.to_owned())))
}
