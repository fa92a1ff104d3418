//! Every system call that no safe wrapper of `rustix` covers. The only `unsafe` of the crate besides
//! the seccomp and device-program loaders.
#![allow(unsafe_code)]

mod entry;
mod fork;
mod mount;
mod task;

pub use fork::{CloneArgs, Forked, clone3, exec, exec_fd, exit_now, wait_pid};
pub use mount::{MOUNT_ATTR_IDMAP, MountAttr, mount_setattr};
pub use task::*;
