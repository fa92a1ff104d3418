//! Control groups (runtime-spec `config-linux.md`, "Control groups"): v1, hybrid and v2, driven through cgroupfs.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Why a cgroup operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The config asks for something that is not valid or has no meaning on this host's cgroups.
    #[error("{field}: {why}")]
    Invalid {
        /// Place in the config, such as `linux.resources.cpu.quota`.
        field: String,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// The cgroup exists and is not fit for a container (it has processes, or is frozen).
    #[error("cgroup {path} is not fit for a container: {why}")]
    Unfit {
        /// The cgroup's directory.
        path: PathBuf,
        /// What makes it unfit.
        why: String,
    },
    /// A file of the cgroup file system could not be read or written.
    #[error("{what} {path}: {source}")]
    Io {
        /// What was being done, such as `write "100" to`.
        what: String,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// This host has no usable cgroup hierarchy, or lacks the one that a setting needs.
    #[error("{0}")]
    Unsupported(String),
}

/// One container's cgroups, one directory per hierarchy.
#[derive(Debug)]
pub struct Cgroup {
    _private: (),
}

/// What a container's view of cgroups needs: the answer of [`mount_plan`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountStep {
    /// Mount a fresh file system of this type on `target`.
    Mount {
        /// `tmpfs`, `cgroup` or `cgroup2`.
        fstype: String,
        /// The mount's source name.
        source: String,
        /// Where, relative to the config mount's destination (empty: the destination itself).
        target: PathBuf,
        /// `MS_*` flags.
        flags: u64,
        /// The data string.
        data: String,
    },
    /// Bind the host directory `source` on `target`, then remount with `flags`.
    Bind {
        /// A directory of the host's (the runtime's) mount namespace.
        source: PathBuf,
        /// Where, relative to the config mount's destination.
        target: PathBuf,
        /// `MS_*` flags for the remount (without `MS_BIND`).
        flags: u64,
    },
    /// Make a directory.
    Mkdir {
        /// Where, relative to the config mount's destination.
        target: PathBuf,
    },
    /// Make a symlink `target` that reads `to`.
    Symlink {
        /// The link's text.
        to: String,
        /// Where, relative to the config mount's destination.
        target: PathBuf,
    },
    /// Remount the destination itself with these `MS_*` flags (read-only tmpfs comes last).
    Remount {
        /// Where, relative to the config mount's destination.
        target: PathBuf,
        /// `MS_*` flags.
        flags: u64,
    },
}

/// The steps that make a config mount of `type: cgroup`, in order.
///
/// `flags` are the mount's own `MS_*` flags; `new_cgroupns` says whether the container gets a cgroup namespace of its own.
///
/// # Errors
/// [`Error::Unsupported`] when the host has no cgroup mount.
pub fn mount_plan(cgroup: Option<&Cgroup>, flags: u64, new_cgroupns: bool) -> Result<Vec<MountStep>, Error> {
    let _ = (cgroup, flags, new_cgroupns);
    Err(todo())
}

fn todo() -> Error {
    Error::Unsupported("not built yet".into())
}

impl Cgroup {
    /// Works out the container's cgroup directories without touching them, so that a caller can save them first.
    pub fn plan(cgroups_path: Option<&str>, id: &str, resources: &Value) -> Result<Self, Error> {
        let _ = (cgroups_path, id, resources);
        Err(todo())
    }

    /// Makes the planned directories. What was made before an error is removed again by [`Cgroup::delete`].
    pub fn create(&mut self) -> Result<(), Error> {
        Err(todo())
    }

    /// [`Cgroup::plan`] then [`Cgroup::create`].
    pub fn open_or_create(cgroups_path: Option<&str>, id: &str, resources: &Value) -> Result<Self, Error> {
        let mut cgroup = Self::plan(cgroups_path, id, resources)?;
        cgroup.create()?;
        Ok(cgroup)
    }

    /// What [`Cgroup::load`] needs, as JSON for the state file. Valid after `plan`, and again after `create`.
    pub fn save(&self) -> Value {
        Value::Null
    }

    /// The inverse of [`Cgroup::save`].
    pub fn load(saved: &Value) -> Result<Self, Error> {
        let _ = saved;
        Err(todo())
    }

    /// Moves a process into every hierarchy's directory.
    pub fn add_process(&self, pid: libc::pid_t) -> Result<(), Error> {
        let _ = pid;
        Err(todo())
    }

    /// Writes `linux.resources` to a new container's cgroup.
    pub fn apply(&self, resources: &Value) -> Result<(), Error> {
        let _ = resources;
        Err(todo())
    }

    /// Writes only what `resources` names to a running container's cgroup (the `update` command).
    pub fn update(&self, resources: &Value) -> Result<(), Error> {
        let _ = resources;
        Err(todo())
    }

    /// Directory by controller name; the unified hierarchy's key is the empty string.
    pub fn paths(&self) -> BTreeMap<String, PathBuf> {
        BTreeMap::new()
    }

    /// Whether the container lives in cgroup v2 alone.
    pub fn is_v2(&self) -> bool {
        false
    }

    /// Freezes the container and waits, within a bound, until it is frozen.
    pub fn freeze(&self) -> Result<(), Error> {
        Err(todo())
    }

    /// Thaws the container.
    pub fn thaw(&self) -> Result<(), Error> {
        Err(todo())
    }

    /// Whether the container is frozen.
    pub fn is_frozen(&self) -> Result<bool, Error> {
        Err(todo())
    }

    /// Kills every process below, until none is left or a bound is reached.
    pub fn kill_all(&self) -> Result<(), Error> {
        Err(todo())
    }

    /// Sends `signal` to every process below (`kill --all`).
    pub fn signal_all(&self, signal: i32) -> Result<(), Error> {
        let _ = signal;
        Err(todo())
    }

    /// Every process in the cgroup and below, in ascending order.
    pub fn pids(&self) -> Result<Vec<libc::pid_t>, Error> {
        Err(todo())
    }

    /// The `data` object of `events --stats`.
    pub fn stats(&self) -> Result<Value, Error> {
        Err(todo())
    }

    /// The number of processes that the kernel's OOM killer has killed here so far.
    pub fn oom_kills(&self) -> Result<u64, Error> {
        Err(todo())
    }

    /// Removes the directories that `create` made. Absent ones are fine.
    pub fn delete(&self) -> Result<(), Error> {
        Err(todo())
    }

    /// The directory's descriptor for `CLONE_INTO_CGROUP`; `None` unless every hierarchy is the unified one.
    pub fn fd_for_clone_into(&self) -> Option<OwnedFd> {
        None
    }

    /// Gives the cgroup to the container's root (cgroup v2 with a new cgroup namespace and a writable mount only).
    ///
    /// `uid` is the host's id of the container's user. On v1 nothing is done.
    pub fn chown(&self, uid: libc::uid_t) -> Result<(), Error> {
        let _ = uid;
        Err(todo())
    }

    /// Whether the cgroup file systems hold this cgroup's directories.
    pub fn exists(&self) -> bool {
        false
    }
}

/// Whether `path` is a mount of the unified hierarchy.
pub fn is_cgroup2(path: &Path) -> bool {
    let _ = path;
    false
}
