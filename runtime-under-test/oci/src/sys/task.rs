//! Attributes of the calling task: namespaces, scheduling, memory policy, keyring, descriptors.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

fn check(ret: libc::c_long) -> io::Result<libc::c_long> {
    if ret == -1 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

/// `unshare(2)` of namespaces; the process is single-threaded.
pub fn unshare(flags: i32) -> io::Result<()> {
    // SAFETY: plain integers; no memory is shared with other threads.
    check(libc::c_long::from(unsafe { libc::unshare(flags) })).map(|_| ())
}

/// `setns(2)` on a namespace file or a pidfd. `kinds` are the `CLONE_NEW*` flags demanded.
pub fn setns(fd: BorrowedFd<'_>, kinds: i32) -> io::Result<()> {
    // SAFETY: plain integers.
    check(libc::c_long::from(unsafe { libc::setns(fd.as_raw_fd(), kinds) })).map(|_| ())
}

/// Marks every descriptor from `first` on close-on-exec.
pub fn cloexec_from(first: u32) -> io::Result<()> {
    // SAFETY: plain integers; descriptors stay open.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) })
        .map(|_| ())
}

/// Clears or sets close-on-exec of a descriptor number.
pub fn set_cloexec(fd: RawFd, on: bool) -> io::Result<()> {
    // SAFETY: plain integers.
    let ret = unsafe { libc::fcntl(fd, libc::F_SETFD, if on { libc::FD_CLOEXEC } else { 0 }) };
    check(libc::c_long::from(ret)).map(|_| ())
}

/// Joins a new session keyring of this name, so that the caller's keys are out of reach.
pub fn join_session_keyring(name: &std::ffi::CStr) -> io::Result<i32> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: the name is a C string.
    let ret = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    check(ret).map(|serial| serial as i32)
}

/// `prctl(2)` with one integer argument.
pub fn prctl(option: i32, value: u64) -> io::Result<i32> {
    // SAFETY: only options that take integers are used with this wrapper.
    let ret = unsafe { libc::prctl(option, value as libc::c_ulong, 0 as libc::c_ulong, 0, 0) };
    check(libc::c_long::from(ret)).map(|v| v as i32)
}

/// `prctl(PR_CAP_AMBIENT, ...)`.
pub fn prctl_ambient(op: i32, cap: u32) -> io::Result<()> {
    // SAFETY: plain integers.
    let ret = unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            op as libc::c_ulong,
            libc::c_ulong::from(cap),
            0 as libc::c_ulong,
            0,
        )
    };
    check(libc::c_long::from(ret)).map(|_| ())
}

/// `capset(2)` of the calling thread with the three 64-bit masks.
pub fn capset(effective: u64, permitted: u64, inheritable: u64) -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    let header = Header { version: 0x2008_0522, pid: 0 };
    let data = [
        [effective as u32, permitted as u32, inheritable as u32],
        [(effective >> 32) as u32, (permitted >> 32) as u32, (inheritable >> 32) as u32],
    ];
    // SAFETY: header and data have the layout of capability version 3.
    check(unsafe { libc::syscall(libc::SYS_capset, std::ptr::from_ref(&header), data.as_ptr()) }).map(|_| ())
}

/// The permitted capabilities of the calling thread.
pub fn permitted_capabilities() -> io::Result<u64> {
    let header: [u32; 2] = [0x2008_0522, 0];
    let mut data = [[0u32; 3]; 2];
    // SAFETY: header and data have the layout of capability version 3.
    check(unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()) })?;
    Ok(u64::from(data[0][1]) | u64::from(data[1][1]) << 32)
}

/// `struct sched_attr` of the kernel (`linux/sched/types.h`), first version.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct SchedAttr {
    /// Size of this structure in bytes.
    pub size: u32,
    /// `SCHED_*` policy.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// Nice value of the normal policies.
    pub nice: i32,
    /// Static priority of the real-time policies.
    pub priority: u32,
    /// Deadline policy, nanoseconds.
    pub runtime: u64,
    /// Deadline policy, nanoseconds.
    pub deadline: u64,
    /// Deadline policy, nanoseconds.
    pub period: u64,
}

/// `sched_setattr(2)` on the calling thread.
pub fn sched_setattr(attr: &SchedAttr) -> io::Result<()> {
    let attr = SchedAttr { size: size_of::<SchedAttr>() as u32, ..*attr };
    // SAFETY: the structure says its own size.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::from_ref(&attr), 0) }).map(|_| ())
}

/// `ioprio_set(2)` for the process group of the caller. `value` holds class and level.
pub fn ioprio_set_group(value: u32) -> io::Result<()> {
    const IOPRIO_WHO_PGRP: i32 = 2;
    // SAFETY: plain integers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PGRP, 0, value) }).map(|_| ())
}

/// `set_mempolicy(2)`: mode with its flags, and the node mask (empty = NULL).
pub fn set_mempolicy(mode: u32, nodes: &[u64]) -> io::Result<()> {
    // One more than the highest bit: the kernel decrements `maxnode`.
    let (mask, max) =
        if nodes.is_empty() { (std::ptr::null(), 0) } else { (nodes.as_ptr(), nodes.len() * 64 + 1) };
    // SAFETY: the mask holds `max` - 1 bits.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, max) }).map(|_| ())
}

/// `personality(2)`.
pub fn personality(persona: u64) -> io::Result<()> {
    // SAFETY: plain integers.
    check(libc::c_long::from(unsafe { libc::personality(persona as libc::c_ulong) })).map(|_| ())
}

/// `sched_setaffinity(2)` of the calling thread; `mask` holds one bit per CPU.
pub fn sched_setaffinity(mask: &[u64]) -> io::Result<()> {
    // SAFETY: the mask is as long as said.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(mask), mask.as_ptr()) })
        .map(|_| ())
}

/// `setrlimit(2)` by number.
pub fn setrlimit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the structure is valid for the call; no old value is asked for.
    let ret = unsafe { libc::prlimit64(0, resource, std::ptr::from_ref(&limit), std::ptr::null_mut()) };
    check(libc::c_long::from(ret)).map(|_| ())
}

/// Sets all signals to their default action and unblocks them.
pub fn reset_signals() {
    for signal in 1..=64 {
        if signal == libc::SIGKILL || signal == libc::SIGSTOP || signal == 32 || signal == 33 {
            continue;
        }
        // SAFETY: SIG_DFL installs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: an empty set is valid data.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

/// Blocks all signals and returns a descriptor that reads them (`signalfd(2)`).
pub fn signal_fd() -> io::Result<OwnedFd> {
    // SAFETY: the set is filled before use; the new descriptor has no other owner.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
        let fd = check(libc::c_long::from(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC)))?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// The signal number at the start of a record read from a [`signal_fd`].
pub fn read_signal(fd: BorrowedFd<'_>) -> io::Result<i32> {
    let mut record = [0u8; 128];
    let n = rustix::io::read(fd, &mut record)?;
    if n < 4 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(i32::from_ne_bytes([record[0], record[1], record[2], record[3]]))
}

/// `kill(2)`.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: plain integers.
    check(libc::c_long::from(unsafe { libc::kill(pid, signal) })).map(|_| ())
}

/// `pidfd_send_signal(2)`, for any signal number.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: no siginfo is given.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, 0, 0) }).map(|_| ())
}

/// Makes this process the reaper of its orphaned descendants.
pub fn set_subreaper() -> io::Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1).map(|_| ())
}

/// Reaps one ended child without waiting: its process id and status code, if there is one.
pub fn reap_one() -> Option<(i32, i32)> {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the answer.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) };
    if pid <= 0 {
        return None;
    }
    let code =
        if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) };
    Some((pid, code))
}

/// The `CLONE_NEW*` flag of the namespace that `fd` is open on (`NS_GET_NSTYPE`).
pub fn namespace_type(fd: BorrowedFd<'_>) -> io::Result<i32> {
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // SAFETY: the request takes no argument.
    check(libc::c_long::from(unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) })).map(|v| v as i32)
}

extern "C" fn leave(signal: i32) {
    // SAFETY: _exit is async-signal-safe.
    unsafe { libc::_exit(128 + signal) }
}

/// Makes signals that end a process end this one even when it is the first of its PID namespace, where
/// the kernel drops signals without a handler. exec resets that.
pub fn end_on_signals() {
    for signal in [
        libc::SIGTERM,
        libc::SIGINT,
        libc::SIGHUP,
        libc::SIGQUIT,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGALRM,
    ] {
        let handler: extern "C" fn(i32) = leave;
        // SAFETY: the handler only calls _exit.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}

/// Closes a descriptor number whose owner was given up before.
pub fn close_raw(fd: RawFd) {
    // SAFETY: the caller forgot the owner.
    unsafe { libc::close(fd) };
}

/// Waits, in a process that shares its descriptors with another one, until `number` no longer is `probe`
/// (device and inode) but a new descriptor, and passes that on. Bounded to ten seconds.
pub fn forward_fd(
    number: RawFd,
    probe: (u64, u64),
    channel: &crate::socket::Channel,
) -> crate::error::Result<()> {
    for _ in 0..10_000 {
        // SAFETY: only asks about the number; it may be closed.
        let mut now: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: `now` is a valid place for the answer.
        let open = unsafe { libc::fstat(number, &raw mut now) } == 0;
        if open && (now.st_dev, now.st_ino) != probe {
            // SAFETY: open, and used only for the one call below.
            let fd = unsafe { BorrowedFd::borrow_raw(number) };
            return channel.pass(crate::socket::Kind::Listener, fd);
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Err(crate::error::Error::new("no listener appeared"))
}

/// Closes every descriptor from `first` on. Only for the start of the process, before it owns any.
pub fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: at this point all of them are inherited, so nothing in this process owns one.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) }).map(|_| ())
}

/// Opens those of the three standard streams that are closed, on the null device.
pub fn open_standard_streams() -> io::Result<()> {
    let mut streams = [0, 1, 2].map(|fd| libc::pollfd { fd, events: 0, revents: 0 });
    // SAFETY: three valid structures.
    check(libc::c_long::from(unsafe { libc::poll(streams.as_mut_ptr(), 3, 0) }))?;
    for stream in streams.iter().filter(|s| s.revents & libc::POLLNVAL != 0) {
        // The lowest free number is this one, as those below are open by now.
        // SAFETY: the path is a C string.
        let fd = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        if fd != stream.fd {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Makes writing to a pipe that nobody reads an error instead of the end of the process. [`reset_signals`] undoes it.
pub fn ignore_broken_pipes() {
    // SAFETY: no code of ours is installed.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}
