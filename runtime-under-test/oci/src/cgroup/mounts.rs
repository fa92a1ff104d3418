//! What a config mount of `type: cgroup` becomes.

use std::path::PathBuf;

use super::node::Node;
use super::{Cgroup, Error};

/// One step toward a container's view of cgroups: the answer of [`mount_plan`].
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
    /// Remount `target` with these `MS_*` flags (read-only tmpfs comes last).
    Remount {
        /// Where, relative to the config mount's destination.
        target: PathBuf,
        /// `MS_*` flags.
        flags: u64,
    },
}

/// The steps that make a config mount of `type: cgroup`, in order.
///
/// On v2 that is one mount. Elsewhere it is a tmpfs with one directory per hierarchy, named as on the host, and a link
/// for each controller of a hierarchy that has several. With a cgroup namespace each directory is a mount of its own,
/// which the namespace confines; without one it is the container's cgroup bound there, so that the host's tree is not
/// seen. On v2 without a namespace a fresh mount would show the whole tree, so the container's cgroup is bound too.
///
/// `flags` are the config mount's own `MS_*` flags.
///
/// # Errors
/// [`Error::Unsupported`] when the container has no cgroups.
pub fn mount_plan(cgroup: Option<&Cgroup>, flags: u64, new_cgroupns: bool) -> Result<Vec<MountStep>, Error> {
    let Some(cgroup) = cgroup.filter(|c| !c.nodes.is_empty()) else {
        return Err(Error::Unsupported(
            "a mount of type cgroup needs cgroups, and none are mounted here".into(),
        ));
    };
    if let (true, Some(node)) = (cgroup.is_v2(), cgroup.unified()) {
        return Ok(vec![hierarchy(node, PathBuf::new(), flags, new_cgroupns)]);
    }
    let read_only = libc::MS_RDONLY;
    let mut steps = vec![MountStep::Mount {
        fstype: "tmpfs".into(),
        source: "tmpfs".into(),
        target: PathBuf::new(),
        flags: flags & !read_only,
        data: "mode=755".into(),
    }];
    for node in &cgroup.nodes {
        let name = node.mount.file_name().map_or_else(|| node.controllers.join(",").into(), PathBuf::from);
        steps.push(MountStep::Mkdir { target: name.clone() });
        steps.push(hierarchy(node, name.clone(), flags, new_cgroupns));
        if !node.unified && node.controllers.len() > 1 {
            let to = name.to_string_lossy().into_owned();
            let links = node.controllers.iter().filter(|c| **c != to && !c.starts_with("name="));
            steps.extend(links.map(|c| MountStep::Symlink { to: to.clone(), target: c.into() }));
        }
    }
    if flags & read_only != 0 {
        steps.push(MountStep::Remount { target: PathBuf::new(), flags });
    }
    Ok(steps)
}

fn hierarchy(node: &Node, target: PathBuf, flags: u64, new_cgroupns: bool) -> MountStep {
    if !new_cgroupns {
        return MountStep::Bind { source: node.dir(), target, flags };
    }
    let (fstype, data) =
        if node.unified { ("cgroup2", String::new()) } else { ("cgroup", node.controllers.join(",")) };
    MountStep::Mount { fstype: fstype.into(), source: "cgroup".into(), target, flags, data }
}
