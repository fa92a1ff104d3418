//! The mount namespace of a testbed: what runs between fork and exec.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

/// Host directories that the testbed must not share, each covered by an empty file system.
const COVERED: [&str; 2] = ["/run", "/var/lib/cni"];

/// Makes `command` start in a mount namespace of its own. Mounts of the host still come in, none go out.
/// `hide_unified`: takes the cgroup2 tree of a hybrid host away, because some runtimes refuse hybrid.
pub(crate) fn private_mounts(command: &mut Command, hide_unified: bool) {
    // SAFETY: the closure runs in the child between fork and exec. It makes system calls through nix, which
    // only copies short constant paths into buffers on the stack, and takes no lock that another thread of the
    // parent could hold.
    unsafe {
        command.pre_exec(move || enter(hide_unified).map_err(io::Error::from));
    }
}

/// Makes `command` start in the mount namespace of `pid`.
pub(crate) fn join_mounts(command: &mut Command, pid: i32) -> io::Result<()> {
    let file = std::fs::File::open(format!("/proc/{pid}/ns/mnt"))?;
    // SAFETY: as above; the closure makes one system call with a descriptor that it owns.
    unsafe {
        command.pre_exec(move || setns(&file, CloneFlags::CLONE_NEWNS).map_err(io::Error::from));
    }
    Ok(())
}

fn enter(hide_unified: bool) -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none: Option<&str> = None;
    // First a slave of the host, then shared among the testbed's own namespaces, so that mount propagation
    // into containers works.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SHARED, none)?;
    for dir in COVERED {
        match mount(
            Some("tmpfs"),
            dir,
            Some("tmpfs"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            Some("mode=755"),
        ) {
            Ok(()) | Err(nix::Error::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    if hide_unified {
        umount2("/sys/fs/cgroup/unified", MntFlags::MNT_DETACH)?;
    }
    Ok(())
}

/// Whether the host shows version 1 controllers with a cgroup2 tree beside them.
pub(crate) fn is_hybrid() -> bool {
    Path::new("/sys/fs/cgroup/unified/cgroup.procs").exists()
}
