//! The pod network: CNI where it is configured, a bridge of our own where it is not.

pub mod builtin;
pub mod cni;
pub mod netlink;
pub mod portproxy;

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};

use crate::config::{NetworkConfig, NetworkMode};
use crate::error::{Context as _, Error, Result};

/// What the network needs to know of a pod.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pod {
    /// Sandbox id.
    pub id: String,
    /// Kubernetes name.
    pub name: String,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Kubernetes uid.
    pub uid: String,
    /// Pid of the sandbox process, which holds the network namespace.
    pub pause: i32,
    /// Ports of the host that lead in.
    pub ports: Vec<Port>,
    /// Annotations that plugins look at.
    pub bandwidth: Option<(u64, u64)>,
}

/// One port mapping.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(clippy::struct_field_names, reason = "the interface's own names")]
pub struct Port {
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// On the host.
    pub host_port: u16,
    /// In the pod.
    pub container_port: u16,
    /// Address of the host; empty for all.
    pub host_ip: String,
}

/// What was set up, kept so that it can be taken down.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Attachment {
    /// Addresses, the main one first.
    pub ips: Vec<String>,
    /// The CNI configuration that was used; `None` for the built-in network.
    pub cni: Option<cni::Used>,
}

/// The network of the node.
pub struct Network {
    config: NetworkConfig,
    state: PathBuf,
}

impl Network {
    /// With settings and a directory for address leases.
    pub fn new(config: &NetworkConfig, state: &Path) -> Result<Self> {
        builtin::parse_subnet(&config.subnet)?;
        Ok(Self { config: config.clone(), state: state.to_owned() })
    }

    /// `None` when pods can get a network, else the reason and a message (`status.network-not-ready-reason`).
    /// Looks at the files each time, so a new configuration is noticed without a restart.
    pub fn problem(&self) -> Option<(String, String)> {
        if self.config.mode != NetworkMode::Cni {
            return None;
        }
        match cni::load(&self.config) {
            Ok(Some(_)) => None,
            Ok(None) => Some((
                "NoNetworkConfig".into(),
                format!("no CNI configuration in {}", self.config.cni_conf_dir.display()),
            )),
            Err(error) => Some(("NetworkPluginNotReady".into(), error.message)),
        }
    }

    /// Connects a pod. On failure everything is taken back.
    pub fn attach(&self, pod: &Pod) -> Result<Attachment> {
        let list = if self.config.mode == NetworkMode::Builtin { None } else { cni::load(&self.config)? };
        match (list, self.config.mode) {
            (Some(list), _) => cni::add(&self.config, &list, pod),
            (None, NetworkMode::Cni) => Err(Error::precondition(format!(
                "no CNI configuration in {}; add one, or use --network builtin",
                self.config.cni_conf_dir.display()
            ))),
            (None, _) => builtin::add(&self.config, &self.state, pod),
        }
    }

    /// Disconnects a pod. May be repeated; the sandbox process may be gone.
    pub fn detach(&self, pod: &Pod, attachment: &Attachment) -> Result<()> {
        match &attachment.cni {
            Some(used) => cni::del(&self.config, used, pod),
            None => builtin::del(&self.state, pod),
        }
    }
}

/// Opens a process's network namespace.
pub fn open_netns(pid: i32) -> Result<OwnedFd> {
    let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
    Ok(std::fs::File::open(&path).with_path("opening network namespace", &path)?.into())
}

/// Runs something in another network namespace, in a thread of its own.
pub fn in_netns<T: Send>(namespace: &OwnedFd, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let job = scope.spawn(|| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .doing("entering the pod's network namespace")?;
            work()
        });
        job.join().unwrap_or_else(|_| Err(Error::internal("a network thread failed")))
    })
}
