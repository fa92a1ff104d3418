//! Control groups as the benchmark sees them: which layout, our own directories, their memory.

use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the hierarchies are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// Which kinds of hierarchy are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// One cgroup2 tree.
    V2,
    /// v1 controllers only.
    V1,
    /// v1 controllers and a cgroup2 tree beside them.
    Hybrid,
    /// None found.
    None,
}

/// The layout that this process sees.
pub fn layout() -> Layout {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let of_type = |kind: &str| {
        mounts
            .lines()
            .filter_map(|l| l.split_once(" - "))
            .any(|(_, rest)| rest.split(' ').next() == Some(kind))
    };
    match (of_type("cgroup"), of_type("cgroup2")) {
        (true, true) => Layout::Hybrid,
        (true, false) => Layout::V1,
        (false, true) => Layout::V2,
        (false, false) => Layout::None,
    }
}

/// The roots of all mounted hierarchies: one per v1 controller, and the cgroup2 tree.
pub fn roots() -> Vec<PathBuf> {
    let mount = Path::new(MOUNT);
    if mount.join("cgroup.controllers").exists() {
        return vec![mount.to_owned()];
    }
    let mut out: Vec<PathBuf> = fs::read_dir(mount)
        .into_iter()
        .flatten()
        .flatten()
        // `cpu,cpuacct` and its links are one hierarchy; the links would be visited twice.
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        .map(|e| e.path())
        // A bare directory is what is left where a hierarchy was unmounted: nothing is controlled there.
        .filter(|path| is_cgroup_fs(path))
        .collect();
    out.sort();
    out
}

/// Whether the path is on a cgroup file system of either version.
fn is_cgroup_fs(path: &Path) -> bool {
    const V1_MAGIC: i64 = 0x0027_e0eb;
    const V2_MAGIC: i64 = 0x6367_7270;
    rustix::fs::statfs(path).is_ok_and(|s| s.f_type == V1_MAGIC || s.f_type == V2_MAGIC)
}

/// Removes what a runtime made of `path` where it took the bare directory under an unmounted hierarchy for
/// one. Only meaningful on a thread that unmounted it; anywhere else it finds nothing of that name.
pub fn tidy_bare(path: &str) {
    let bare = Path::new(MOUNT).join("unified");
    if is_cgroup_fs(&bare) {
        return;
    }
    // It even writes a plain file named cgroup.procs there.
    let _ = fs::remove_dir_all(bare.join(path.trim_start_matches('/')));
    let mut inner = Path::new(path.trim_start_matches('/')).parent();
    while let Some(part) = inner.filter(|p| !p.as_os_str().is_empty()) {
        // What still holds others' directories is not empty and stays.
        let _ = fs::remove_dir(bare.join(part));
        inner = part.parent();
    }
}

/// All directories, in any hierarchy, of the cgroup `path` (absolute, as in `cgroupsPath`).
pub fn directories(path: &str) -> Vec<PathBuf> {
    let inner = path.trim_start_matches('/');
    roots().into_iter().map(|root| root.join(inner)).filter(|dir| dir.is_dir()).collect()
}

/// The cgroup directories below `path` in all hierarchies, the path itself not among them.
pub fn below(path: &str) -> Vec<PathBuf> {
    fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                walk(&entry.path(), out);
                out.push(entry.path());
            }
        }
    }
    let mut out = Vec::new();
    for dir in directories(path) {
        walk(&dir, &mut out);
    }
    out
}

/// How many of them there are.
pub fn count_below(path: &str) -> usize {
    below(path).len()
}

/// A cgroup in a hierarchy that accounts CPU time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Where the hierarchy is mounted.
    root: PathBuf,
    /// The cgroup's path there.
    pub path: String,
}

impl Account {
    /// Where a process is in each hierarchy that accounts CPU time: version 1's own controller, and version 2, which
    /// always does.
    pub fn all_of(pid: u32) -> Vec<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let lines = text.lines().filter_map(|l| l.split_once(':')?.1.split_once(':'));
        let mut found = Vec::new();
        for (controllers, path) in lines {
            let file = match controllers {
                "" => "cgroup.controllers",
                c if c.split(',').any(|c| c == "cpuacct") => "cpuacct.usage",
                _ => continue,
            };
            if let Some(root) = roots().into_iter().find(|root| root.join(file).exists()) {
                found.push(Self { root, path: path.to_owned() });
            }
        }
        found
    }

    /// Another cgroup of the same hierarchy.
    #[must_use]
    pub fn at(&self, path: &str) -> Self {
        Self { root: self.root.clone(), path: path.to_owned() }
    }

    /// CPU time that it and all below it have used, nanoseconds.
    pub fn cpu_ns(&self) -> Option<u64> {
        let dir = self.root.join(self.path.trim_start_matches('/'));
        if let Ok(text) = fs::read_to_string(dir.join("cpuacct.usage")) {
            return text.trim().parse().ok();
        }
        let text = fs::read_to_string(dir.join("cpu.stat")).ok()?;
        let usec: u64 = text.lines().find_map(|l| l.strip_prefix("usage_usec ")?.trim().parse().ok())?;
        Some(usec * 1_000)
    }
}

/// A cgroup parent of our own, removed with everything below it when dropped.
#[derive(Debug)]
pub struct Parent {
    path: String,
}

impl Parent {
    /// Takes `path` (absolute) as ours; the runtimes create it, we remove it. It must not exist yet.
    pub fn claim(path: String) -> io::Result<Self> {
        if let Some(dir) = directories(&path).first() {
            let text = format!("the cgroup {} exists already: choose another name", dir.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        Ok(Self { path })
    }

    /// The path as written into `cgroupsPath`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Creates the parent where memory is controlled and caps it. Returns false when no hierarchy can.
    pub fn cap(&self, memory_bytes: u64, pids: u64) -> io::Result<bool> {
        let mut capped = false;
        for root in roots() {
            let dir = root.join(self.path.trim_start_matches('/'));
            let has = |name: &str| root.file_name().is_some_and(|n| n == name);
            let v2 = root.join("cgroup.controllers").exists();
            if !(v2 || has("memory") || has("pids")) {
                continue;
            }
            fs::create_dir_all(&dir)?;
            for (file, value) in
                [("memory.limit_in_bytes", memory_bytes), ("memory.max", memory_bytes), ("pids.max", pids)]
            {
                if dir.join(file).exists() {
                    fs::write(dir.join(file), value.to_string())?;
                    capped |= file.starts_with("memory");
                }
            }
        }
        Ok(capped)
    }

    /// Creates the parent in every hierarchy, so that what runs below it is still accounted when it is gone.
    pub fn create_everywhere(&self) -> io::Result<()> {
        for root in roots() {
            let dir = root.join(self.path.trim_start_matches('/'));
            fs::create_dir_all(&dir)?;
            // A cpuset of version 1 starts empty and would take no process.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if dir.join(file).exists() && fs::read_to_string(dir.join(file))?.trim().is_empty() {
                    fs::write(dir.join(file), fs::read_to_string(root.join(file))?)?;
                }
            }
        }
        Ok(())
    }

    /// Bytes charged to the parent and everything below it; `None` where memory is not controlled.
    pub fn memory_bytes(&self) -> Option<u64> {
        directories(&self.path).iter().find_map(|dir| {
            ["memory.current", "memory.usage_in_bytes"]
                .iter()
                .find_map(|f| fs::read_to_string(dir.join(f)).ok()?.trim().parse().ok())
        })
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        for dir in directories(&self.path) {
            remove_tree(&dir);
        }
    }
}

/// Removes a cgroup directory and those below it; what is busy stays.
pub fn remove_tree(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    // A cgroup is removed by rmdir alone; its files go with it.
    let _ = fs::remove_dir(dir);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_nobody_made_has_no_directories() {
        assert!(directories("/plimsoll-test-that-nobody-made").is_empty());
        assert_eq!(count_below("/plimsoll-test-that-nobody-made"), 0);
    }

    #[test]
    fn a_claimed_parent_goes_away() {
        if rustix::process::geteuid().as_raw() != 0 || roots().is_empty() {
            eprintln!("SKIP: needs root and a mounted cgroup hierarchy");
            assert!(std::env::var_os("PLIMSOLL_CI").is_none(), "skipped in CI");
            return;
        }
        let path = format!("/plimsoll-test-{}", std::process::id());
        let parent = Parent::claim(path.clone()).unwrap();
        if parent.cap(64 << 20, 50).unwrap() {
            assert!(parent.memory_bytes().is_some());
        }
        assert!(Parent::claim(path.clone()).is_err() || directories(&path).is_empty());
        drop(parent);
        assert!(directories(&path).is_empty());
    }
}
