//! The node below a container: one command of this program in the file system of the node's process 1.
//!
//! A container that certifies a node's runtime needs the node's own programs, libraries and configuration. This
//! executable needs nothing but itself: it copies itself into a directory that node and container share, and starts
//! there, in the node's mount and cgroup namespaces. Without `hostPID` process 1 is the container's own, and nothing is
//! entered.

use crate::{VmError, sys};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What to run, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directory of the node that is seen here under the same path.
    pub shared: PathBuf,
    /// The executable: this one.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The command is asked to end after this time.
    pub limit: Duration,
    /// Whether to enter the namespaces of process 1.
    pub enter: bool,
}

/// After it was asked to end, the command is killed.
const GRACE: Duration = Duration::from_secs(60);

/// A command that has ended. Its directory goes when this is dropped.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; 128 and the number of a signal that ended it.
    pub code: u8,
    /// Whether SIGTERM or SIGINT came to this process meanwhile.
    pub interrupted: bool,
    /// Whether it ran in other namespaces than this process.
    pub entered: bool,
    directory: tempfile::TempDir,
}

impl Ended {
    /// Where the command wrote its results.
    pub fn results(&self) -> PathBuf {
        self.directory.path().join("out")
    }
}

/// Runs the command and waits for its end.
pub fn run(options: &Options) -> Result<Ended, VmError> {
    fs::create_dir_all(&options.shared).map_err(VmError::file("make", &options.shared))?;
    // The command starts in another directory.
    let shared = options.shared.canonicalize().map_err(VmError::file("find", &options.shared))?;
    let directory = tempfile::Builder::new()
        .prefix("run-")
        .tempdir_in(&shared)
        .map_err(VmError::file("make a directory in", &shared))?;
    let program = directory.path().join("plimsoll");
    let out = directory.path().join("out");
    fs::copy(&options.program, &program)
        .and_then(|_| fs::set_permissions(&program, PermissionsExt::from_mode(0o755)))
        .and_then(|()| fs::create_dir(&out))
        .map_err(VmError::file("write", directory.path()))?;
    let namespaces = if options.enter { foreign_namespaces()? } else { Vec::new() };
    let entered = !namespaces.is_empty();
    // Taken before the start, so that none is lost; the command gets them unblocked.
    let signals = signals()?;
    let mut command = Command::new(&program);
    command
        .args(&options.arguments)
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("PLIMSOLL_OUT", &out)
        .env("PLIMSOLL_WORK_DIR", directory.path().join("work"))
        .current_dir("/")
        .stdin(Stdio::null());
    sys::enter_namespaces(&mut command, namespaces);
    let mut child = command.spawn().map_err(|error| VmError::Program {
        program: program.display().to_string(),
        why: format!("it does not start: {error}; is {} mounted from the node?", shared.display()),
    })?;
    let (code, interrupted) = wait(&mut child, &signals, options.limit)?;
    Ok(Ended { code, interrupted, entered, directory })
}

/// Waits for SIGTERM or SIGINT.
pub fn stay() -> Result<(), VmError> {
    let signals = signals()?;
    loop {
        if let Ok(Some(_)) = signals.read_signal() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn signals() -> Result<SignalFd, VmError> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.add(Signal::SIGINT);
    set.thread_block()
        .and_then(|()| SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC))
        .map_err(|e| VmError::file("watch", Path::new("signals"))(e.into()))
}

/// The namespaces of process 1 that are not ours.
fn foreign_namespaces() -> Result<Vec<File>, VmError> {
    let mut found = Vec::new();
    // The cgroup namespace first: afterwards the mounts are the node's.
    for kind in ["cgroup", "mnt"] {
        let (own, first) = (format!("/proc/self/ns/{kind}"), format!("/proc/1/ns/{kind}"));
        let link = |path: &str| fs::read_link(path).map_err(VmError::file("read", Path::new(path)));
        if link(&own)? != link(&first)? {
            found.push(File::open(&first).map_err(VmError::file("open", Path::new(&first)))?);
        }
    }
    Ok(found)
}

fn wait(child: &mut Child, signals: &SignalFd, limit: Duration) -> Result<(u8, bool), VmError> {
    let pid = Pid::from_raw(child.id() as i32);
    let mut end = Instant::now() + limit;
    let (mut interrupted, mut asked) = (false, false);
    loop {
        let status = child.try_wait().map_err(VmError::file("wait for", Path::new("the command")))?;
        if let Some(status) = status {
            use std::os::unix::process::ExitStatusExt as _;
            let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
            return Ok((code as u8, interrupted));
        }
        let signal = matches!(signals.read_signal(), Ok(Some(_)));
        interrupted |= signal;
        if Instant::now() >= end && asked {
            let _ = child.kill();
            end += GRACE;
        } else if !asked && (signal || Instant::now() >= end) {
            asked = true;
            let _ = kill(pid, Signal::SIGTERM);
            end = Instant::now() + GRACE;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
