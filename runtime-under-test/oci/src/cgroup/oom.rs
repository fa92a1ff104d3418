//! The kernel's OOM killer at work in a container.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::layout::write_file;
use super::{Cgroup, Error, sys};

/// The notice comes when memory has run out, the count goes up when a process was killed for it: how long and how often
/// to look for that.
const COUNT_STEP: Duration = Duration::from_millis(10);
const COUNT_STEPS: i32 = 100;

/// Waits for the OOM killer, see [`Cgroup::oom_watch`].
#[derive(Debug)]
pub struct OomWatch {
    /// v1: an event counter. v2: the open `memory.events`.
    file: File,
    /// What `poll` reports.
    events: i16,
    count_file: PathBuf,
    seen: u64,
}

impl OomWatch {
    /// A descriptor for the caller's own `poll`, with [`OomWatch::poll_events`].
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// `POLLIN` or `POLLPRI`.
    pub fn poll_events(&self) -> i16 {
        self.events
    }

    /// Waits at most `wait` for a kill that was not reported yet; how many there were.
    ///
    /// # Errors
    /// The errno of `poll`, or of reading when the cgroup is gone.
    pub fn wait(&mut self, wait: Duration) -> io::Result<u64> {
        let end = Instant::now() + wait;
        let mut soon = 0;
        loop {
            let count = oom_count(&crate::files::read_kernel(&self.count_file)?);
            if count > self.seen {
                return Ok(count - std::mem::replace(&mut self.seen, count));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(0);
            }
            let step = if soon > 0 { left.min(COUNT_STEP) } else { left };
            soon -= i32::from(soon > 0);
            match sys::poll(self.file.as_fd(), self.events, step) {
                Ok(true) => {
                    self.rearm();
                    soon = COUNT_STEPS;
                }
                Ok(false) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Takes the notice away, so that the next `poll` waits for the next one. It must be read from this very file.
    fn rearm(&self) {
        let mut bytes = [0; 4096];
        let _ = if self.events == libc::POLLIN {
            (&self.file).read(&mut bytes)
        } else {
            self.file.read_at(&mut bytes, 0)
        };
    }
}

/// The number after `oom_kill` in `memory.events` (v2) or `memory.oom_control` (v1, since Linux 4.13).
fn oom_count(text: &str) -> u64 {
    text.lines().find_map(|l| l.strip_prefix("oom_kill ")).and_then(|n| n.trim().parse().ok()).unwrap_or(0)
}

impl Cgroup {
    fn oom_file(&self) -> Result<PathBuf, Error> {
        if let Some(dir) = self.v1_dir("memory") {
            return Ok(dir.join("memory.oom_control"));
        }
        let file = self.unified().map(|n| n.dir().join("memory.events")).filter(|f| f.exists());
        file.ok_or_else(|| {
            Error::Unsupported("the container has no memory controller to count OOM kills".into())
        })
    }

    /// The number of processes that the OOM killer has ended in the container so far.
    ///
    /// # Errors
    /// [`Error::Unsupported`] without a memory controller, [`Error::Io`] when the cgroup is gone.
    pub fn oom_kills(&self) -> Result<u64, Error> {
        let path = self.oom_file()?;
        match crate::files::read_kernel(&path) {
            Ok(text) => Ok(oom_count(&text)),
            Err(source) => Err(Error::Io { what: "read".into(), path, source }),
        }
    }

    /// Watches for OOM kills from now on.
    ///
    /// # Errors
    /// As [`Cgroup::oom_kills`].
    pub fn oom_watch(&self) -> Result<OomWatch, Error> {
        let count_file = self.oom_file()?;
        let io_error = |source| Error::Io { what: "watch".into(), path: count_file.clone(), source };
        let seen = self.oom_kills()?;
        let control = File::open(&count_file).map_err(io_error)?;
        let Some(dir) = self.v1_dir("memory") else {
            let watch = OomWatch { file: control, events: libc::POLLPRI, count_file, seen };
            watch.rearm();
            return Ok(watch);
        };
        let fd = sys::eventfd().map_err(io_error)?;
        let line = format!("{} {}", fd.as_raw_fd(), control.as_raw_fd());
        write_file(&dir.join("cgroup.event_control"), &line).map_err(io_error)?;
        Ok(OomWatch { file: fd.into(), events: libc::POLLIN, count_file, seen })
    }
}
