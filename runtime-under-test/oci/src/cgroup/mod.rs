//! Control groups (runtime-spec `config-linux.md`, "Control groups"): v1, hybrid and v2, driven through cgroupfs.
//!
//! A container has one directory in each mounted hierarchy. Each controller is written in the form of the hierarchy
//! that has it, so hybrid is no case of its own: `hugetlb` may be in the unified hierarchy while `memory` is in v1.
//!
//! Order of use: [`Cgroup::plan`], save it, [`Cgroup::create`], [`Cgroup::apply`], then processes
//! (into [`Cgroup::unified_dir`] and [`Cgroup::v1_dirs`], or [`Cgroup::add_process`]); at the end [`Cgroup::kill_all`] and
//! [`Cgroup::delete`]. A plan that was saved is enough to remove what a killed runtime left half made.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use serde_json::{Value, json};

mod apply;
mod bpf;
mod devices;
mod json;
mod layout;
mod mounts;
mod node;
mod oom;
mod owner;
mod process;
mod resources;
mod setting;
mod stats;
mod sys;
#[cfg(test)]
mod tests;
mod v1;
mod v2;

pub use apply::{device_list, device_program_length};
pub use mounts::{MountStep, mount_plan};
pub use oom::OomWatch;

use json::invalid;
use layout::Hierarchy;
use node::Node;
use resources::Resources;

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    nodes: Vec<Node>,
    /// No root, or in a user namespace: some hierarchies and all device rules may be out of reach.
    unprivileged: bool,
}

impl Cgroup {
    /// Works out the container's directories without touching them, so that a caller can save them first.
    ///
    /// An absolute `cgroups_path` is taken below each hierarchy's mount point, and so is a relative one, so that the
    /// same value means the same place whoever calls. With none it is `plimsoll-<id>`. A runtime without root takes
    /// what is not absolute below the cgroup it was given itself. `.`, `..` and doubled slashes are cleaned away by
    /// text and never lead above the mount point.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a path that no container can have and for `resources` that break the spec.
    /// [`Error::Unfit`] when a directory is there already and has processes or is frozen.
    pub fn plan(cgroups_path: Option<&str>, id: &str, resources: &Value) -> Result<Self, Error> {
        Resources::parse(resources)?;
        let given = cgroups_path.filter(|p| !p.is_empty());
        let default = format!("plimsoll-{id}");
        let wanted = given.unwrap_or(&default);
        let bad = |why: String| invalid("linux.cgroupsPath", format!("{wanted:?} {why}"));
        let cleaned = layout::clean(wanted).map_err(bad)?;
        let unprivileged = in_userns() || sys::euid() != 0;
        let confined = unprivileged && !wanted.starts_with('/');
        let place = |h: Hierarchy| {
            let path = if confined { format!("{}{cleaned}", base(&h)) } else { cleaned.clone() };
            Node::plan(&h, path)
        };
        let nodes: Vec<Node> = layout::detect()?.into_iter().map(place).collect();
        nodes.iter().try_for_each(Node::check_fit)?;
        Ok(Self { nodes, unprivileged })
    }

    /// Makes the planned directories.
    ///
    /// A runtime without root, or in a user namespace, goes without the hierarchies that it may not write to.
    ///
    /// # Errors
    /// [`Error::Unfit`] when a directory was there already and has processes or is frozen. Nothing was made then, and
    /// this value has no directories any more, so that cleaning up after the error does not touch what is not ours.
    /// [`Error::Io`] when one cannot be made; those made before are removed again.
    pub fn create(&mut self) -> Result<(), Error> {
        if let Err(unfit) = self.nodes.iter().try_for_each(Node::check_fit) {
            self.nodes.clear();
            return Err(unfit);
        }
        let mut kept = Vec::new();
        for node in &self.nodes {
            match node.create() {
                Ok(()) => kept.push(node.clone()),
                Err(Error::Io { source, .. }) if self.unprivileged && is_denied(&source) => {}
                Err(e) => {
                    // The first error is the one to tell; a failing removal would hide it.
                    let _ = self.delete();
                    return Err(e);
                }
            }
        }
        self.nodes = kept;
        Ok(())
    }

    /// Makes the directories that a service manager has not made when it put the container's first process into the
    /// one that it manages, and brings the process to the others.
    ///
    /// # Errors
    /// [`Error::Io`] when a directory cannot be made or does not take the process.
    pub fn create_around(&mut self, pid: libc::pid_t) -> Result<(), Error> {
        let mut kept = Vec::new();
        for node in &self.nodes {
            match node.create_and_join(pid) {
                Err(Error::Io { source, .. }) if self.unprivileged && is_denied(&source) => {}
                made => {
                    made?;
                    kept.push(node.clone());
                }
            }
        }
        self.nodes = kept;
        Ok(())
    }

    /// [`Cgroup::plan`] then [`Cgroup::create`].
    ///
    /// # Errors
    /// As those two.
    pub fn open_or_create(cgroups_path: Option<&str>, id: &str, resources: &Value) -> Result<Self, Error> {
        let mut cgroup = Self::plan(cgroups_path, id, resources)?;
        cgroup.create()?;
        Ok(cgroup)
    }

    /// What [`Cgroup::load`] needs, as JSON for the state file.
    pub fn save(&self) -> Value {
        json!({ "unprivileged": self.unprivileged, "nodes": self.nodes.iter().map(Node::save).collect::<Vec<_>>() })
    }

    /// The inverse of [`Cgroup::save`].
    ///
    /// # Errors
    /// [`Error::Invalid`] when `saved` is not what `save` gave.
    pub fn load(saved: &Value) -> Result<Self, Error> {
        let read = || {
            let nodes = saved.get("nodes")?.as_array()?.iter().map(Node::load).collect::<Option<_>>()?;
            Some(Self { nodes, unprivileged: saved.get("unprivileged")?.as_bool()? })
        };
        read().ok_or_else(|| invalid("cgroup", "the saved state is not of the form that this runtime writes"))
    }

    /// Writes `linux.resources` to a new container's cgroups. Devices are closed even when the object has no list.
    ///
    /// Call it before a process is in the cgroups; but with a `pids.limit` of 0 no process can be cloned into the
    /// unified one afterwards, so such a container's first process must be moved.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what breaks the spec, needs a controller that this host lacks, or has no meaning on
    /// cgroup v2. [`Error::Io`] when the kernel refuses a value; values written before it stay.
    pub fn apply(&self, resources: &Value) -> Result<(), Error> {
        self.write_resources(&Resources::parse(resources)?, true)
    }

    /// Writes only what `resources` names to a running container's cgroups (the `update` command).
    ///
    /// # Errors
    /// As [`Cgroup::apply`].
    pub fn update(&self, resources: &Value) -> Result<(), Error> {
        self.write_resources(&Resources::parse(resources)?, false)
    }

    /// Directory by controller name; the unified hierarchy's key is the empty string, a named v1 one's `name=...`.
    pub fn paths(&self) -> BTreeMap<String, PathBuf> {
        let mut all = BTreeMap::new();
        for node in &self.nodes {
            if node.unified {
                all.insert(String::new(), node.dir());
            } else {
                all.extend(node.controllers.iter().map(|c| (c.clone(), node.dir())));
            }
        }
        all
    }

    /// The directories of the v1 hierarchies.
    pub fn v1_dirs(&self) -> impl Iterator<Item = PathBuf> {
        self.nodes.iter().filter(|n| !n.unified).map(Node::dir)
    }

    /// The directory in the unified hierarchy.
    pub fn unified_dir(&self) -> Option<PathBuf> {
        self.unified().map(Node::dir)
    }

    /// Whether the container lives in the unified hierarchy alone.
    pub fn is_v2(&self) -> bool {
        !self.nodes.is_empty() && self.nodes.iter().all(|n| n.unified)
    }

    /// Whether any of the directories is there.
    pub fn exists(&self) -> bool {
        self.nodes.iter().any(|n| n.dir().exists())
    }

    /// Removes the directories that this runtime made, and those that the container made in them. Absent ones are
    /// fine, and so are parents that others use by now. Every hierarchy is tried.
    ///
    /// # Errors
    /// The first [`Error::Io`]: a directory that is still busy after five seconds.
    pub fn delete(&self) -> Result<(), Error> {
        let mut first = Ok(());
        for node in &self.nodes {
            let removed = node.remove();
            if first.is_ok() {
                first = removed;
            }
        }
        first
    }

    /// Removes the directories that this runtime made when nothing is in any of them: no process, no cgroup of the
    /// container's own. False when something is; then [`Cgroup::kill_all`] and [`Cgroup::delete`] are called for.
    pub fn delete_idle(&self) -> bool {
        let unified_first =
            self.nodes.iter().filter(|n| n.unified).chain(self.nodes.iter().filter(|n| !n.unified));
        for node in unified_first {
            let removed = node.made > 0 && fs::remove_dir(node.dir()).is_ok();
            if !removed {
                return false;
            }
        }
        self.delete().is_ok()
    }

    /// The node in the unified hierarchy.
    fn unified(&self) -> Option<&Node> {
        self.nodes.iter().find(|n| n.unified)
    }

    /// The directory of a v1 controller.
    fn v1_dir(&self, controller: &str) -> Option<PathBuf> {
        self.nodes.iter().find(|n| !n.unified && n.has(controller)).map(Node::dir)
    }
}

/// What a runtime that does not own the hierarchy starts from: its own cgroup. In the unified hierarchy a cgroup with
/// processes cannot give controllers to children, so there it is the one above.
fn base(hierarchy: &Hierarchy) -> &str {
    let own = hierarchy.own.trim_end_matches('/');
    if hierarchy.unified { own.rsplit_once('/').map_or("", |(above, _)| above) } else { own }
}

fn is_denied(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EROFS))
}

/// Whether this process is in a user namespace other than the first one.
fn in_userns() -> bool {
    fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().collect::<Vec<_>>() != ["0", "0", "4294967295"])
}
