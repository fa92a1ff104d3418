//! `tmpcopyup`: a tmpfs that begins with the content of the directory it covers.

use crate::error::{Context, Result};
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, RawDir, Uid, chownat, fchmod, mkdirat, mknodat, openat,
    readlinkat, statat, symlinkat,
};
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

/// Deepest nesting that is copied.
const MAX_DEPTH: usize = 128;

/// Copies what is below `from` into `to`. Both may be `O_PATH` descriptors of directories.
pub fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let _ = CWD;
    tree(from, to, 0).context("copying the covered directory into the tmpfs")
}

fn tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: usize) -> Result<()> {
    if depth > MAX_DEPTH {
        crate::bail!("nested deeper than {MAX_DEPTH} directories");
    }
    let dir = openat(from, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(&dir, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name: CString = entry.file_name().to_owned();
        if name.as_c_str() != c"." && name.as_c_str() != c".." {
            one(dir.as_fd(), to, &name, depth).with_context(|| name.to_string_lossy().into_owned())?;
        }
    }
    Ok(())
}

fn one(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<()> {
    let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let mode = Mode::from_raw_mode(stat.st_mode);
    let owner = (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    let open = |at, flags| openat(at, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::from(0o600));
    match kind {
        FileType::Directory => {
            mkdirat(to, name, Mode::from(0o700))?;
            let (a, b) = (
                open(from, OFlags::RDONLY | OFlags::DIRECTORY)?,
                open(to, OFlags::RDONLY | OFlags::DIRECTORY)?,
            );
            tree(a.as_fd(), b.as_fd(), depth + 1)?;
        }
        FileType::RegularFile => {
            let mut a = std::fs::File::from(open(from, OFlags::RDONLY)?);
            let mut b = std::fs::File::from(open(to, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?);
            std::io::copy(&mut a, &mut b)?;
        }
        FileType::Symlink => symlinkat(readlinkat(from, name, Vec::new())?, to, name)?,
        _ => mknodat(to, name, kind, mode, stat.st_rdev)?,
    }
    chownat(to, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
    if matches!(kind, FileType::Directory | FileType::RegularFile) {
        let copy = open(to, OFlags::RDONLY)?;
        fchmod(&copy, mode)?;
    }
    Ok(())
}
