//! Keeping the runtime's own program out of reach of containers.
//!
//! A process of the runtime inside a container shows it at `/proc/<pid>/exe`; a container that opens that
//! for writing would replace the host's runtime. So the commands that fork into containers run from a
//! private read-only mount of the program: nobody can write through it, and it is part of no mount
//! namespace in which it could be made writable. Where no such mount can be made (without privileges), a
//! sealed copy in memory serves as well, and costs more.

use crate::error::{Context, Error, Result};
use crate::sys::{self, MountAttr};
use rustix::fs::{Access, AtFlags, CWD, MemfdFlags, SealFlags};
use rustix::mount::{OpenTreeFlags, open_tree};
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// Set in the environment of the second start, so that there never is a third.
const MARK: &str = "_PLIMSOLL_OCI_SEALED";

const PROGRAM: &str = "/proc/self/exe";

/// Starts the program anew from where it cannot be written, unless it is there already. Descriptors other
/// than the standard streams and the next `keep` ones are closed on the way.
pub fn seal(keep: u32) -> Result<()> {
    sys::cloexec_from(3 + keep).context("closing inherited descriptors")?;
    let marked = std::env::var_os(MARK).is_some_and(|v| v == std::process::id().to_string().as_str());
    // Nobody inside a container has more rights over the file than the caller.
    let writable = || rustix::fs::accessat(CWD, PROGRAM, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
    if marked || !writable() {
        sys::close_from(3 + keep).context("closing inherited descriptors")?;
        return Ok(());
    }
    let program = private_mount().or_else(|_| sealed_copy()).context("protecting the runtime's program")?;
    let c = |bytes: &[u8]| CString::new(bytes).unwrap_or_default();
    let argv: Vec<CString> = std::env::args_os().map(|a| c(a.as_bytes())).collect();
    let mut env: Vec<CString> = std::env::vars_os()
        .filter(|(name, _)| name != MARK)
        .map(|(name, value)| c(&[name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect();
    env.push(c(format!("{MARK}={}", std::process::id()).as_bytes()));
    Err(sys::exec_fd(program.as_fd(), &argv, &env)).context("starting the protected program")
}

/// The program in a mount of its own that is in no mount namespace.
fn private_mount() -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, PROGRAM, flags)?;
    let attr = MountAttr { set: crate::rootfs::options::READ_ONLY, ..MountAttr::default() };
    sys::mount_setattr(tree.as_fd(), false, &attr)?;
    Ok(tree)
}

/// A copy in memory that nobody can change any more, the owner included.
fn sealed_copy() -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let made = match rustix::fs::memfd_create(c"plimsoll-oci", flags | MemfdFlags::EXEC) {
        // Before Linux 6.3 every such file could be executed, and the flag was not known.
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create(c"plimsoll-oci", flags),
        other => other,
    };
    let mut copy = File::from(made.context("making a file in memory")?);
    std::io::copy(&mut File::open(PROGRAM)?, &mut copy).context("copying the program")?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&copy, seals).map_err(Error::from)?;
    Ok(copy.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_copy_is_whole_and_cannot_be_written() {
        let copy = sealed_copy().unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&copy));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), std::fs::metadata(PROGRAM).unwrap().len());
        let written = File::options().write(true).open(&path).and_then(|mut f| f.write_all(b"x"));
        assert!(written.is_err());
    }
}
