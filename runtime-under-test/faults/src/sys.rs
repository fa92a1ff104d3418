//! The few calls without a safe wrapper. Nothing else in this crate is unsafe.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use rustix::thread::UnshareFlags;

/// Moves this process to a copy of its mount namespace. The process must have one thread.
pub fn unshare_mounts() -> io::Result<()> {
    // SAFETY: only the mount namespace changes; no descriptor table is unshared and no other thread
    // relies on the old namespace, because this program is single-threaded until it starts the runtime.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }.map_err(Into::into)
}

/// Moves this process to fresh mount, network, UTS and IPC namespaces, as a misplaced hook would run.
pub fn unshare_for_hook() -> io::Result<()> {
    let flags = UnshareFlags::NEWNS | UnshareFlags::NEWNET | UnshareFlags::NEWUTS | UnshareFlags::NEWIPC;
    // SAFETY: as in `unshare_mounts`: single-threaded, and no flag touches memory or descriptors.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(Into::into)
}

/// Moves this process to a fresh network namespace.
pub fn unshare_network() -> io::Result<()> {
    // SAFETY: as in `unshare_mounts`.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.map_err(Into::into)
}

/// Signals that a supervisor passes on, and the one that tells of a child's end.
pub struct Signals {
    set: libc::sigset_t,
    old: libc::sigset_t,
}

/// What a wait brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A child changed state.
    Child,
    /// Another process sent this signal.
    Sent(i32),
    /// Time passed, or a signal came that the terminal sends to the whole group anyway.
    Nothing,
}

impl Signals {
    /// Blocks SIGCHLD and the signals to pass on, so that `wait` receives them.
    pub fn block() -> io::Result<Signals> {
        // SAFETY: sigset_t is plain data that sigemptyset initialises; the pointers are valid for the calls.
        unsafe {
            let mut signals = Signals { set: std::mem::zeroed(), old: std::mem::zeroed() };
            libc::sigemptyset(&raw mut signals.set);
            for signal in [
                libc::SIGCHLD,
                libc::SIGTERM,
                libc::SIGINT,
                libc::SIGHUP,
                libc::SIGQUIT,
                libc::SIGUSR1,
                libc::SIGUSR2,
            ] {
                libc::sigaddset(&raw mut signals.set, signal);
            }
            match libc::pthread_sigmask(libc::SIG_BLOCK, &raw const signals.set, &raw mut signals.old) {
                0 => Ok(signals),
                code => Err(io::Error::from_raw_os_error(code)),
            }
        }
    }

    /// Waits for one of the signals.
    pub fn wait(&self, limit: Duration) -> Event {
        let timeout = libc::timespec {
            tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(limit.subsec_nanos()),
        };
        // SAFETY: siginfo_t is plain data filled in by the call; the pointers outlive it.
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            match libc::sigtimedwait(&raw const self.set, &raw mut info, &raw const timeout) {
                libc::SIGCHLD => Event::Child,
                signal if signal > 0 && info.si_code <= 0 => Event::Sent(signal),
                _ => Event::Nothing,
            }
        }
    }

    /// Arranges that the command starts with the original mask and does not outlive this process.
    pub fn prepare(&self, command: &mut Command) {
        let old = self.old;
        // SAFETY: the closure makes two async-signal-safe calls and allocates nothing.
        unsafe {
            command.pre_exec(move || {
                libc::pthread_sigmask(libc::SIG_SETMASK, &raw const old, std::ptr::null_mut());
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(Into::into)
            });
        }
    }
}

/// Sends a signal by number.
pub fn send(pid: u32, signal: i32) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    let signal = Signal::from_named_raw(signal).ok_or(io::ErrorKind::InvalidInput)?;
    rustix::process::kill_process(pid, signal).map_err(Into::into)
}

/// Ignores SIGTERM, SIGINT and SIGHUP from now on.
pub fn ignore_termination() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        // SAFETY: SIG_IGN is a valid disposition for these signals; no handler runs.
        unsafe {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
}

/// Minor page faults of this process so far.
pub fn minor_faults() -> u64 {
    // SAFETY: rusage is plain data filled in by the call.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        u64::try_from(usage.ru_minflt).unwrap_or_default()
    }
}
