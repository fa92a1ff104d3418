//! Running hooks (config.md "POSIX-platform Hooks").
//!
//! Each hook gets the state of the container on its standard input, runs in a process group of its own
//! and, when its time is over, is killed with that whole group.

use crate::bail;
use crate::config::Hook;
use crate::error::{Context, Error, Result};
use crate::sys::{self, CloneArgs, Forked};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pipe::PipeFlags;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// How much of a failed hook's standard error is quoted, bytes.
const MAX_QUOTE: usize = 4096;

/// Runs the hooks of one list in order ("MUST be called in the listed order"). The first failure ends it.
pub fn run(list: &'static str, hooks: &[Hook], state: &str, default_env: &[CString]) -> Result<()> {
    for (i, hook) in hooks.iter().enumerate() {
        one(hook, state, default_env).with_context(|| format!("{list} hook #{i} ({})", hook.path))?;
    }
    Ok(())
}

/// Runs all hooks of a list whatever happens, and returns the failures ("the remaining hooks and lifecycle
/// continue as if the hook had succeeded").
pub fn run_all(list: &'static str, hooks: &[Hook], state: &str) -> Vec<Error> {
    let numbered = hooks.iter().enumerate();
    numbered
        .filter_map(|(i, h)| {
            one(h, state, &[]).err().map(|e| e.wrap(format!("{list} hook #{i} ({})", h.path)))
        })
        .collect()
}

fn one(hook: &Hook, state: &str, default_env: &[CString]) -> Result<()> {
    let c = |s: &String| CString::new(s.as_bytes()).map_err(|_| Error::new("holds a NUL byte"));
    let path = c(&hook.path)?;
    let argv = match hook.args.as_ref() {
        Some(args) if !args.is_empty() => args.iter().map(c).collect::<Result<Vec<_>>>()?,
        _ => vec![path.clone()],
    };
    let env = match hook.env.as_ref() {
        Some(env) => env.iter().map(c).collect::<Result<Vec<_>>>()?,
        None => default_env.to_vec(),
    };
    let stdin = pipe()?;
    let stderr = pipe()?;
    match sys::clone3(&CloneArgs::default()).context("fork")? {
        Forked::Child => {
            let e = child(&stdin.0, &stderr.1, &path, &argv, &env);
            eprintln!("{e}");
            sys::exit_now(127)
        }
        Forked::Parent { pid, pidfd } => {
            drop(stdin.0);
            drop(stderr.1);
            let deadline = hook.timeout.map(|s| Instant::now() + Duration::from_secs(s.unsigned_abs()));
            let watched = watch(&pidfd, stdin.1, &stderr.0, state, deadline);
            if !matches!(watched, Ok((true, _))) {
                let _ = sys::kill(-pid, libc::SIGKILL);
                let _ = sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
            }
            let code = sys::wait_pid(pid)?;
            let (ended, quote) = watched?;
            if !ended {
                bail!("timed out after {} s and was killed", hook.timeout.unwrap_or_default());
            }
            match code {
                0 => Ok(()),
                _ => bail!("exit status {code}{}", quoted(&quote)),
            }
        }
    }
}

fn quoted(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    if text.trim().is_empty() { String::new() } else { format!(", stderr: {}", text.trim()) }
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?)
}

fn child(stdin: &OwnedFd, stderr: &OwnedFd, path: &CString, argv: &[CString], env: &[CString]) -> Error {
    sys::reset_signals();
    let _ = rustix::process::setpgid(None, None);
    let streams = || -> Result<()> {
        rustix::stdio::dup2_stdin(stdin)?;
        rustix::stdio::dup2_stdout(stderr)?;
        rustix::stdio::dup2_stderr(stderr)?;
        sys::cloexec_from(3)?;
        Ok(())
    };
    match streams() {
        Ok(()) => Error::from(sys::exec(path, argv, env)),
        Err(e) => e,
    }
}

/// Feeds the state, collects standard error and waits for the end. The flag is false when the deadline
/// came first. Descriptors that a grandchild keeps open do not matter: the end of the hook decides.
fn watch(
    pidfd: &OwnedFd,
    stdin: OwnedFd,
    stderr: &OwnedFd,
    state: &str,
    deadline: Option<Instant>,
) -> Result<(bool, Vec<u8>)> {
    let (mut stdin, mut rest) = (Some(stdin), state.as_bytes());
    if let Some(fd) = &stdin {
        rustix::io::ioctl_fionbio(fd, true)?;
    }
    rustix::io::ioctl_fionbio(stderr, true)?;
    let (mut quote, mut open) = (Vec::new(), true);
    loop {
        let left = match deadline.map(|d| d.checked_duration_since(Instant::now())) {
            None => None,
            Some(Some(left)) => {
                Some(Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) })
            }
            Some(None) => return Ok((false, quote)),
        };
        let mut fds = vec![PollFd::new(pidfd, PollFlags::IN)];
        if open {
            fds.push(PollFd::new(stderr, PollFlags::IN));
        }
        if let Some(fd) = &stdin {
            fds.push(PollFd::new(fd, PollFlags::OUT));
        }
        match rustix::event::poll(&mut fds, left.as_ref()) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let ended = !fds[0].revents().is_empty();
        drop(fds);
        open = open && drain(stderr, &mut quote);
        if ended {
            return Ok((true, quote));
        }
        if let Some(fd) = &stdin {
            match rustix::io::write(fd, rest) {
                Ok(n) => rest = &rest[n..],
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                // A hook need not read its state: a closed pipe is no failure.
                Err(_) => rest = &[],
            }
        }
        if rest.is_empty() {
            stdin = None;
        }
    }
}

/// Reads what is there; false at the end of the stream. Keeps the first bytes only.
fn drain(from: &OwnedFd, quote: &mut Vec<u8>) -> bool {
    let mut buffer = [0u8; 4096];
    loop {
        match rustix::io::read(from, &mut buffer) {
            Ok(0) => return false,
            Ok(n) => quote.extend_from_slice(&buffer[..n.min(MAX_QUOTE.saturating_sub(quote.len()))]),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return true,
        }
    }
}
