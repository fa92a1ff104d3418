//! Talking to an OCI runtime binary by its command line, the one that runc made common.

pub mod resources;
pub mod seccomp;
pub mod signal;
pub mod spec;

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::{Context as _, Error, Result};
use crate::monitor::container::error_text;
use crate::util;

/// One handler.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// Handler name.
    pub name: String,
    /// The binary.
    pub path: PathBuf,
    /// Global flags.
    pub args: Vec<String>,
    /// Its `--root`.
    pub root: PathBuf,
    /// Limit of one call.
    pub limit: Duration,
    /// It mounts recursively read-only.
    pub rro: bool,
}

impl Runtime {
    /// Command line up to the command's name, with a JSON log.
    fn base(&self, log: &Path) -> Vec<String> {
        let mut argv = vec![self.path.display().to_string()];
        argv.extend(self.args.iter().cloned());
        argv.extend(["--root".into(), self.root.display().to_string()]);
        argv.extend(["--log".into(), log.display().to_string(), "--log-format".into(), "json".into()]);
        argv
    }

    /// Command line of `create` for the bundle `dir`.
    pub fn create_argv(&self, id: &str, dir: &Path, console: Option<&Path>) -> Vec<String> {
        let mut argv = self.base(&dir.join("runtime.log"));
        argv.extend(["create".into(), "--bundle".into(), dir.display().to_string()]);
        argv.extend(["--pid-file".into(), dir.join("init.pid").display().to_string()]);
        if let Some(console) = console {
            argv.extend(["--console-socket".into(), console.display().to_string()]);
        }
        argv.push(id.to_owned());
        argv
    }

    /// Command line of a detached `exec` of the process in `process`.
    pub fn exec_argv(
        &self,
        id: &str,
        process: &Path,
        pid_file: &Path,
        console: Option<&Path>,
    ) -> Vec<String> {
        let mut argv = self.base(&pid_file.with_extension("log"));
        argv.extend(["exec".into(), "--detach".into(), "--process".into(), process.display().to_string()]);
        argv.extend(["--pid-file".into(), pid_file.display().to_string()]);
        if let Some(console) = console {
            argv.extend(["--console-socket".into(), console.display().to_string()]);
        }
        argv.push(id.to_owned());
        argv
    }

    /// Runs `kill` with a signal number.
    pub fn kill(&self, dir: &Path, id: &str, signal: i32) -> Result<()> {
        self.call_words(dir, &["kill", id, &signal.to_string()]).map(drop)
    }

    /// Runs `command` with the container id last.
    pub fn call(&self, dir: &Path, command: &[&str], id: &str) -> Result<String> {
        let words: Vec<&str> = command.iter().copied().chain([id]).collect();
        self.call_words(dir, &words)
    }

    fn call_words(&self, dir: &Path, command: &[&str]) -> Result<String> {
        // One log per call: calls for one container may overlap.
        let log = dir.join(format!("call-{}.log", util::hex(&util::random_bytes::<4>()?)));
        let mut argv = self.base(&log);
        argv.extend(command.iter().map(|word| (*word).to_owned()));
        let done = run(&argv, None, self.limit)?;
        let text = if done.code == 0 { String::new() } else { error_text(&log, done.stderr.trim()) };
        let _ = std::fs::remove_file(&log);
        if done.code == 0 {
            Ok(done.stdout)
        } else {
            Err(Error::internal(format!("{} {}: {text}", self.name, command.first().unwrap_or(&""))))
        }
    }

    /// Runs `update --resources -` with this JSON.
    pub fn update(&self, dir: &Path, id: &str, resources: &serde_json::Value) -> Result<()> {
        let log = dir.join("update.log");
        let mut argv = self.base(&log);
        argv.extend(["update".into(), "--resources".into(), "-".into(), id.to_owned()]);
        let done = run(&argv, Some(resources.to_string().into_bytes()), self.limit)?;
        let text = error_text(&log, done.stderr.trim());
        let _ = std::fs::remove_file(&log);
        if done.code == 0 { Ok(()) } else { Err(Error::internal(format!("{} update: {text}", self.name))) }
    }

    /// The `features` document, where the runtime has the command.
    pub fn features(&self) -> Option<serde_json::Value> {
        let argv = vec![self.path.display().to_string(), "features".into()];
        let done = run(&argv, None, Duration::from_secs(5)).ok()?;
        (done.code == 0).then(|| serde_json::from_str(&done.stdout).ok())?
    }
}

/// What a finished program left.
pub struct Done {
    /// Exit code; 128 + signal if it was killed.
    pub code: i32,
    /// Standard output, at most 1 MiB.
    pub stdout: String,
    /// Standard error, at most 1 MiB.
    pub stderr: String,
}

/// Runs a program with bounded time and output.
pub fn run(argv: &[String], input: Option<Vec<u8>>, limit: Duration) -> Result<Done> {
    run_with(argv, &[], input, limit)
}

/// Runs a program with further environment variables, bounded time and output.
pub fn run_with(
    argv: &[String],
    env: &[(String, String)],
    input: Option<Vec<u8>>,
    limit: Duration,
) -> Result<Done> {
    let program = argv.first().ok_or_else(|| Error::internal("empty command line"))?;
    let mut command = Command::new(program);
    command.args(&argv[1..]).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.envs(env.iter().map(|(k, v)| (k, v)));
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.spawn().doing(format_args!("starting {program}"))?;
    if let (Some(bytes), Some(mut pipe)) = (input, child.stdin.take()) {
        // Small documents: they fit the pipe.
        let _ = std::io::Write::write_all(&mut pipe, &bytes);
    }
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let until = Instant::now() + limit;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    // Ends when both pipes are closed or the program has ended: something it left may hold a pipe open.
    let pidfd = rustix::process::Pid::from_raw(child.id() as i32)
        .and_then(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok());
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::deadline(format!(
                "{program} did not finish in {} s; it was killed",
                limit.as_secs()
            )));
        }
        let ended = child.try_wait().doing("waiting for a program")?;
        drain(&mut out, &mut stdout);
        drain(&mut err, &mut stderr);
        if let Some(status) = ended {
            let code = std::os::unix::process::ExitStatusExt::signal(&status)
                .map_or_else(|| status.code().unwrap_or(255), |s| 128 + s);
            return Ok(Done { code, stdout: lossy(&stdout), stderr: lossy(&stderr) });
        }
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(3);
        if let Some(pipe) = &out {
            fds.push(PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN));
        }
        if let Some(pipe) = &err {
            fds.push(PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN));
        }
        if let Some(fd) = &pidfd {
            fds.push(PollFd::new(fd, PollFlags::IN));
        }
        let step = left.min(if pidfd.is_some() { left } else { Duration::from_millis(5) });
        let time = Timespec { tv_sec: step.as_secs() as i64, tv_nsec: i64::from(step.subsec_nanos()) };
        let _ = poll(&mut fds, Some(&time));
    }
}

/// Reads what is there without waiting; a closed pipe is dropped.
fn drain<R: std::io::Read + std::os::fd::AsFd>(pipe: &mut Option<R>, into: &mut Vec<u8>) {
    let Some(reader) = pipe.as_mut() else { return };
    if rustix::io::ioctl_fionbio(&*reader, true).is_err() {
        return;
    }
    let mut buffer = [0_u8; 16 << 10];
    loop {
        match reader.by_ref().read(&mut buffer) {
            Ok(0) => break,
            Ok(got) => {
                let room = (1_usize << 20).saturating_sub(into.len());
                into.extend_from_slice(&buffer[..got.min(room)]);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
            Err(_) => break,
        }
    }
    *pipe = None;
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A short path for sockets: the kernel takes only 107 bytes.
pub fn short_socket(state: &Path, kind: char, id: &str) -> PathBuf {
    state.join("s").join(format!("{kind}{}", &id[..id.len().min(16)]))
}

/// Makes the directory of short sockets and checks that their paths fit.
pub fn check_socket_dir(state: &Path) -> Result<()> {
    util::make_dir(&state.join("s"), 0o700)?;
    if short_socket(state, 'm', &"0".repeat(16)).as_os_str().len() > 107 {
        return Err(Error::invalid(format!(
            "the state directory {} is too long a path for unix sockets; choose one under 80 bytes",
            state.display()
        )));
    }
    Ok(())
}
