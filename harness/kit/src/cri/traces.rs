//! The host's view of what an attempt made on an endpoint: processes, mounts and cgroups that outlive its removal.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::net::UnixStream;
use tokio::time::timeout;

use super::Cri;
use crate::host;

/// How long an endpoint may take to finish what it does in the background after its last answer.
const SETTLE: Duration = Duration::from_secs(5);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// What is left of the attempt's pods and containers on the host, one line each, without ids.
pub(super) async fn left(cri: &Cri) -> Vec<String> {
    let ids: BTreeSet<String> = cri.made().iter().map(|m| m.id().to_owned()).collect();
    // Short ids could stand in other texts by chance.
    let ids: Vec<String> = ids.into_iter().filter(|id| id.len() >= 12).collect();
    let server = server_of(cri).await;
    let end = Instant::now() + SETTLE;
    loop {
        let mut left: Vec<String> = if ids.is_empty() { Vec::new() } else { of_ids(&ids, server) };
        left.extend(in_cgroups(cri.cgroup()));
        left.sort();
        left.dedup();
        if left.is_empty() || Instant::now() > end {
            return left;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The process that listens on the endpoint, when it is in sight: its mount namespace may not be the host's.
async fn server_of(cri: &Cri) -> Option<i32> {
    let connect = UnixStream::connect(&cri.client().target().runtime);
    let stream = timeout(Duration::from_secs(2), connect).await.ok()?.ok()?;
    stream.peer_cred().ok()?.pid().filter(|pid| *pid > 0)
}

fn of_ids(ids: &[String], server: Option<i32>) -> Vec<String> {
    let names = |text: &str| ids.iter().any(|id| text.contains(id.as_str()));
    let mut left = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(|c: char| c.is_ascii_digit()) {
            continue;
        }
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if names(&String::from_utf8_lossy(&command)) {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            left.push(format!("process {}", name.trim()));
        }
    }
    let namespace = server.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    let mounts = fs::read_to_string(format!("/proc/{namespace}/mountinfo")).unwrap_or_default();
    for line in mounts.lines().filter(|l| names(l)) {
        let kind = line.split(" - ").nth(1).and_then(|r| r.split(' ').next()).unwrap_or_default();
        left.push(format!("a mount of type {kind}"));
    }
    left
}

/// Cgroups below the pods' parents. The parents themselves are the client's to remove, which happens here.
fn in_cgroups(cgroup: &str) -> Vec<String> {
    let mut left = Vec::new();
    if cgroup.is_empty() {
        return left;
    }
    for hierarchy in host::hierarchies() {
        let own = hierarchy.mount.join(cgroup.trim_start_matches('/'));
        let is_pod = |dir: &Path| dir.file_name().is_some_and(|n| n != "worker");
        for pod in host::sub_directories(&own).into_iter().filter(|d| is_pod(d)) {
            for child in host::sub_directories(&pod) {
                let busy = if host::processes_below(&child).is_empty() { "" } else { ", with processes" };
                let name = hierarchy.mount.file_name().unwrap_or_default().to_string_lossy();
                left.push(format!("a cgroup below the pod's in {name}{busy}"));
            }
            if fs::remove_dir(&pod).is_err() && !host::processes_below(&pod).is_empty() {
                left.push("processes in the pod's cgroup".to_owned());
            }
        }
    }
    left
}
