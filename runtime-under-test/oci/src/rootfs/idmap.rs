//! Id-mapped mounts (config.md "mounts": uidMappings, gidMappings, `idmap`, `ridmap`), by
//! `mount_setattr(2)` as the specification asks.

use super::options::{MountOptions, READ_ONLY};
use crate::config::{IdMapping, Mount, NamespaceKind, Spec};
use crate::error::{Context, Result};
use crate::sys::{self, CloneArgs, Forked, MountAttr};
use std::fmt::Write;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// The user namespace for a mount: with its own mappings when it has some, else with the container's.
/// `None` when the filesystem is made inside the container's user namespace anyway.
pub fn for_mount(spec: &Spec, mount: &Mount) -> Result<Option<OwnedFd>> {
    if !mount.uid_mappings.is_empty() {
        return userns_for(&mount.uid_mappings, &mount.gid_mappings).map(Some);
    }
    let bind = MountOptions::parse(mount)?.bind;
    let joined =
        spec.linux.namespaces.iter().find(|n| n.kind == NamespaceKind::User).and_then(|n| n.path.as_ref());
    match joined {
        _ if !bind => Ok(None),
        Some(path) => Ok(Some(File::open(path).with_context(|| format!("user namespace {path}"))?.into())),
        None => userns_for(&spec.linux.uid_mappings, &spec.linux.gid_mappings).map(Some),
    }
}

/// Maps the owners of a detached mount.
pub fn apply(tree: BorrowedFd<'_>, userns: BorrowedFd<'_>, recursive: bool) -> Result<()> {
    let attr = MountAttr {
        set: sys::MOUNT_ATTR_IDMAP,
        userns_fd: userns.as_raw_fd() as u64,
        ..MountAttr::default()
    };
    sys::mount_setattr(tree, recursive, &attr)
        .context("mapping the owners of the mount (does its filesystem support it?)")
}

/// The text of a `uid_map` or `gid_map`.
pub fn map_lines(mappings: &[IdMapping]) -> String {
    mappings.iter().fold(String::new(), |mut text, m| {
        let _ = writeln!(text, "{} {} {}", m.container_id, m.host_id, m.size);
        text
    })
}

/// A new user namespace with these mappings: held by a process that lives only as long as it is opened.
pub fn userns_for(uids: &[IdMapping], gids: &[IdMapping]) -> Result<OwnedFd> {
    let args = CloneArgs { flags: libc::CLONE_NEWUSER as u64, ..CloneArgs::default() };
    match sys::clone3(&args).context("making a user namespace")? {
        Forked::Child => {
            // Killed by the parent; bounded all the same.
            std::thread::sleep(std::time::Duration::from_secs(10));
            sys::exit_now(0);
        }
        Forked::Parent { pid, pidfd } => {
            let open = || -> Result<OwnedFd> {
                std::fs::write(format!("/proc/{pid}/uid_map"), map_lines(uids)).context("writing uid_map")?;
                std::fs::write(format!("/proc/{pid}/gid_map"), map_lines(gids)).context("writing gid_map")?;
                Ok(File::open(format!("/proc/{pid}/ns/user"))?.into())
            };
            let opened = open();
            let _ = sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
            let _ = sys::wait_pid(pid);
            opened
        }
    }
}

/// The options of a mount as `MS_*` flags, for the cgroup module.
pub fn ms_flags(options: &MountOptions) -> u64 {
    use rustix::mount::MountAttrFlags as A;
    let set = options.attrs.set | options.recursive_attrs.set;
    let pairs = [
        (READ_ONLY, libc::MS_RDONLY),
        (u64::from(A::MOUNT_ATTR_NOSUID.bits()), libc::MS_NOSUID),
        (u64::from(A::MOUNT_ATTR_NODEV.bits()), libc::MS_NODEV),
        (u64::from(A::MOUNT_ATTR_NOEXEC.bits()), libc::MS_NOEXEC),
    ];
    pairs.into_iter().filter(|(attr, _)| set & attr != 0).fold(0, |bits, (_, ms)| bits | ms)
}
