//! Cgroup layout of this host: where a container's groups lie, on v1, hybrid and v2.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Context as _, Error, Result};

const MOUNT: &str = "/sys/fs/cgroup";
/// Longest time that a group may stay busy after its last process was killed.
const BUSY: Duration = Duration::from_millis(300);

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Only cgroup v2.
    pub v2: bool,
}

impl Layout {
    /// Looks at the host.
    pub fn detect() -> Self {
        Self { v2: Path::new(MOUNT).join("cgroup.controllers").exists() }
    }

    /// Directory of the group `path` for a v1 controller (the same one for all on v2).
    pub fn dir(self, controller: &str, path: &str) -> PathBuf {
        let base = if self.v2 { PathBuf::from(MOUNT) } else { Path::new(MOUNT).join(controller) };
        base.join(path.trim_start_matches('/'))
    }

    /// The group by which a container's processes are counted and killed.
    pub fn processes(self, path: &str) -> PathBuf {
        self.dir("pids", path)
    }

    /// The file that counts OOM kills.
    pub fn oom_file(self, path: &str) -> PathBuf {
        self.dir("memory", path).join(if self.v2 { "memory.events" } else { "memory.oom_control" })
    }

    /// Controllers in which a sandbox process gets a group.
    fn sandbox_controllers(self) -> &'static [&'static str] {
        if self.v2 { &[""] } else { &["cpu", "cpuacct", "memory", "pids"] }
    }

    /// Makes the group of a sandbox process; returns its `cgroup.procs` files.
    pub fn make_sandbox(self, path: &str) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for controller in self.sandbox_controllers() {
            if !self.v2 && !Path::new(MOUNT).join(controller).exists() {
                continue;
            }
            let dir = self.dir(controller, path);
            std::fs::create_dir_all(&dir).with_path("making cgroup", &dir)?;
            if self.v2 {
                enable_controllers(&dir);
            }
            files.push(dir.join("cgroup.procs"));
        }
        Ok(files)
    }

    /// Removes a group and its empty children everywhere; what others still use stays.
    pub fn remove(self, path: &str) {
        let controllers: Vec<String> = if self.v2 {
            vec![String::new()]
        } else {
            let entries = std::fs::read_dir(MOUNT).into_iter().flatten().flatten();
            entries
                .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
                .map(|e| e.file_name().to_string_lossy().into_owned())
                .collect()
        };
        for controller in controllers {
            remove_tree(&self.dir(&controller, path), 0);
        }
    }
}

/// Hands the controllers down to the groups below the parent; what the kernel refuses is not there.
fn enable_controllers(dir: &Path) {
    let mut at = PathBuf::from(MOUNT);
    let Ok(below) = dir.strip_prefix(MOUNT) else { return };
    let parts: Vec<_> = below.components().collect();
    for part in std::iter::once(None).chain(parts.iter().take(parts.len().saturating_sub(1)).map(Some)) {
        if let Some(part) = part {
            at.push(part);
        }
        let list = std::fs::read_to_string(at.join("cgroup.controllers")).unwrap_or_default();
        for controller in list.split_whitespace() {
            let _ = std::fs::write(at.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
}

fn remove_tree(dir: &Path, depth: u32) {
    if depth > 8 {
        return;
    }
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&entry.path(), depth + 1);
        }
    }
    // A process that has just been killed keeps its group busy until the kernel has let go of it.
    let end = Instant::now() + BUSY;
    while std::fs::remove_dir(dir).is_err_and(|e| e.kind() == std::io::ErrorKind::ResourceBusy)
        && Instant::now() < end
    {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Cleans a client's cgroup parent: absolute, without `..` (RELIABILITY: cgroup escape).
pub fn check_parent(parent: &str) -> Result<String> {
    if parent.is_empty() {
        return Ok(String::new());
    }
    let bad = parent.contains(['\0', '\n'])
        || Path::new(parent).components().any(|c| c == std::path::Component::ParentDir);
    if bad || parent.len() > 2048 {
        return Err(Error::invalid(format!("cgroup_parent {parent:?} is not a clean path")));
    }
    Ok(format!("/{}", parent.trim_matches('/')))
}
