//! Giving a cgroup to the container (runtime-spec "Cgroup ownership").

use std::fs;
use std::io;

use super::{Cgroup, Error, sys};

/// What is given away when the kernel does not say.
const FALLBACK: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

impl Cgroup {
    /// Gives the cgroup to `uid` : the directory, and those of its files that the kernel names in
    /// `/sys/kernel/cgroup/delegate`. Nothing is done unless the unified hierarchy is the only one: a v1 cgroup is no
    /// safe thing to give away.
    ///
    /// # Errors
    /// [`Error::Io`] when an owner cannot be changed. Files that the cgroup does not have are fine.
    pub fn chown(&self, uid: libc::uid_t) -> Result<(), Error> {
        if !self.is_v2() {
            return Ok(());
        }
        let Some(node) = self.unified() else { return Ok(()) };
        let dir = node.dir();
        let list = fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap_or_else(|_| FALLBACK.to_owned());
        let files =
            list.lines().map(str::trim).filter(|f| !f.is_empty() && !f.contains('/')).map(|f| dir.join(f));
        for path in std::iter::once(dir.clone()).chain(files) {
            match sys::chown(&path, uid) {
                Err(e) if e.kind() == io::ErrorKind::NotFound && path != dir => {}
                Err(source) => return Err(Error::Io { what: format!("give to user {uid}"), path, source }),
                Ok(()) => {}
            }
        }
        Ok(())
    }
}
