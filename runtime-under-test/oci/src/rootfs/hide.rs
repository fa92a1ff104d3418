//! `linux.maskedPaths`, `linux.readonlyPaths` and `root.readonly`.

use super::mount::attach;
use super::options::READ_ONLY;
use super::{Rootfs, resolve};
use crate::bail;
use crate::error::{Context, Result};
use crate::sys::{self, MountAttr};
use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen, open_tree,
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Hides, protects and, last, makes the root read-only as configured.
pub fn hide(rootfs: &Rootfs<'_>) -> Result<()> {
    let linux = &rootfs.spec.linux;
    for path in &linux.readonly_paths {
        protect(rootfs, path).with_context(|| format!("read-only path {path}"))?;
    }
    let mut masks = Masks::default();
    for path in &linux.masked_paths {
        masks.mask(rootfs, path).with_context(|| format!("masked path {path}"))?;
    }
    if rootfs.spec.root.as_ref().is_some_and(|r| r.readonly) {
        let attr = MountAttr { set: READ_ONLY, ..MountAttr::default() };
        sys::mount_setattr(rootfs.root.as_fd(), false, &attr).context("making the root read-only")?;
    }
    Ok(())
}

const CLONE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE
    .union(OpenTreeFlags::OPEN_TREE_CLOEXEC)
    .union(OpenTreeFlags::AT_EMPTY_PATH);

/// A copy of the tree over itself that cannot be written through; its other attributes stay.
fn protect(rootfs: &Rootfs<'_>, path: &str) -> Result<()> {
    let Some(target) = resolve::existing(rootfs.root.as_fd(), path)? else { return Ok(()) };
    let tree = open_tree(&target, "", CLONE | OpenTreeFlags::AT_RECURSIVE)?;
    sys::mount_setattr(tree.as_fd(), true, &MountAttr { set: READ_ONLY, ..MountAttr::default() })?;
    attach(tree.as_fd(), target.as_fd())
}

/// The two covers, made on first use.
#[derive(Default)]
struct Masks {
    null: Option<OwnedFd>,
    first: Option<OwnedFd>,
}

impl Masks {
    fn mask(&mut self, rootfs: &Rootfs<'_>, path: &str) -> Result<()> {
        let Some(target) = resolve::existing(rootfs.root.as_fd(), path)? else { return Ok(()) };
        if resolve::kind(&target)? == FileType::Directory {
            return self.cover_directory(target.as_fd());
        }
        let null = match &self.null {
            Some(null) => null,
            None => self.null.insert(host_null()?),
        };
        attach(open_tree(null, "", CLONE)?.as_fd(), target.as_fd())
    }

    /// All masked directories share one empty, read-only tmpfs.
    fn cover_directory(&mut self, target: BorrowedFd<'_>) -> Result<()> {
        if let Some(first) = &self.first {
            return attach(open_tree(first, "", CLONE)?.as_fd(), target);
        }
        let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&context, "mode", "555")?;
        fsconfig_set_string(&context, "nr_blocks", "1")?;
        fsconfig_set_string(&context, "nr_inodes", "1")?;
        fsconfig_create(&context)?;
        let attrs = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let fd = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attrs)?;
        attach(fd.as_fd(), target)?;
        self.first = Some(fd);
        Ok(())
    }
}

/// The host's `/dev/null`, verified: the cover must be the null device and nothing that an image put there.
fn host_null() -> Result<OwnedFd> {
    let null = openat(CWD, "/dev/null", OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::fstat(&null)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice || stat.st_rdev != makedev(1, 3) {
        bail!("the host's /dev/null is not the null device");
    }
    Ok(null)
}
