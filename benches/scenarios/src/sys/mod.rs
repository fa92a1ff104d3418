//! The only place of this crate with `unsafe`: starting processes, their resource usage, the floor.
#![allow(unsafe_code)]

pub mod floor;
pub mod process;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// `CLOCK_MONOTONIC` in nanoseconds: the one clock of every host stamp.
pub fn now_ns() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// When the first signal came, ns; 0 before.
static SINCE: AtomicU64 = AtomicU64::new(0);
/// One request may arrive as several signals (`timeout` signals the process and then its group).
const SAME_REQUEST_NS: u64 = 1_000_000_000;

extern "C" fn on_signal(_: libc::c_int) {
    // `clock_gettime` is async-signal-safe. A second request means "now".
    let now = now_ns();
    if !INTERRUPTED.swap(true, Ordering::SeqCst) {
        SINCE.store(now, Ordering::SeqCst);
    } else if now.saturating_sub(SINCE.load(Ordering::SeqCst)) > SAME_REQUEST_NS {
        // SAFETY: `_exit` is async-signal-safe and takes any status.
        unsafe { libc::_exit(130) };
    }
}

/// Makes SIGINT and SIGTERM set [`interrupted`] once, so that a run can clean up; a
/// second one, later than a second after the first, ends the process.
pub fn catch_interrupts() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only touches an atomic and calls `_exit`, both async-signal-safe.
        unsafe { libc::signal(signal, on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t) };
    }
}

/// Whether [`catch_interrupts`] saw a signal.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// SIGTERM and SIGINT, blocked in the calling thread so that they can be waited for.
pub struct Term(libc::sigset_t);

impl Term {
    /// Blocks the two signals.
    pub fn block() -> Self {
        let mut set = std::mem::MaybeUninit::uninit();
        // SAFETY: `sigemptyset` initialises the set before anything reads it.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM);
            libc::sigaddset(set.as_mut_ptr(), libc::SIGINT);
            libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
            Self(set.assume_init())
        }
    }

    /// Returns when one of them has arrived.
    pub fn wait(&self) {
        let mut signal = 0;
        // SAFETY: the set was initialised in `block`, and `signal` is valid for writes.
        unsafe { libc::sigwait(&raw const self.0, &raw mut signal) };
    }
}

/// A descriptor that the loop of the calling thread watches for input.
pub fn watched(fd: std::os::fd::OwnedFd) -> std::io::Result<tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>> {
    // SAFETY: the descriptor is owned by what is returned, and so stays open and the same for all its life.
    let registered = unsafe { tokio::io::unix::AsyncFd::register(fd) };
    registered.map_err(std::io::Error::from)
}

/// Puts the calling thread, and so what it starts, into `SCHED_FIFO` priority 1.
pub fn become_fifo() -> std::io::Result<()> {
    let param = libc::sched_param { sched_priority: 1 };
    // SAFETY: pid 0 is the calling thread and `param` outlives the call.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const param) } == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

/// Gives the calling thread a mount namespace of its own; what it starts inherits it.
pub fn private_mounts() -> std::io::Result<()> {
    // SAFETY: no descriptor table is unshared (that is the flag with a safety condition); a new mount
    // namespace and file-system context for this thread only changes what later path look-ups mean.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }?;
    Ok(())
}
