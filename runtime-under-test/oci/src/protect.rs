//! Keeping the runtime's own program out of reach of containers.
//!
//! A process of the runtime inside a container shows it at `/proc/<pid>/exe`; a container that opens that
//! for writing would replace the host's runtime. So the commands that fork into containers run from a
//! private read-only mount of the program: nobody can write through it, and it is part of no mount
//! namespace in which it could be made writable.

use crate::error::{Context, Result};
use crate::sys::{self, MountAttr};
use rustix::fs::{CWD, StatVfsMountFlags};
use rustix::mount::{OpenTreeFlags, open_tree};
use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

/// Set in the environment of the second start, so that there never is a third.
const MARK: &str = "_PLIMSOLL_OCI_SEALED";

/// Starts the program anew from a read-only mount, unless it runs from one already. Descriptors other than
/// the standard streams and the next `keep` ones are closed on the way.
pub fn seal(keep: u32) -> Result<()> {
    sys::cloexec_from(3 + keep).context("closing inherited descriptors")?;
    let marked = std::env::var_os(MARK).is_some_and(|v| v == std::process::id().to_string().as_str());
    let readonly =
        rustix::fs::statvfs("/proc/self/exe").is_ok_and(|s| s.f_flag.contains(StatVfsMountFlags::RDONLY));
    if marked || readonly || !rustix::process::geteuid().is_root() {
        sys::close_from(3 + keep).context("closing inherited descriptors")?;
        return Ok(());
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, "/proc/self/exe", flags).context("protecting the runtime's program")?;
    let attr = MountAttr { set: crate::rootfs::options::READ_ONLY, ..MountAttr::default() };
    sys::mount_setattr(tree.as_fd(), false, &attr).context("protecting the runtime's program")?;
    let c = |bytes: &[u8]| CString::new(bytes).unwrap_or_default();
    let argv: Vec<CString> = std::env::args_os().map(|a| c(a.as_bytes())).collect();
    let mut env: Vec<CString> = std::env::vars_os()
        .filter(|(name, _)| name != MARK)
        .map(|(name, value)| c(&[name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect();
    env.push(c(format!("{MARK}={}", std::process::id()).as_bytes()));
    Err(sys::exec_fd(tree.as_fd(), &argv, &env)).context("starting the protected program")
}
