//! The few system calls that no safe interface covers.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd as _, OwnedFd};

use rustix::thread::UnshareFlags;

/// Detaches the calling thread from shared namespaces or attributes.
pub fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: FILES is never among the flags used here, so no other code's descriptors change meaning.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// fork(2) with new namespaces: 0 in the child. Only for single-threaded processes.
pub fn fork_into(flags: libc::c_int) -> io::Result<i32> {
    // SAFETY: without CLONE_VM the child gets its own copy of memory; the null stack means "same address".
    let pid =
        unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(flags | libc::SIGCHLD), 0, 0, 0, 0) };
    if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(pid as i32) }
}

/// Blocks these signals and returns a descriptor that delivers them.
pub fn signal_fd(signals: &[libc::c_int]) -> io::Result<OwnedFd> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set before it is used; the descriptor is fresh and ours.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        if libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

/// Clears the signal mask, for a program about to be executed.
pub fn unblock_all_signals() -> io::Result<()> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set before it is used.
    let done = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut())
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has `command` start with a clear signal mask: the monitor blocks signals for its descriptor.
pub fn with_clear_signals(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt as _;
    // SAFETY: the closure only makes an async-signal-safe system call.
    unsafe { command.pre_exec(unblock_all_signals) };
}

/// Waits for one of the blocked signals; the number of the one that came.
pub fn wait_signal(signals: &[libc::c_int]) -> i32 {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is initialised first; no siginfo is asked for.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        libc::sigwaitinfo(set.as_ptr(), std::ptr::null_mut())
    }
}

/// Reaps one child if there is one that ended: pid and wait status.
pub fn reap() -> Option<(i32, i32)> {
    let mut status = 0;
    // SAFETY: status points to a live integer.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    (pid > 0).then_some((pid, status))
}

/// Exit code as the CRI reports it: 0..=255, or 128 + signal.
pub fn exit_code(status: i32) -> i32 {
    if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) }
}

/// Overwrites the program's arguments, so that a process list shows `title` and no host paths.
pub fn set_title(title: &str) {
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return };
    let fields: Vec<u64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .map(|f| f.parse().unwrap_or(0))
        .collect();
    // arg_start and arg_end are fields 48 and 49 of proc(5); the list here begins with field 3.
    let (Some(&start), Some(&end)) = (fields.get(45), fields.get(46)) else { return };
    let len = end.saturating_sub(start) as usize;
    if start == 0 || len == 0 || len > 4096 {
        return;
    }
    let mut text = title.as_bytes().to_vec();
    text.truncate(len - 1);
    text.resize(len, 0);
    // SAFETY: the kernel tells where this process's own, writable argument area lies; nothing reads it any more.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), start as *mut u8, len) };
}

/// Lets only the system calls of the waiting sandbox process through; all else kills it.
pub fn confine_pause() -> io::Result<()> {
    const ALLOWED: [libc::c_long; 8] = [
        libc::SYS_rt_sigtimedwait,
        libc::SYS_wait4,
        libc::SYS_exit_group,
        libc::SYS_exit,
        libc::SYS_rt_sigreturn,
        libc::SYS_rt_sigprocmask,
        libc::SYS_restart_syscall,
        libc::SYS_rt_sigaction,
    ];
    let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let ret = libc::BPF_RET | libc::BPF_K;
    let mut filter = vec![step(load, 0, 0, 0)];
    for (at, number) in ALLOWED.iter().enumerate() {
        let to_allow = (ALLOWED.len() - at) as u8;
        filter.push(step(equal, to_allow, 0, *number as u32));
    }
    filter.push(step(ret, 0, 0, libc::SECCOMP_RET_ERRNO | 1));
    filter.push(step(ret, 0, 0, libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program points to a live filter of the stated length.
    let done =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Brings an interface of the current network namespace up by the classic ioctl.
pub fn interface_up(name: &str) -> io::Result<()> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    // SAFETY: ifreq is plain data for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(15)) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq that lives through the call.
    let done = unsafe {
        libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&socket), libc::SIOCSIFFLAGS, &raw const request)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `mount_setattr(2)` with an id mapping taken from a user namespace.
pub fn idmap_mount(mount: &OwnedFd, userns: &OwnedFd) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: userns.as_raw_fd() as u64,
    };
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    let size = size_of::<libc::mount_attr>();
    // SAFETY: path and attributes live through the call and the size is that of the structure.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Closes every descriptor from `first` on.
pub fn close_from(first: u32) {
    // SAFETY: only called where no object owns a descriptor any more (just before waiting for the end).
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
}

/// Ends the process without running anything else of it.
pub fn leave(code: i32) -> ! {
    // SAFETY: _exit does not return and touches no memory.
    unsafe { libc::_exit(code) }
}

/// A descriptor for the event loop. Must be called inside a tokio runtime.
pub fn async_fd(fd: OwnedFd) -> io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd owns an open descriptor and always returns the same one.
    Ok(unsafe { tokio::io::unix::AsyncFd::register(fd) }?)
}
