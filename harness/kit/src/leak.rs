//! What an attempt leaves behind, and its removal.

use crate::cx::Cx;
use crate::host;
use crate::stop::Stop;
use crate::wait::{Poll, wait_until};
use std::fs;
use std::time::Duration;

/// How long a runtime may take to finish what it does in the background after its last call.
const SETTLE: Duration = Duration::from_secs(2);

/// The mounts of this mount namespace: one line per mount, without ids.
pub fn mounts() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines()
        .map(|l| {
            let f: Vec<&str> = l.split(' ').collect();
            let kind = l.split(" - ").nth(1).and_then(|r| r.split(' ').next()).unwrap_or_default();
            format!("{} {kind}", f.get(4).unwrap_or(&""))
        })
        .collect()
}

/// Deletes every container that the case left, and says what remains after that.
///
/// `before` is [`mounts`] at the attempt's start. The result is empty when the attempt left nothing: no process, no
/// mount, no cgroup, no state.
pub async fn clean_up(cx: &Cx, before: &[String]) -> Vec<String> {
    let containers = cx.inner.containers.borrow().clone();
    for container in containers.iter().rev().filter(|c| c.needs_cleanup()) {
        let known = fs::read_dir(cx.runtime().root()).is_ok_and(|mut d| d.next().is_some());
        let alive = container.pid().is_ok() && !container.has_exited();
        if known || alive || !container.cgroup_directories().is_empty() {
            let _ = cx.runtime().delete_force(container.id()).await;
        }
    }
    // A case may have called create without a handle of the kit's.
    for id in known_ids(cx) {
        let _ = cx.runtime().delete_force(&id).await;
    }
    for mount in cx.inner.host_mounts.borrow_mut().drain(..).rev() {
        let _ = nix::mount::umount2(&mount, nix::mount::MntFlags::MNT_DETACH);
    }
    let settled = wait_until("nothing is left behind", SETTLE, async || {
        let left = leftovers(cx, before);
        Ok::<_, Stop>(if left.is_empty() { Poll::Ready(()) } else { Poll::NotYet(String::new()) })
    })
    .await;
    if settled.is_ok() { Vec::new() } else { leftovers(cx, before) }
}

/// Ids of this attempt in the runtime's state directory.
fn known_ids(cx: &Cx) -> Vec<String> {
    let entries = fs::read_dir(cx.runtime().root()).into_iter().flatten().flatten();
    let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(&format!("pl-{}-", cx.nonce())) && !name.contains('.')).collect()
}

fn leftovers(cx: &Cx, before: &[String]) -> Vec<String> {
    let mut left = Vec::new();
    for pid in strays(cx) {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        left.push(format!("process {}", name.trim()));
    }
    for mount in mounts() {
        if !before.contains(&mount) {
            left.push(format!("mount {mount}"));
        }
    }
    for h in host::hierarchies() {
        let own = h.mount.join(cx.cgroup().trim_start_matches('/'));
        for dir in host::sub_directories(&own) {
            let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.contains(cx.nonce()) {
                left.push(format!("cgroup {}", dir.display()));
            }
        }
    }
    let entries = fs::read_dir(cx.runtime().root()).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.contains(cx.nonce()) {
            left.push(format!("state {name}"));
        }
    }
    left.sort();
    left.dedup();
    left
}

/// Processes of the attempt other than this one: orphans that were reparented here, and whatever is in its cgroups.
pub fn strays(cx: &Cx) -> Vec<i32> {
    let mut pids = cx.runtime().reaper().orphans();
    for h in host::hierarchies() {
        pids.extend(host::processes_below(&h.mount.join(cx.cgroup().trim_start_matches('/'))));
    }
    let own = std::process::id() as i32;
    pids.retain(|pid| *pid != own && alive(*pid));
    pids.sort_unstable();
    pids.dedup();
    pids
}

fn alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|s| s.rsplit(") ").next().is_some_and(|rest| !rest.starts_with(['Z', 'X'])))
}
