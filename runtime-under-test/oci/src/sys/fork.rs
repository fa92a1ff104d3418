//! Making processes and becoming another program.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Arguments of [`clone3`].
#[derive(Default)]
pub struct CloneArgs<'a> {
    /// `CLONE_NEW*` and other flags.
    pub flags: u64,
    /// cgroup v2 directory to be born in (`CLONE_INTO_CGROUP`).
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// Which side of the fork this is.
pub enum Forked {
    /// The new process.
    Child,
    /// The caller: the child's process id and a pidfd of it.
    Parent {
        /// Process id in the caller's PID namespace.
        pid: i32,
        /// Stable handle of the process.
        pidfd: OwnedFd,
    },
}

/// Forks with `clone3(2)`: one call puts the child into all new namespaces (and its cgroup).
///
/// The caller must be single-threaded: the child gets a copy of the address space, locks included.
pub fn clone3(args: &CloneArgs<'_>) -> io::Result<Forked> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut pidfd: i32 = -1;
    // SAFETY: clone_args is plain data for which all-zero is a valid value.
    let mut raw: libc::clone_args = unsafe { std::mem::zeroed() };
    raw.flags = args.flags | libc::CLONE_PIDFD as u64;
    raw.pidfd = std::ptr::from_mut(&mut pidfd) as u64;
    if args.flags & libc::CLONE_PARENT as u64 == 0 {
        raw.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(fd) = args.cgroup {
        raw.flags |= CLONE_INTO_CGROUP;
        raw.cgroup = fd.as_raw_fd() as u64;
    }
    // SAFETY: no stack is given and CLONE_VM is not set, so this is a fork: the child runs on a copy.
    let ret = unsafe {
        libc::syscall(libc::SYS_clone3, std::ptr::from_mut(&mut raw), size_of::<libc::clone_args>())
    };
    match ret {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        // SAFETY: the kernel has just stored a new descriptor that nothing else owns.
        pid => Ok(Forked::Parent { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }),
    }
}

/// Leaves at once, without destructors or flushing: what a forked child has to do.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

fn pointers(list: &[CString]) -> Vec<*const libc::c_char> {
    list.iter().map(|s| s.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
}

/// `execve(2)`. Returns only on failure.
pub fn exec(path: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both arrays are NULL-terminated and outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// `execveat(2)` of an open file. Returns only on failure.
pub fn exec_fd(fd: BorrowedFd<'_>, argv: &[CString], env: &[CString]) -> io::Error {
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both arrays are NULL-terminated and outlive the call; the path is a literal.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    io::Error::last_os_error()
}

/// `waitpid(2)` until this child ended. The answer is the exit code, 128 + signal for a killed one.
pub fn wait_pid(pid: i32) -> io::Result<i32> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is a valid place for the answer.
        let ret = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
        if ret >= 0 {
            break;
        }
        let e = io::Error::last_os_error();
        if e.kind() != io::ErrorKind::Interrupted {
            return Err(e);
        }
    }
    if libc::WIFSIGNALED(status) {
        return Ok(128 + libc::WTERMSIG(status));
    }
    Ok(libc::WEXITSTATUS(status))
}
