//! Changing the root.

use super::Rootfs;
use super::mount::attach;
use crate::error::{Context, Result};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{UnmountFlags, mount_change, unmount};
use rustix::process::{chdir, chroot, fchdir, pivot_root};
use std::os::fd::AsFd;

/// How the root is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// `pivot_root(2)`: the old tree is gone from the mount namespace.
    Pivot,
    /// `--no-pivot`: the root is moved over `/` and entered.
    Move,
    /// The mount namespace is not the container's own: only chroot(2).
    Chroot,
}

/// Makes the tree of `rootfs` the root of this process.
pub fn change_root(rootfs: &Rootfs<'_>, how: Change) -> Result<()> {
    fchdir(&rootfs.root).context("entering the root")?;
    match how {
        Change::Pivot => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let old = openat(CWD, "/", flags, Mode::empty()).context("old root")?;
            // With both names the same the old root ends up stacked on the new one and is taken off again.
            pivot_root(".", ".").context("pivot_root")?;
            // From here on `.` has to be the old root: only that is isolated and detached.
            fchdir(&old).context("entering the old root")?;
            mount_change(
                ".",
                rustix::mount::MountPropagationFlags::DOWNSTREAM | rustix::mount::MountPropagationFlags::REC,
            )
            .context("isolating the old root")?;
            unmount(".", UnmountFlags::DETACH).context("detaching the old root")?;
        }
        Change::Move => {
            uncover()?;
            let slash = openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            attach(rootfs.root.as_fd(), slash.as_fd()).context("moving the root")?;
            chroot(".").context("chroot")?;
        }
        Change::Chroot => chroot(".").context("chroot")?,
    }
    chdir("/").context("entering the root")
}

/// Takes the host's procfs and sysfs mounts out of the namespace: without `pivot_root` they would stay as
/// unmasked instances that allow a nested user namespace to mount them afresh.
fn uncover() -> Result<()> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").context("reading the mount table")?;
    let here = rustix::process::getcwd(Vec::new())?;
    let here = here.to_string_lossy();
    for line in table.lines().rev() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let (Some(point), Some(kind)) = (left.split(' ').nth(4), right.split(' ').next()) else { continue };
        let inside = point.starts_with(&*here);
        if matches!(kind, "proc" | "sysfs") && !inside {
            let _ = unmount(point, UnmountFlags::DETACH);
        }
    }
    Ok(())
}
