//! One directory in one hierarchy: planning, making and removing it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Error;
use super::layout::{Hierarchy, write_file};

/// Bound on waiting until the kernel lets go of a cgroup whose last process has just gone.
const REMOVE_DEADLINE: Duration = Duration::from_secs(5);

/// How often a path is tried again because another runtime removed a shared parent in between.
const RACES: usize = 16;

/// A container's place in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// Whether it is in the unified hierarchy.
    pub unified: bool,
    /// The hierarchy's controllers, see [`Hierarchy::controllers`].
    pub controllers: Vec<String>,
    /// The hierarchy's mount point.
    pub mount: PathBuf,
    /// The cgroup below it, with a leading slash.
    pub path: String,
    /// How many of the path's last parts are ours: absent when it was planned.
    pub made: usize,
    /// Directories in it that were there before it became the container's; they are not removed.
    pub kept: Vec<String>,
}

fn io_error(what: &str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let (what, path) = (what.to_owned(), path.to_owned());
    move |source| Error::Io { what, path, source }
}

impl Node {
    /// The place of `path` in a hierarchy, as far as it exists now.
    pub fn plan(hierarchy: &Hierarchy, path: String) -> Self {
        let mut node = Self {
            unified: hierarchy.unified,
            controllers: hierarchy.controllers.clone(),
            mount: hierarchy.mount.clone(),
            path,
            made: 0,
            kept: Vec::new(),
        };
        node.made = node.levels().iter().rev().take_while(|dir| !dir.exists()).count();
        if node.made == 0 {
            node.kept = children(&node.dir());
        }
        node
    }

    /// The directory.
    pub fn dir(&self) -> PathBuf {
        self.mount.join(&self.path[1..])
    }

    /// Every directory from the first below the mount point to the node's own.
    pub fn levels(&self) -> Vec<PathBuf> {
        let mut dir = self.mount.clone();
        let below = |part| {
            dir.push(part);
            dir.clone()
        };
        self.path[1..].split('/').map(below).collect()
    }

    /// Whether it is of this v1 controller, or has this controller in the unified hierarchy.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }

    /// Fails when a process placed here would not run, or not be alone (runtime-spec "Control groups": fitness).
    pub fn check_fit(&self) -> Result<(), Error> {
        let unfit = |path: &Path, why: &str| Err(Error::Unfit { path: path.to_owned(), why: why.into() });
        for dir in self.levels() {
            let state = if self.unified {
                crate::files::read_kernel(dir.join("cgroup.freeze"))
            } else if self.has("freezer") {
                crate::files::read_kernel(dir.join("freezer.state"))
            } else {
                break;
            };
            // A level that does not exist yet has no state to read.
            if state.is_ok_and(|s| !matches!(s.trim(), "0" | "THAWED")) {
                return unfit(&dir, "it is frozen: thaw it, or choose another cgroupsPath");
            }
        }
        if self.made == 0 && populated(&self.dir()) {
            return unfit(&self.dir(), "it has processes: end them, or choose another cgroupsPath");
        }
        Ok(())
    }

    /// Makes the directories that are missing.
    pub fn create(&self) -> Result<(), Error> {
        for _ in 0..RACES {
            match self.try_create() {
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                other => return other,
            }
        }
        self.try_create()
    }

    fn try_create(&self) -> Result<(), Error> {
        let mut parent = self.mount.clone();
        for dir in self.levels() {
            if self.unified {
                enable_controllers(&parent);
            }
            match fs::create_dir(&dir) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(io_error("make", &dir)(e)),
                _ => {}
            }
            if !self.unified && self.has("cpuset") {
                inherit_cpuset(&parent, &dir)?;
            }
            parent = dir;
        }
        Ok(())
    }

    /// Removes what was made, and what the container made in it. What is gone already is fine.
    pub fn remove(&self) -> Result<(), Error> {
        let end = Instant::now() + REMOVE_DEADLINE;
        let levels = self.levels();
        let ours = &levels[levels.len() - self.made.min(levels.len())..];
        let Some((leaf, parents)) = ours.split_last() else {
            for child in children(&self.dir()).into_iter().filter(|c| !self.kept.contains(c)) {
                remove_tree(&self.dir().join(child), end)?;
            }
            return Ok(());
        };
        remove_tree(leaf, end)?;
        for dir in parents.iter().rev() {
            // Another container may be below by now; the last one out removes it.
            if fs::remove_dir(dir).is_err_and(|e| e.kind() != io::ErrorKind::NotFound) {
                break;
            }
        }
        Ok(())
    }

    /// For the state file.
    pub fn save(&self) -> Value {
        json!({
            "unified": self.unified,
            "controllers": self.controllers,
            "mount": self.mount.to_string_lossy(),
            "path": self.path,
            "made": self.made,
            "kept": self.kept,
        })
    }

    /// The inverse of [`Node::save`]; `None` when it is not of that form.
    pub fn load(saved: &Value) -> Option<Self> {
        let words = |key: &str| {
            saved
                .get(key)?
                .as_array()?
                .iter()
                .map(|v| v.as_str().map(String::from))
                .collect::<Option<Vec<_>>>()
        };
        let path = saved.get("path")?.as_str()?;
        if super::layout::clean(path).ok()?.as_str() != path {
            return None;
        }
        Some(Self {
            unified: saved.get("unified")?.as_bool()?,
            controllers: words("controllers")?,
            mount: saved.get("mount")?.as_str()?.into(),
            path: path.to_owned(),
            made: usize::try_from(saved.get("made")?.as_u64()?).ok()?,
            kept: words("kept")?,
        })
    }
}

/// The names of the cgroups directly below.
pub(super) fn children(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Whether there is a process here or below.
fn populated(dir: &Path) -> bool {
    if let Ok(events) = crate::files::read_kernel(dir.join("cgroup.events")) {
        return events.lines().any(|l| l == "populated 1");
    }
    crate::files::read_kernel(dir.join("cgroup.procs")).is_ok_and(|p| !p.is_empty())
        || children(dir).iter().any(|c| populated(&dir.join(c)))
}

/// Lets the children of `dir` have every controller that it has. One that cannot be given (real-time processes, a
/// cgroup with processes of its own) is left off here; a setting that needs it then says so.
fn enable_controllers(dir: &Path) {
    let read = |file: &str| crate::files::read_kernel(dir.join(file)).unwrap_or_default();
    let enabled = read("cgroup.subtree_control");
    let missing: Vec<String> = read("cgroup.controllers")
        .split_whitespace()
        .filter(|c| !enabled.split_whitespace().any(|e| e == *c))
        .map(|c| format!("+{c}"))
        .collect();
    let file = dir.join("cgroup.subtree_control");
    if missing.is_empty() || write_file(&file, &missing.join(" ")).is_ok() {
        return;
    }
    for controller in missing {
        let _ = write_file(&file, &controller);
    }
}

/// A new cgroup of v1's cpuset has no CPUs and no memory, and takes no process until it has both.
fn inherit_cpuset(parent: &Path, dir: &Path) -> Result<(), Error> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = dir.join(file);
        let now = crate::files::read_kernel(&own).map_err(io_error("read", &own))?;
        if now.trim().is_empty() {
            let above = parent.join(file);
            let value = crate::files::read_kernel(&above).map_err(io_error("read", &above))?;
            write_file(&own, value.trim())
                .map_err(io_error(&format!("write {:?} to", value.trim()), &own))?;
        }
    }
    Ok(())
}

/// Removes a cgroup and those below it. A cgroup stays busy for a moment after its last process has gone.
fn remove_tree(dir: &Path, end: Instant) -> Result<(), Error> {
    let mut pause = Duration::from_micros(200);
    loop {
        let error = match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => e,
        };
        if !matches!(error.raw_os_error(), Some(libc::EBUSY | libc::ENOTEMPTY | libc::EINTR))
            || Instant::now() > end
        {
            return Err(io_error("remove", dir)(error));
        }
        for child in children(dir) {
            remove_tree(&dir.join(child), end)?;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
