//! Making the container's view of the file system.
//!
//! All of it goes through descriptors: a path of the configuration is resolved once, confined to the root
//! (`RESOLVE_IN_ROOT`), and what was found is what gets mounted upon.

mod copyup;
mod devices;
mod hide;
mod idmap;
mod mount;
pub mod options;
mod pivot;
mod resolve;

pub use devices::console;
pub use hide::hide;
pub use idmap::map_lines;
pub use mount::{Prepared, clone_root, enter, prepare};
pub use pivot::{Change, change_root};
pub use resolve::verified_proc;

use crate::cgroup::Cgroup;
use crate::config::Spec;
use crate::error::Result;
use options::READ_ONLY;
use std::os::fd::{AsFd, OwnedFd};

/// What the steps share.
pub struct Rootfs<'a> {
    /// The configuration.
    pub spec: &'a Spec,
    /// The root of the new tree: a mount, attached in the container's mount namespace.
    pub root: OwnedFd,
    /// The host's procfs, verified.
    pub proc: OwnedFd,
    /// True when device nodes cannot be made because a user namespace is in between.
    pub userns: bool,
    /// The cgroup, for mounts of type cgroup.
    pub cgroup: Option<&'a Cgroup>,
}

impl Rootfs<'_> {
    /// Everything that `create` puts below the root, up to the `createContainer` hooks.
    pub fn populate(&self, prepared: &mut [Prepared]) -> Result<()> {
        let mut late: Vec<OwnedFd> = Vec::new();
        for (mount, prepared) in self.spec.mounts.iter().zip(prepared) {
            if let Some(fd) = self.mount(mount, prepared)? {
                late.push(fd);
            }
        }
        self.devices()?;
        for fd in late {
            let attr = crate::sys::MountAttr { set: READ_ONLY, ..Default::default() };
            crate::sys::mount_setattr(fd.as_fd(), false, &attr)?;
        }
        Ok(())
    }

    /// True when the configuration brings its own `/dev` by a bind mount: then nothing is made in it.
    fn own_dev(&self) -> bool {
        self.spec.mounts.iter().any(|m| {
            let bind =
                m.kind.as_deref() == Some("bind") || m.options.iter().any(|o| o == "bind" || o == "rbind");
            bind && m.destination.trim_matches('/') == "dev"
        })
    }
}
