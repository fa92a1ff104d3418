//! One wrapper around every child process: arguments, bounds, output, status and time are always recorded.

use crate::reaper::Reaper;
use crate::stop::Stop;
use plimsoll_model::{Trouble, TroubleKind};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallStatus {
    /// It exited with this status.
    Exited(i32),
    /// A signal ended it.
    Signaled(i32),
    /// It did not end within its deadline and was killed.
    Deadline,
    /// It wrote more than the work directory holds and was killed.
    Flood,
}

impl std::fmt::Display for CallStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit {code}"),
            Self::Signaled(signal) => write!(f, "signal {signal}"),
            Self::Deadline => f.write_str("no end within the deadline"),
            Self::Flood => f.write_str("output beyond the limit"),
        }
    }
}

/// A finished call.
#[derive(Debug, Clone)]
pub struct Call {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// How it ended.
    pub status: CallStatus,
    /// Standard output, shortened to the capture limit.
    pub stdout: String,
    /// Standard error, shortened to the capture limit.
    pub stderr: String,
    /// From before the spawn to after the wait.
    pub duration: Duration,
}

impl Call {
    /// Whether it exited with 0.
    pub fn succeeded(&self) -> bool {
        self.status == CallStatus::Exited(0)
    }

    /// The verb and what came of it, for messages.
    pub fn describe(&self) -> String {
        let tail = self.stderr.trim().lines().last().unwrap_or_default();
        if tail.is_empty() { self.status.to_string() } else { format!("{}: {tail}", self.status) }
    }

    /// A violation unless the call succeeded.
    pub fn must_succeed(&self) -> Result<&Self, Stop> {
        if self.succeeded() {
            Ok(self)
        } else {
            Err(Stop::violation("the operation succeeds", self.describe()))
        }
    }

    /// A violation unless the call failed in the way that a runtime reports errors: it ended by itself, within its
    /// deadline, with a status other than 0. A crash, a hang or a flood is no clean failure.
    pub fn must_fail(&self) -> Result<&Self, Stop> {
        match self.status {
            CallStatus::Exited(code) if code != 0 => Ok(self),
            _ => Err(Stop::violation(
                "the operation fails with an error of its own (exit status other than 0)",
                self.describe(),
            )),
        }
    }

    /// Trouble unless the call succeeded: for steps that only prepare.
    pub fn ready(&self, step: &str) -> Result<&Self, Stop> {
        if self.succeeded() { Ok(self) } else { Err(Stop::setup(format!("{step}: {}", self.describe()))) }
    }
}

/// A call that is about to be made.
#[derive(Debug)]
pub struct Exec {
    program: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    cwd: PathBuf,
    stdin: Option<Vec<u8>>,
    fds: Vec<(OwnedFd, RawFd)>,
    deadline: Duration,
    capture: u64,
    output: PathBuf,
}

impl Exec {
    /// `output` is the stem of the files that take standard output (`.out`) and standard error (`.err`). Files rather
    /// than pipes: a container or a leaked process that still holds them cannot make the harness wait.
    pub fn new(program: &Path, output: PathBuf) -> Self {
        Self {
            program: program.to_owned(),
            args: Vec::new(),
            env: vec![
                ("PATH".into(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()),
                ("HOME".into(), "/root".into()),
                ("LC_ALL".into(), "C".into()),
            ],
            cwd: PathBuf::from("/"),
            stdin: None,
            fds: Vec::new(),
            deadline: Duration::from_secs(10),
            capture: 64 << 10,
            output,
        }
    }

    /// Appends arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds to the environment.
    #[must_use]
    pub fn env(mut self, env: &[(String, String)]) -> Self {
        self.env.extend_from_slice(env);
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn cwd(mut self, cwd: &Path) -> Self {
        cwd.clone_into(&mut self.cwd);
        self
    }

    /// Gives the child this on standard input instead of /dev/null.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Places a descriptor at a number above 2 in the child.
    #[must_use]
    pub fn fd(mut self, fd: OwnedFd, number: RawFd) -> Self {
        self.fds.push((fd, number));
        self
    }

    /// Sets the bounds.
    #[must_use]
    pub fn bounds(mut self, deadline: Duration, capture_bytes: u64) -> Self {
        self.deadline = deadline;
        self.capture = capture_bytes;
        self
    }

    /// Runs it to its end or to its deadline. Spawning trouble is trouble; all else is in the [`Call`].
    pub async fn run(self, reaper: &Reaper) -> Result<Call, Stop> {
        self.spawn(reaper)?.wait().await
    }

    /// Starts it; the caller waits later.
    pub fn spawn(self, reaper: &Reaper) -> Result<Running, Stop> {
        let argv =
            std::iter::once(self.program.display().to_string()).chain(self.args.iter().cloned()).collect();
        let (out_path, err_path) = (self.output.with_extension("out"), self.output.with_extension("err"));
        let append = |path: &Path| fs::OpenOptions::new().create(true).append(true).open(path);
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .env_clear()
            .envs(self.env)
            .current_dir(&self.cwd)
            .stdout(append(&out_path)?)
            .stderr(append(&err_path)?)
            .process_group(0);
        match self.stdin {
            None => command.stdin(Stdio::null()),
            Some(bytes) => {
                let mut file = tempfile_in(&self.output)?;
                file.write_all(&bytes)?;
                file.seek(SeekFrom::Start(0))?;
                command.stdin(file)
            }
        };
        crate::sys::pass_fds(&mut command, self.fds);
        let start = Instant::now();
        let child = command.spawn().map_err(|e| {
            let what = format!("cannot execute {}: {e}", self.program.display());
            Stop::Trouble(
                Trouble::new(TroubleKind::Setup, what).hint("check that the target is an executable file"),
            )
        })?;
        let pid = child.id().unwrap_or_default() as i32;
        reaper.adopt(pid);
        let (deadline, capture) = (self.deadline, self.capture);
        Ok(Running { child, pid, argv, out_path, err_path, start, deadline, capture, reaper: reaper.clone() })
    }
}

fn tempfile_in(stem: &Path) -> Result<File, Stop> {
    let path = stem.with_extension("in");
    Ok(fs::OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path)?)
}

/// A call that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    pid: i32,
    argv: Vec<String>,
    out_path: PathBuf,
    err_path: PathBuf,
    start: Instant,
    deadline: Duration,
    capture: u64,
    reaper: Reaper,
}

/// What a runtime may write before it counts as a flood, in bytes.
const FLOOD_BYTES: u64 = 32 << 20;
/// How long a process may take to obey SIGTERM.
const GRACE: Duration = Duration::from_millis(500);

impl Running {
    /// Process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Standard output so far.
    pub fn stdout_so_far(&self) -> Result<String, Stop> {
        capture(&self.out_path, self.capture)
    }

    /// Waits for the end; at the deadline SIGTERM, then SIGKILL to the whole process group.
    pub async fn wait(mut self) -> Result<Call, Stop> {
        let status = loop {
            let left = self.deadline.saturating_sub(self.start.elapsed());
            let tick = left.min(Duration::from_millis(100));
            match tokio::time::timeout(tick, self.child.wait()).await {
                Ok(Ok(status)) => break finished(status),
                Ok(Err(e)) => return Err(Stop::host("waiting for a child", e)),
                Err(_) if self.flooded() => break self.kill(CallStatus::Flood).await,
                Err(_) if left.is_zero() => break self.kill(CallStatus::Deadline).await,
                Err(_) => {}
            }
        };
        let duration = self.start.elapsed();
        self.reaper.release(self.pid);
        let (stdout, stderr) =
            (capture(&self.out_path, self.capture)?, capture(&self.err_path, self.capture)?);
        Ok(Call { argv: self.argv, status, stdout, stderr, duration })
    }

    fn flooded(&self) -> bool {
        let size = |p: &Path| fs::metadata(p).map_or(0, |m| m.len());
        size(&self.out_path) + size(&self.err_path) > FLOOD_BYTES
    }

    async fn kill(&mut self, why: CallStatus) -> CallStatus {
        let group = nix::unistd::Pid::from_raw(self.pid);
        let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGTERM);
        if tokio::time::timeout(GRACE, self.child.wait()).await.is_err() {
            let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
            let _ = tokio::time::timeout(GRACE, self.child.wait()).await;
        }
        why
    }
}

fn finished(status: std::process::ExitStatus) -> CallStatus {
    match (status.code(), status.signal()) {
        (Some(code), _) => CallStatus::Exited(code),
        (None, signal) => CallStatus::Signaled(signal.unwrap_or_default()),
    }
}

/// The head and the tail of a file, as text; says how much is left out between them.
pub fn capture(path: &Path, limit: u64) -> Result<String, Stop> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(e) => return Err(e.into()),
    };
    let size = file.metadata()?.len();
    let mut head = Vec::new();
    Read::by_ref(&mut file).take(limit).read_to_end(&mut head)?;
    let mut text = String::from_utf8_lossy(&head).into_owned();
    if size > 2 * limit {
        let left_out = size - 2 * limit;
        text.extend(["\n[... ", &left_out.to_string(), " bytes left out ...]\n"]);
    }
    if size > limit {
        file.seek(SeekFrom::Start(limit.max(size.saturating_sub(limit))))?;
        let mut tail = Vec::new();
        file.take(limit).read_to_end(&mut tail)?;
        text.push_str(&String::from_utf8_lossy(&tail));
    }
    Ok(text)
}
