//! User and group of the process, and what is derived from it.

use crate::config::User;
use crate::error::{Context, Error, Result};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use std::io::Read;
use std::os::fd::BorrowedFd;

/// Largest `/etc/passwd` or `/etc/group` that is read.
const MAX_DATABASE: u64 = 10 << 20;

/// Becomes the user: groups first, then group id, then user id; each as real, effective and saved id.
///
/// `setgroups_denied` says that the user namespace forbids `setgroups(2)`, where further groups are an
/// error and none can be dropped.
pub fn apply(user: &User, setgroups_denied: bool) -> Result<()> {
    if setgroups_denied {
        if !user.additional_gids.is_empty() {
            crate::bail!("process.user.additionalGids cannot be set in a rootless user namespace");
        }
    } else {
        let groups: Vec<Gid> = user.additional_gids.iter().map(|g| Gid::from_raw(*g)).collect();
        set_thread_groups(&groups).context("setting additional groups")?;
    }
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    set_thread_res_gid(gid, gid, gid).with_context(|| format!("setting gid {}", user.gid))?;
    set_thread_res_uid(uid, uid, uid).with_context(|| format!("setting uid {}", user.uid))
}

/// Reads a database below the root `root`, as an ordinary bounded file; absent means empty.
pub fn database(root: BorrowedFd<'_>, path: &str) -> Result<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::openat2(root, path, flags, Mode::empty(), rustix::fs::ResolveFlags::IN_ROOT)
    {
        Ok(fd) => std::fs::File::from(fd),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(String::new()),
        Err(e) => return Err(Error::from(e).wrap(format!("opening {path}"))),
    };
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() > MAX_DATABASE {
        crate::bail!("{path} is not an ordinary file of bounded size");
    }
    let mut text = Vec::new();
    file.take(MAX_DATABASE).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Home directory of a user by the container's `/etc/passwd`; `/` when it is not listed.
pub fn home(root: BorrowedFd<'_>, uid: u32) -> String {
    let text = database(root, "etc/passwd").unwrap_or_default();
    let mut entries = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let entry = entries.find(|f| f.len() >= 6 && f[2].parse() == Ok(uid));
    entry.map(|f| f[5].to_owned()).filter(|h| !h.is_empty()).unwrap_or_else(|| "/".to_owned())
}
