//! The system calls that cgroups need and the standard library lacks.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use libc::{c_int, c_long};

use super::bpf::Instruction;

/// Commands of `bpf(2)`.
const PROG_LOAD: c_long = 5;
const PROG_ATTACH: c_long = 8;
const PROG_DETACH: c_long = 9;
const PROG_GET_FD_BY_ID: c_long = 13;
const PROG_QUERY: c_long = 16;
/// `BPF_PROG_TYPE_CGROUP_DEVICE`.
const TYPE_CGROUP_DEVICE: u32 = 15;
/// `BPF_CGROUP_DEVICE`, the place of attachment.
const CGROUP_DEVICE: u32 = 6;
/// `BPF_F_ALLOW_MULTI`.
const ALLOW_MULTI: u32 = 2;
/// More programs than a cgroup can have attached (the kernel's limit is 64).
const MOST: usize = 64;

/// The part of `union bpf_attr` that loading uses.
#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// The part that attaching and detaching use.
#[repr(C)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

/// The part that asking for what is attached uses.
#[repr(C)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    pad: u32,
}

/// The part that opening a program by its number uses.
#[repr(C)]
struct ByIdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

fn bpf<T>(command: c_long, attr: &mut T) -> io::Result<c_long> {
    // SAFETY: `attr` is one of the structures above, of the size given, and any pointer in it is to memory that its
    // caller keeps for the call.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

fn owned(fd: c_long) -> OwnedFd {
    // SAFETY: `fd` is what a system call has just given, and nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(fd as c_int) }
}

/// Attaches a device program to a cgroup of the unified hierarchy, then detaches those that were there before.
pub(super) fn attach_device_program(dir: &Path, code: &[Instruction]) -> io::Result<()> {
    let cgroup = File::open(dir)?;
    let program = load(code)?;
    let old = attached(&cgroup)?;
    attach(PROG_ATTACH, &cgroup, &program, ALLOW_MULTI)?;
    for id in old {
        let mut attr = ByIdAttr { id, next_id: 0, open_flags: 0 };
        match bpf(PROG_GET_FD_BY_ID, &mut attr) {
            Ok(fd) => attach(PROG_DETACH, &cgroup, &owned(fd), 0)?,
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Loads a device program.
pub(super) fn load(code: &[Instruction]) -> io::Result<OwnedFd> {
    let mut name = [0; 16];
    name[..8].copy_from_slice(b"plimsoll");
    let mut attr = LoadAttr {
        prog_type: TYPE_CGROUP_DEVICE,
        insn_cnt: code.len() as u32,
        insns: code.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name: name,
        prog_ifindex: 0,
        expected_attach_type: CGROUP_DEVICE,
    };
    bpf(PROG_LOAD, &mut attr).map(owned)
}

fn attach(command: c_long, cgroup: &File, program: &OwnedFd, attach_flags: u32) -> io::Result<()> {
    let mut attr = AttachAttr {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: CGROUP_DEVICE,
        attach_flags,
        replace_bpf_fd: 0,
    };
    bpf(command, &mut attr).map(drop)
}

/// The numbers of the device programs attached to this very cgroup.
fn attached(cgroup: &File) -> io::Result<Vec<u32>> {
    let mut ids = vec![0u32; MOST];
    let mut attr = QueryAttr {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_type: CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: ids.len() as u32,
        pad: 0,
    };
    bpf(PROG_QUERY, &mut attr)?;
    ids.truncate(attr.prog_cnt as usize);
    Ok(ids)
}

/// Sends a signal to a process; one that has gone is fine.
pub(super) fn kill(pid: libc::pid_t, signal: c_int) -> io::Result<()> {
    // SAFETY: no pointers.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            e if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            e => Err(e),
        },
    }
}

/// Changes a file's owner and leaves its group.
pub(super) fn chown(path: &Path, uid: libc::uid_t) -> io::Result<()> {
    std::os::unix::fs::chown(path, Some(uid), None)
}

/// The effective user.
pub(super) fn euid() -> libc::uid_t {
    // SAFETY: no pointers, cannot fail.
    unsafe { libc::geteuid() }
}

/// A new event counter.
pub(super) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    match unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) } {
        fd if fd >= 0 => Ok(owned(c_long::from(fd))),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Waits until one of the `events` is there, or the time is over.
pub(super) fn poll(fd: BorrowedFd<'_>, events: i16, wait: Duration) -> io::Result<bool> {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    let wait = c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: one `pollfd`.
    match unsafe { libc::poll(&raw mut poll, 1, wait) } {
        n if n >= 0 => Ok(n > 0),
        _ => Err(io::Error::last_os_error()),
    }
}
