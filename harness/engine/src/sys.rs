//! The engine's one place for `unsafe`: taking a network bridge of a dead server away, and ignoring a signal.
#![allow(unsafe_code)]

use nix::libc;
use std::os::fd::AsRawFd;

/// `SIOCBRDELBR` of linux/sockios.h, which the libc crate does not name for this platform.
const DELETE_BRIDGE: libc::Ioctl = 0x89a1;

/// Takes a bridge down and removes it. A bridge that is not there, or that is in use, stays as it is: nothing can be
/// done about it here, and [`has_interface`] tells.
pub(crate) fn remove_bridge(name: &str) {
    let Ok(socket) = std::net::UdpSocket::bind(("127.0.0.1", 0)) else { return };
    // SAFETY: ifreq is plain data for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte less than there is room for, so that the name ends with a zero.
    for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    // SAFETY: both calls read an ifreq, or the name at its beginning, that lives through the call. Zeroed flags mean
    // down.
    unsafe {
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request);
        libc::ioctl(socket.as_raw_fd(), DELETE_BRIDGE, request.ifr_name.as_ptr());
    }
}

/// From now on a request to terminate does nothing to this process; programs that it starts inherit that.
pub(crate) fn ignore_termination() -> std::io::Result<()> {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: no handler is installed, so nothing runs in a signal's context.
    unsafe { signal(Signal::SIGTERM, SigHandler::SigIgn) }?;
    Ok(())
}

/// The program is killed when the thread that starts it ends.
pub(crate) fn die_with_this(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    let set = || Ok(nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?);
    // SAFETY: a single system call, which may be made between fork and exec.
    unsafe { command.pre_exec(set) };
}

/// Whether this host has an interface of that name.
pub(crate) fn has_interface(name: &str) -> bool {
    std::path::Path::new("/sys/class/net").join(name).exists()
}
