//! cgroups that runtimes leave behind.

use std::fs;
use std::path::{Path, PathBuf};

/// containerd's namespace for CRI, which is also the name of the cgroup above its containers when the client
/// names no parent.
const NAMESPACE: &str = "k8s.io";

/// The cgroup of the namespace in every hierarchy that has it.
fn parents() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let mut found = vec![root.join(NAMESPACE)];
    if let Ok(entries) = fs::read_dir(root) {
        found.extend(entries.flatten().map(|e| e.path().join(NAMESPACE)));
    }
    found.retain(|path| path.is_dir());
    found
}

/// Whether there is such a cgroup already, made by another containerd.
pub(crate) fn present() -> bool {
    !parents().is_empty()
}

/// Removes empty cgroups whose name stands in `log`, that is, those of this testbed's containers, and the one
/// above them if `above`. Gives those that could not be removed.
pub(crate) fn clear(log: &str, above: bool) -> Vec<PathBuf> {
    let mut left = Vec::new();
    for parent in parents() {
        let children = fs::read_dir(&parent).map(|d| d.flatten().collect::<Vec<_>>()).unwrap_or_default();
        for child in children {
            let name = child.file_name().to_string_lossy().into_owned();
            // Ids have 64 digits; shorter names could stand in the log by chance.
            if name.len() >= 32 && log.contains(&name) && !remove(&child.path()) {
                left.push(child.path());
            }
        }
        if above {
            // Not empty when another containerd came meanwhile.
            let _ = fs::remove_dir(&parent);
        }
    }
    left
}

/// Removes a cgroup and what is below it. Only empty ones can be removed: nothing is killed here.
fn remove(path: &Path) -> bool {
    if let Ok(entries) = fs::read_dir(path) {
        for entry in entries.flatten().filter(|e| e.path().is_dir()) {
            remove(&entry.path());
        }
    }
    fs::remove_dir(path).is_ok()
}
