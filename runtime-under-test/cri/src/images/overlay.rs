//! Overlay mounts, by the new mount interface where the kernel takes one layer per call,
//! so that the number of layers is not bounded by a page of options.

use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount,
};
use rustix::thread::UnshareFlags;

use crate::error::{Context as _, Error, Result};

/// Gives the calling thread a mount namespace of its own from which nothing travels back.
pub fn private_mount_namespace() -> Result<()> {
    crate::sys::unshare(UnshareFlags::FS | UnshareFlags::NEWNS).doing("making a private mount namespace")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .doing("making mounts private")
}

/// Mounts `lowers` (topmost first) at `target`; `upper` = (upper directory, work directory).
pub fn mount(lowers: &[PathBuf], upper: Option<(&Path, &Path)>, target: &Path, volatile: bool) -> Result<()> {
    match by_fd(lowers, upper, target, volatile) {
        Ok(()) => Ok(()),
        Err(_) => by_options(lowers, upper, target, volatile),
    }
}

fn by_fd(
    lowers: &[PathBuf],
    upper: Option<(&Path, &Path)>,
    target: &Path,
    volatile: bool,
) -> rustix::io::Result<()> {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&fs, "source", "overlay")?;
    for lower in lowers {
        fsconfig_set_string(&fs, "lowerdir+", lower)?;
    }
    if let Some((upper, work)) = upper {
        fsconfig_set_string(&fs, "upperdir", upper)?;
        fsconfig_set_string(&fs, "workdir", work)?;
    }
    if volatile {
        fsconfig_set_flag(&fs, "volatile")?;
    }
    fsconfig_create(&fs)?;
    let mounted = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    move_mount(&mounted, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

fn by_options(
    lowers: &[PathBuf],
    upper: Option<(&Path, &Path)>,
    target: &Path,
    volatile: bool,
) -> Result<()> {
    let names: Vec<_> = lowers.iter().map(|p| p.display().to_string()).collect();
    let mut options = format!("lowerdir={}", names.join(":"));
    if let Some((upper, work)) = upper {
        options = format!("{options},upperdir={},workdir={}", upper.display(), work.display());
    }
    if volatile {
        options.push_str(",volatile");
    }
    if options.len() >= 4096 {
        return Err(Error::internal(
            "the image has more layers than this kernel's overlayfs takes; Linux 6.5 or newer takes them",
        ));
    }
    let options = std::ffi::CString::new(options).doing("building overlay options")?;
    rustix::mount::mount("overlay", target, "overlay", MountFlags::empty(), Some(options.as_c_str()))
        .with_path("mounting an overlay at", target)
}
