//! The system calls that seccomp needs and the standard library lacks.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use libc::{c_int, c_ulong};

/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
const NEW_LISTENER: c_ulong = 1 << 3;
/// `SECCOMP_FILTER_FLAG_TSYNC_ESRCH`: without it a listener and `TSYNC` exclude each other.
const TSYNC_ESRCH: c_ulong = 1 << 4;
/// `SECCOMP_FILTER_FLAG_TSYNC`.
const TSYNC: c_ulong = 1;

/// Installs a filter on the calling thread; with `listen`, gives the notify descriptor. Allocates nothing.
pub(super) fn set_filter(
    filter: &[libc::sock_filter],
    flags: u64,
    listen: bool,
) -> io::Result<Option<OwnedFd>> {
    let len = u16::try_from(filter.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut() };
    let mut flags = flags as c_ulong;
    if listen {
        flags |= NEW_LISTENER;
        if flags & TSYNC != 0 {
            flags |= TSYNC_ESRCH;
        }
    }
    // SAFETY: `program` points to `len` instructions that outlive the call; the kernel only reads them.
    let answer =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    if !listen {
        return Ok(None);
    }
    // SAFETY: with NEW_LISTENER the answer is a new descriptor that nothing else owns.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(answer as c_int) }))
}

/// A stream socket whose connect and send give up after `timeout`.
pub(super) fn stream_socket(timeout: Duration) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was just made and nothing else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let limit =
        libc::timeval { tv_sec: timeout.as_secs().cast_signed(), tv_usec: timeout.subsec_micros().into() };
    // SAFETY: the option's value is a `timeval` of the length given.
    let answer = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_SNDTIMEO,
            (&raw const limit).cast(),
            size_of::<libc::timeval>() as libc::socklen_t,
        )
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(fd) }
}

/// Connects to a path of at most 107 bytes.
pub(super) fn connect(socket: BorrowedFd<'_>, path: &[u8]) -> io::Result<()> {
    // SAFETY: `sockaddr_un` is plain old data; all zero is valid.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    if path.len() >= address.sun_path.len() || path.contains(&0) {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    for (to, from) in address.sun_path.iter_mut().zip(path) {
        *to = from.cast_signed();
    }
    // SAFETY: the address is a whole `sockaddr_un`, ended by a zero byte.
    let answer = unsafe {
        libc::connect(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_un>() as libc::socklen_t,
        )
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Room for one descriptor in a control message, aligned as `cmsghdr` must be.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// Sends bytes, and one descriptor with them; the number of bytes taken.
pub(super) fn send(socket: BorrowedFd<'_>, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = Control([0; 64]);
    // SAFETY: `msghdr` is plain old data; all zero is valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if let Some(fd) = fd {
        let size = size_of::<c_int>() as u32;
        message.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: plain arithmetic; the space for one descriptor is 24 bytes, and `control` has 64.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(size) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size) as _;
            libc::CMSG_DATA(header).cast::<c_int>().write_unaligned(fd.as_raw_fd());
        }
    }
    // SAFETY: the message's parts outlive the call.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Bytes sent that the peer has not read.
pub(super) fn unread(socket: BorrowedFd<'_>) -> io::Result<c_int> {
    let mut count: c_int = 0;
    // SAFETY: TIOCOUTQ writes one int.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(count) }
}

/// Waits until the peer hangs up or the time is over; whether it hung up.
pub(super) fn hung_up(socket: BorrowedFd<'_>, wait: Duration) -> io::Result<bool> {
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: one `pollfd`.
    let answer = unsafe { libc::poll(&raw mut poll, 1, wait.as_millis() as c_int) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer > 0) }
}
