//! Resolving paths of the configuration inside the root, and making what is missing there.

use crate::bail;
use crate::error::{Context, Error, Result};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, readlinkat};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

/// Longest chain of symlinks that is followed, as in the kernel.
const MAX_LINKS: usize = 40;

/// Magic number of procfs (`linux/magic.h`).
pub const PROC_SUPER_MAGIC: i64 = 0x9fa0;

/// What a mount target has to be when it is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A directory.
    Directory,
    /// An empty file.
    File,
}

/// Opens an existing path inside `root`. Symlinks are followed inside the root; `None` when it is missing.
pub fn existing(root: BorrowedFd<'_>, path: &str) -> Result<Option<OwnedFd>> {
    match openat2(root, relative(path), OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT)
    {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(e) => Err(Error::from(e).wrap(format!("resolving {path} inside the root"))),
    }
}

/// Opens a path inside `root` and makes it when it is missing: parents as directories, itself as `target`.
/// The flag is true when it was there before.
pub fn ensure(root: BorrowedFd<'_>, path: &str, target: Target) -> Result<(OwnedFd, bool)> {
    if let Some(fd) = existing(root, path)? {
        return Ok((fd, true));
    }
    let make = || -> Result<OwnedFd> {
        let (parent, name) = walk(root, path)?;
        let Some(name) = name else { return Ok(parent) };
        match target {
            Target::Directory => directory(parent.as_fd(), &name),
            Target::File => {
                let flags =
                    OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
                drop(openat(&parent, &name, flags, Mode::from(0o644))?);
                Ok(openat(&parent, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
            }
        }
    };
    Ok((make().with_context(|| format!("making {path} inside the root"))?, false))
}

/// Opens (making it when missing) the directory that holds `path`, and the last name.
pub fn parent(root: BorrowedFd<'_>, path: &str) -> Result<(OwnedFd, OsString)> {
    let clean = path.trim_end_matches('/');
    let (dir, name) = clean.rsplit_once('/').unwrap_or(("", clean));
    if name.is_empty() || name == "." || name == ".." {
        bail!("{path} names no file");
    }
    let dir = ensure(root, dir, Target::Directory)?.0;
    Ok((dir, OsString::from(name)))
}

/// A path for `openat2` below the root; the root itself is `.`.
fn relative(path: &str) -> &str {
    let path = path.trim_start_matches('/');
    if path.is_empty() { "." } else { path }
}

fn directory(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd> {
    match mkdirat(parent, name, Mode::from(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(Error::from(e).wrap(format!("mkdir {}", name.display()))),
    }
    Ok(openat(
        parent,
        name,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// Walks to the last component by hand, making missing directories, following links (also dangling ones)
/// inside the root. The slow path: only for targets that do not exist yet.
fn walk(root: BorrowedFd<'_>, path: &str) -> Result<(OwnedFd, Option<OsString>)> {
    let mut todo: VecDeque<OsString> = components(path.as_bytes());
    let open_root = || openat(root, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let mut stack: Vec<OwnedFd> = vec![open_root()?];
    let mut links = 0;
    while let Some(name) = todo.pop_front() {
        if name == ".." {
            if stack.len() > 1 {
                stack.pop();
            }
            continue;
        }
        let Some(here) = stack.last() else { bail!("lost the root") };
        match openat(here, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
            Ok(fd) if kind(&fd)? == FileType::Symlink => {
                links += 1;
                if links > MAX_LINKS {
                    bail!("too many symbolic links");
                }
                let link = readlinkat(&fd, "", Vec::new())?.into_bytes();
                if link.starts_with(b"/") {
                    stack.truncate(1);
                }
                let mut expanded = components(&link);
                expanded.append(&mut todo);
                todo = expanded;
            }
            Ok(fd) => stack.push(fd),
            Err(Errno::NOENT) if todo.is_empty() => return Ok((take(stack)?, Some(name))),
            Err(Errno::NOENT) => {
                let made = directory(here.as_fd(), &name)?;
                stack.push(made);
            }
            Err(e) => return Err(Error::from(e).wrap(name.display())),
        }
    }
    Ok((take(stack)?, None))
}

fn take(mut stack: Vec<OwnedFd>) -> Result<OwnedFd> {
    stack.pop().ok_or_else(|| Error::new("lost the root"))
}

fn components(path: &[u8]) -> VecDeque<OsString> {
    let parts = path.split(|b| *b == b'/').filter(|p| !p.is_empty() && *p != b".");
    parts.map(|p| OsString::from_vec(p.to_vec())).collect()
}

/// Type of the file behind a descriptor.
pub fn kind(fd: &OwnedFd) -> Result<FileType> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode))
}

/// `/proc` of the runtime, verified to be the root of a procfs: a bind mount over it (or a fake one) would
/// redirect the writes that configure the container.
pub fn verified_proc() -> Result<OwnedFd> {
    const PROC_ROOT_INO: u64 = 1;
    let fd = openat(
        CWD,
        "/proc",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .context("/proc")?;
    let stat = rustix::fs::statat(&fd, "", AtFlags::EMPTY_PATH)?;
    if rustix::fs::fstatfs(&fd)?.f_type != PROC_SUPER_MAGIC || stat.st_ino != PROC_ROOT_INO {
        bail!("/proc of the host is not the root of a procfs");
    }
    Ok(fd)
}
