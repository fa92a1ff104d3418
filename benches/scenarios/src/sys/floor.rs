//! The floor: what the kernel alone costs to start a container-shaped process.
//!
//! A server process, forked once, makes for each request a process in new mount, pid, uts, ipc, network
//! and cgroup namespaces with the mounts of the benchmark's bundle, and executes the guest. No runtime, no
//! configuration file, no cgroup: nothing that starts a container with these properties can be faster by
//! much. The server is a process of its own so that the size and the threads of the harness cost nothing.
//!
//! Between `fork` and `execve` only system calls are made, on strings laid out beforehand: the harness may
//! have threads, and a lock of theirs would never be released in the copy.

use super::now_ns;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::ptr;

/// Everything the server and its children need, prepared before the fork.
pub struct FloorPlan {
    root: CString,
    mounts: Vec<Mount>,
    nodes: Vec<(CString, libc::dev_t)>,
    masked: Vec<CString>,
    read_only: Vec<CString>,
    argv: Vec<CString>,
}

struct Mount {
    kind: CString,
    target: CString,
    flags: libc::c_ulong,
    data: CString,
}

/// One answer of the server.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct FloorReply {
    /// Just before the process was asked for, ns.
    pub asked_ns: u64,
    /// When its end was seen, ns.
    pub ended_ns: u64,
    /// Exit code, or 128 + signal; 100 + step when the set-up failed at that step.
    pub code: i32,
    /// Error number of the server's own calls, 0 when none failed.
    pub errno: i32,
}

/// The running server.
pub struct FloorServer {
    pid: i32,
    requests: OwnedFd,
    replies: OwnedFd,
    output: OwnedFd,
}

impl FloorPlan {
    /// `root` is the prepared root file system; `argv` the guest's command line inside it.
    pub fn new(root: &Path, argv: &[&str]) -> io::Result<Self> {
        let text = |s: String| CString::new(s).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e));
        let inside = |path: &str| text(format!("{}{path}", root.display()));
        let hard = libc::MS_NOSUID | libc::MS_NOEXEC | libc::MS_NODEV;
        let mount = |kind: &str, target: &str, flags, data: &str| -> io::Result<Mount> {
            Ok(Mount { kind: text(kind.into())?, target: inside(target)?, flags, data: text(data.into())? })
        };
        Ok(Self {
            root: text(root.display().to_string())?,
            mounts: vec![
                mount("proc", "/proc", 0, "")?,
                mount("tmpfs", "/dev", libc::MS_NOSUID | libc::MS_STRICTATIME, "mode=755,size=65536k")?,
                mount(
                    "devpts",
                    "/dev/pts",
                    libc::MS_NOSUID | libc::MS_NOEXEC,
                    "newinstance,ptmxmode=0666,mode=0620",
                )?,
                mount("tmpfs", "/dev/shm", hard, "mode=1777,size=65536k")?,
                mount("mqueue", "/dev/mqueue", hard, "")?,
                mount("sysfs", "/sys", hard | libc::MS_RDONLY, "")?,
            ],
            nodes: [
                ("null", 1, 3),
                ("zero", 1, 5),
                ("full", 1, 7),
                ("random", 1, 8),
                ("urandom", 1, 9),
                ("tty", 5, 0),
            ]
            .iter()
            .map(|(name, major, minor)| Ok((inside(&format!("/dev/{name}"))?, libc::makedev(*major, *minor))))
            .collect::<io::Result<_>>()?,
            masked: crate::bundle::MASKED_PATHS
                .iter()
                .map(|p| text((*p).into()))
                .collect::<io::Result<_>>()?,
            read_only: crate::bundle::READ_ONLY_PATHS
                .iter()
                .map(|p| text((*p).into()))
                .collect::<io::Result<_>>()?,
            argv: argv.iter().map(|a| text((*a).into())).collect::<io::Result<_>>()?,
        })
    }
}

impl FloorServer {
    /// Forks the server.
    pub fn start(plan: &FloorPlan) -> io::Result<Self> {
        let (request_read, request_write) = pipe()?;
        let (reply_read, reply_write) = pipe()?;
        let (output_read, output_write) = pipe()?;
        rustix::io::ioctl_fionbio(&output_read, true)?;
        let argv: Vec<*const libc::c_char> =
            plan.argv.iter().map(|a| a.as_ptr()).chain([ptr::null()]).collect();
        // SAFETY: the child only makes system calls on memory prepared above (see `serve`) and never returns.
        let pid = unsafe { libc::fork() };
        match pid {
            -1 => Err(io::Error::last_os_error()),
            0 => serve(
                plan,
                &argv,
                request_read.as_raw_fd(),
                reply_write.as_raw_fd(),
                output_write.as_raw_fd(),
                // The server must see the end of the requests, so it may not hold their writing end.
                [request_write.as_raw_fd(), reply_read.as_raw_fd(), output_read.as_raw_fd()],
            ),
            _ => Ok(Self { pid, requests: request_write, replies: reply_read, output: output_read }),
        }
    }

    /// One start; `Ok(None)` when no answer came within `timeout_ms`. The second part is what the guest wrote.
    pub fn lifecycle(&self, timeout_ms: u64) -> io::Result<Option<(FloorReply, Vec<u8>)>> {
        let mut stale = [0_u8; 512];
        while rustix::io::read(&self.output, &mut stale[..]).is_ok_and(|n| n > 0) {}
        rustix::io::write(&self.requests, b"r")?;
        let deadline = now_ns() + timeout_ms * 1_000_000;
        let mut none = Some(0);
        let seen = super::process::await_exit(&self.replies, None, &mut none, deadline)?;
        if seen.is_none() {
            return Ok(None);
        }
        let mut raw = [0_u8; size_of::<FloorReply>()];
        if rustix::io::read(&self.replies, &mut raw[..])? != raw.len() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        let word = |at: usize| u64::from_ne_bytes(std::array::from_fn(|i| raw[at + i]));
        let half = |at: usize| i32::from_ne_bytes(std::array::from_fn(|i| raw[at + i]));
        let reply = FloorReply { asked_ns: word(0), ended_ns: word(8), code: half(16), errno: half(20) };
        let mut output = [0_u8; 512];
        let got = rustix::io::read(&self.output, &mut output[..]).unwrap_or(0);
        Ok(Some((reply, output[..got].to_vec())))
    }
}

impl Drop for FloorServer {
    fn drop(&mut self) {
        // SAFETY: our own child, not yet waited for, so the id cannot belong to anybody else.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, ptr::null_mut(), 0);
        }
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

/// The server's loop. Runs after `fork`: system calls only.
fn serve(
    plan: &FloorPlan,
    argv: &[*const libc::c_char],
    requests: RawFd,
    replies: RawFd,
    output: RawFd,
    close: [RawFd; 3],
) -> ! {
    // SAFETY: system calls on valid descriptors and on memory of this copy of the address space; no
    // allocation, no lock, no return.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        for fd in close {
            libc::close(fd);
        }
        let mut byte = 0_u8;
        while libc::read(requests, (&raw mut byte).cast(), 1) == 1 {
            let mut reply = FloorReply { asked_ns: now_ns(), ..FloorReply::default() };
            let flags = libc::CLONE_NEWNS
                | libc::CLONE_NEWPID
                | libc::CLONE_NEWUTS
                | libc::CLONE_NEWIPC
                | libc::CLONE_NEWNET
                | libc::CLONE_NEWCGROUP;
            let mut args: libc::clone_args = std::mem::zeroed();
            args.flags = flags as u64;
            args.exit_signal = libc::SIGCHLD as u64;
            let pid = libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) as i32;
            if pid == 0 {
                let step = enter(plan, argv, output);
                libc::_exit(100 + step);
            }
            if pid < 0 {
                reply.errno = *libc::__errno_location();
            } else {
                let mut status = 0;
                while libc::waitpid(pid, &raw mut status, 0) < 0 && *libc::__errno_location() == libc::EINTR {
                }
                reply.code = if libc::WIFSIGNALED(status) {
                    128 + libc::WTERMSIG(status)
                } else {
                    libc::WEXITSTATUS(status)
                };
            }
            reply.ended_ns = now_ns();
            libc::write(replies, (&raw const reply).cast(), size_of::<FloorReply>());
        }
        libc::_exit(0)
    }
}

/// Inside the new namespaces: mounts, pivot, exec. Returns the number of the step that failed.
///
/// # Safety
/// Only for the child of the server's `clone3`.
unsafe fn enter(plan: &FloorPlan, argv: &[*const libc::c_char], output: RawFd) -> i32 {
    let slash = c"/".as_ptr();
    let dot = c".".as_ptr();
    let null = ptr::null();
    // SAFETY: all pointers are to NUL-terminated strings of the plan; failures are returned, not ignored,
    // except for masked and read-only paths that this kernel does not have.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::mount(null, slash, null, libc::MS_REC | libc::MS_SLAVE, ptr::null()) != 0 {
            return 1;
        }
        let root = plan.root.as_ptr();
        if libc::mount(root, root, null, libc::MS_BIND | libc::MS_REC, ptr::null()) != 0 {
            return 2;
        }
        for (i, mount) in plan.mounts.iter().enumerate() {
            // The directories of /dev's own mounts exist only once its tmpfs is there.
            if i > 1 && i < 5 {
                libc::mkdir(mount.target.as_ptr(), 0o755);
            }
            let kind = mount.kind.as_ptr();
            if libc::mount(kind, mount.target.as_ptr(), kind, mount.flags, mount.data.as_ptr().cast()) != 0 {
                return 3;
            }
        }
        for (path, device) in &plan.nodes {
            if libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o666, *device) != 0 {
                return 4;
            }
        }
        if libc::chdir(root) != 0
            || libc::syscall(libc::SYS_pivot_root, dot, dot) != 0
            || libc::umount2(dot, libc::MNT_DETACH) != 0
            || libc::chdir(slash) != 0
        {
            return 5;
        }
        hide(&plan.masked, &plan.read_only);
        if libc::dup2(output, 1) < 0 || libc::dup2(output, 2) < 0 {
            return 6;
        }
        libc::execve(argv[0], argv.as_ptr(), [ptr::null()].as_ptr());
    }
    7
}

/// Masks and write-protects paths as the bundle asks the runtimes to.
///
/// # Safety
/// Only for the child of the server's `clone3`, after the pivot.
unsafe fn hide(masked: &[CString], read_only: &[CString]) {
    let null: *const libc::c_char = ptr::null();
    let tmpfs: &CStr = c"tmpfs";
    // SAFETY: valid strings; a path that does not exist is skipped as the specification has it.
    unsafe {
        for path in masked {
            let path = path.as_ptr();
            if libc::mount(c"/dev/null".as_ptr(), path, null, libc::MS_BIND, ptr::null()) != 0
                && *libc::__errno_location() == libc::ENOTDIR
            {
                libc::mount(tmpfs.as_ptr(), path, tmpfs.as_ptr(), libc::MS_RDONLY, ptr::null());
            }
        }
        for path in read_only {
            let path = path.as_ptr();
            if libc::mount(path, path, null, libc::MS_BIND | libc::MS_REC, ptr::null()) == 0 {
                let flags = libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY;
                libc::mount(
                    null,
                    path,
                    null,
                    flags | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC,
                    ptr::null(),
                );
            }
        }
    }
}
