//! What the endpoint has, and the host's view of what it made.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use plimsoll_cri_client::{Client, Presence, presence};

use super::{Answered as _, Container, Pod};
use crate::stop::Stop;

/// Whether the endpoint has an optional rpc; asks for this one only.
pub(super) async fn has(client: &Client, rpc: &'static str) -> Result<bool, Stop> {
    match presence(client, rpc).await {
        Presence::Present => Ok(true),
        Presence::Absent | Presence::AbsentDeviant(_) => Ok(false),
        Presence::Unknown(text) => Err(Stop::setup(text)),
    }
}

/// The process id of a running container's first process on the host, as the verbose status tells it.
/// `None` when the endpoint does not tell.
pub async fn pid_of(container: &Container) -> Result<Option<i32>, Stop> {
    let info = container.try_status(true).await.must_succeed()?.info;
    Ok(find_pid(&info))
}

/// The process id of a pod's own process on the host, told likewise.
pub async fn pod_pid_of(pod: &Pod) -> Result<Option<i32>, Stop> {
    let info = pod.try_status(true).await.must_succeed()?.info;
    Ok(find_pid(&info))
}

fn find_pid(info: &BTreeMap<String, String>) -> Option<i32> {
    info.values()
        .filter_map(|text| serde_json::from_str::<serde_json::Value>(text).ok())
        .find_map(|value| value.get("pid").and_then(serde_json::Value::as_i64))
        .and_then(|pid| i32::try_from(pid).ok())
        .filter(|pid| *pid > 0)
}

/// Directory of a process's cgroup in the hierarchy of a controller; empty is the unified one.
pub fn cgroup_of(pid: i32, controller: &str) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let unified = fs::metadata("/sys/fs/cgroup/cgroup.controllers").is_ok();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        if unified && controllers.is_empty() {
            return Some(PathBuf::from(format!("/sys/fs/cgroup{path}")));
        }
        if !controller.is_empty() && controllers.split(',').any(|c| c == controller) {
            return Some(PathBuf::from(format!("/sys/fs/cgroup/{controller}{path}")));
        }
    }
    None
}

impl Container {
    /// The value of a cgroup file of the container, trimmed. `v1` and `v2` are the file's names in the two
    /// versions, the controller is that of version 1.
    pub async fn cgroup_value(&self, controller: &str, v1: &str, v2: &str) -> Result<String, Stop> {
        let Some(pid) = pid_of(self).await? else {
            return Err(Stop::NotApplicable {
                capability: "verbose-pid".into(),
                reason: "the verbose status has no pid, so the cgroup cannot be found".into(),
            });
        };
        let Some(dir) = cgroup_of(pid, controller) else {
            return Err(Stop::Skip {
                lack: format!("cgroup-{controller}"),
                reason: format!("process {pid} has no cgroup with the {controller} controller"),
            });
        };
        let unified = dir.join("cgroup.controllers").exists();
        let file = dir.join(if unified { v2 } else { v1 });
        match fs::read_to_string(&file) {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(error) => Err(Stop::Skip {
                lack: format!("cgroup-{controller}"),
                reason: format!("{}: {error}", file.file_name().unwrap_or_default().to_string_lossy()),
            }),
        }
    }
}
