//! Getting a new process into its cgroup without the cost of moving it there.
//!
//! Moving another process takes a lock over all forks and exits of the host and waits milliseconds for it.
//! A process is born in a cgroup v2 for nothing, and a single-threaded one moves itself in cgroup v1 without
//! that lock by writing `0` to `tasks`.

use crate::cgroup::Cgroup;
use crate::error::{Context, Result};
use rustix::fs::{CWD, Mode, OFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Open files of a cgroup, for a child.
#[derive(Default)]
pub struct Entrance {
    /// `tasks` of each v1 hierarchy. The kernel checks the rights of who opened it.
    tasks: Vec<OwnedFd>,
    /// The v2 directory.
    unified: Option<OwnedFd>,
}

impl Entrance {
    /// Opens what leads into the cgroup.
    pub fn open(cgroup: &Cgroup) -> Result<Self> {
        let mut entrance = Self::default();
        for dir in cgroup.v1_dirs() {
            entrance.tasks.push(open(&dir.join("tasks"), OFlags::WRONLY)?);
        }
        if let Some(dir) = cgroup.unified_dir() {
            entrance.unified = Some(open(&dir, OFlags::PATH | OFlags::DIRECTORY)?);
        }
        Ok(entrance)
    }

    /// The directory for `CLONE_INTO_CGROUP`.
    pub fn born_in(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(AsFd::as_fd)
    }

    /// Has the child be born elsewhere in cgroup v2.
    pub fn move_to(&mut self, dir: &Path) -> Result<()> {
        self.unified = Some(open(dir, OFlags::PATH | OFlags::DIRECTORY)?);
        Ok(())
    }

    /// In the child: moves itself into the v1 hierarchies.
    pub fn enter(&mut self) -> Result<()> {
        for tasks in self.tasks.drain(..) {
            rustix::io::write(&tasks, b"0").context("joining the cgroup")?;
        }
        self.unified = None;
        Ok(())
    }
}

fn open(path: &Path, flags: OFlags) -> Result<OwnedFd> {
    rustix::fs::openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty())
        .with_context(|| format!("cgroup {}", path.display()))
}
