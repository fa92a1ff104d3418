//! The kit's one place for `unsafe`: preparing a child between fork and exec.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use tokio::process::Command;

/// Places each descriptor at its number in the child, without close-on-exec.
///
/// The numbers must be ascending and above 2. Sources are moved out of the way first, so that no target overwrites a
/// source that is still needed.
pub(crate) fn pass_fds(command: &mut Command, fds: Vec<(OwnedFd, RawFd)>) {
    if fds.is_empty() {
        return;
    }
    let highest = fds.iter().map(|(_, to)| *to).max().unwrap_or(2);
    let place = move || {
        let mut moved = [0; 64];
        for (slot, (from, _)) in moved.iter_mut().zip(&fds) {
            // SAFETY: fcntl and dup2 are async-signal-safe and take plain integers; `from` stays open because the
            // closure owns it.
            let copy = unsafe { nix::libc::fcntl(from.as_raw_fd(), nix::libc::F_DUPFD_CLOEXEC, highest + 1) };
            if copy < 0 {
                return Err(std::io::Error::last_os_error());
            }
            *slot = copy;
        }
        for (from, (_, to)) in moved.iter().zip(&fds) {
            // SAFETY: as above.
            if unsafe { nix::libc::dup2(*from, *to) } < 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: the closure runs in the child before exec, allocates nothing and calls only async-signal-safe functions.
    unsafe {
        command.pre_exec(place);
    }
}

/// Takes ownership of a descriptor that has just come out of a control message.
pub(crate) fn own_received(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has installed this descriptor for this process in recvmsg, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
