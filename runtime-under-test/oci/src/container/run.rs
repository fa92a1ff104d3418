//! `run`: create and start in one call, and in the foreground stay until the program ends.

use super::create::{self, Request};
use super::{ops, teardown};
use crate::error::{Context, Result};
use crate::log;
use crate::sys;
use rustix::event::{PollFd, PollFlags};
use rustix::termios::{OptionalActions, Termios};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How `run` goes on after the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Foreground {
    /// Return once it runs.
    pub detach: bool,
    /// Do not delete the container when it ended.
    pub keep: bool,
    /// Do not adopt orphans of the container.
    pub no_subreaper: bool,
}

/// Runs a container. The answer is the exit status of its program, 0 when detached.
pub fn run(request: &Request, how: Foreground) -> Result<i32> {
    if !how.detach && !how.no_subreaper {
        sys::set_subreaper().context("becoming a subreaper")?;
    }
    // Before the program exists: no signal to it may get lost.
    let signals = if how.detach { None } else { Some(sys::signal_fd().context("signals")?) };
    let made = create::create(request)?;
    let started = ops::start_made(&made).and_then(|()| ops::poststart(&made.store, &made.record, &made.spec));
    if let Err(e) = started {
        if made.store.exists()
            && let Err(more) = teardown::destroy(&made.store, &made.record)
        {
            log::warn(&format!("destroying the container: {more}"));
        }
        return Err(e);
    }
    let Some(signals) = signals else { return Ok(0) };
    drop(made.channel);
    let code = attend(made.record.pid, &made.pidfd, &signals, made.console.as_ref())?;
    if !how.keep {
        teardown::destroy(&made.store, &made.record)?;
    }
    Ok(code)
}

/// Forwards signals and the terminal until the process ends; returns its exit status.
pub fn attend(pid: i32, pidfd: &OwnedFd, signals: &OwnedFd, console: Option<&OwnedFd>) -> Result<i32> {
    let raw = console.map(|master| Raw::enter(master.as_fd()));
    let mut proxy = console.map(Proxy::new);
    let code = loop {
        let mut fds = vec![PollFd::new(signals, PollFlags::IN)];
        if let Some(proxy) = &proxy {
            proxy.add(&mut fds);
        }
        match rustix::event::poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        drop(fds);
        if let Some(proxy) = &mut proxy {
            proxy.pump(&ready[1..]);
        }
        if ready[0].is_empty() {
            continue;
        }
        match sys::read_signal(signals.as_fd())? {
            libc::SIGCHLD => {
                if let Some(code) = reap(pid) {
                    break code;
                }
            }
            libc::SIGWINCH => {
                if let Some(master) = console {
                    copy_size(master.as_fd());
                }
            }
            libc::SIGURG | libc::SIGPIPE => {}
            signal => {
                let _ = sys::pidfd_send_signal(pidfd.as_fd(), signal);
            }
        }
    };
    if let Some(proxy) = &mut proxy {
        proxy.rest();
    }
    drop(raw);
    Ok(code)
}

fn reap(pid: i32) -> Option<i32> {
    let mut found = None;
    while let Some((ended, code)) = sys::reap_one() {
        if ended == pid {
            found = Some(code);
        }
    }
    found
}

fn copy_size(master: BorrowedFd<'_>) {
    if let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stdin()) {
        let _ = rustix::termios::tcsetwinsize(master, size);
    }
}

/// The caller's terminal in raw mode; put back on drop.
struct Raw(Option<Termios>);

impl Raw {
    fn enter(master: BorrowedFd<'_>) -> Self {
        let stdin = rustix::stdio::stdin();
        let Ok(before) = rustix::termios::tcgetattr(stdin) else { return Self(None) };
        copy_size(master);
        let mut raw = before.clone();
        raw.make_raw();
        let _ = rustix::termios::tcsetattr(stdin, OptionalActions::Now, &raw);
        Self(Some(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, before);
        }
    }
}

/// Copies between the caller's streams and the master of the container's terminal.
struct Proxy<'a> {
    master: &'a OwnedFd,
    input: bool,
    output: bool,
}

impl<'a> Proxy<'a> {
    fn new(master: &'a OwnedFd) -> Self {
        Self { master, input: true, output: true }
    }

    fn add<'f>(&self, fds: &mut Vec<PollFd<'f>>)
    where
        'a: 'f,
    {
        let events = |wanted: bool| if wanted { PollFlags::IN } else { PollFlags::empty() };
        // A descriptor that hung up would wake the poll for ever: it is left out.
        if self.output {
            fds.push(PollFd::new(self.master, events(true)));
        }
        if self.input {
            fds.push(PollFd::from_borrowed_fd(rustix::stdio::stdin(), events(true)));
        }
    }

    fn pump(&mut self, ready: &[PollFlags]) {
        let mut ready = ready.iter();
        if self.output && ready.next().is_some_and(|r| !r.is_empty()) {
            self.output = copy(self.master.as_fd(), rustix::stdio::stdout());
        }
        if self.input && ready.next().is_some_and(|r| !r.is_empty()) {
            self.input = copy(rustix::stdio::stdin(), self.master.as_fd());
            if !self.input {
                // End of input is typed, as a terminal has no other way to say it.
                let _ = rustix::io::write(self.master, &[4]);
            }
        }
    }

    /// What the program wrote before it ended.
    fn rest(&mut self) {
        let _ = rustix::io::ioctl_fionbio(self.master, true);
        while self.output {
            self.output = copy(self.master.as_fd(), rustix::stdio::stdout());
        }
    }
}

/// Copies once; false at the end or on an error.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let mut buffer = [0u8; 8192];
    let Ok(n) = rustix::io::read(from, &mut buffer) else { return false };
    let mut rest = &buffer[..n];
    while !rest.is_empty() {
        match rustix::io::write(to, rest) {
            Ok(n) => rest = &rest[n..],
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(_) => return false,
        }
    }
    n > 0
}
