//! A container as its monitor sees it: standard streams, log, exit.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::Winsize;

use super::log::{Log, Stream};
use super::proto::{CreateRequest, Exit};
use crate::error::{Context as _, Error, Result};
use crate::util::{self, now_ns};

/// How much input may wait for a container that does not read.
const INPUT_LIMIT: usize = 256 << 10;

/// One container.
pub struct Container {
    /// What it was made from.
    pub request: CreateRequest,
    /// Reading ends of output and error output; with a terminal both are the terminal.
    pub output: [Option<OwnedFd>; 2],
    /// Writing end of standard input.
    pub input: Option<OwnedFd>,
    /// Input that the container has not read yet.
    pub pending_input: Vec<u8>,
    /// Close the input once all is written.
    pub input_ends: bool,
    /// The terminal.
    pub terminal: Option<OwnedFd>,
    /// Where the runtime delivers the terminal.
    pub console: Option<UnixListener>,
    /// The log.
    pub log: Log,
    /// The first process.
    pub pid: Option<i32>,
    /// How it ended.
    pub exit: Option<Exit>,
    /// The connection that waits for the creation.
    pub creator: Option<usize>,
}

impl Container {
    /// Makes the streams and starts `runtime create`; returns the container and the runtime's pid.
    pub fn create(request: CreateRequest, creator: usize) -> Result<(Self, i32)> {
        let log = Log::open(request.log.clone())?;
        let mut command =
            Command::new(request.argv.first().ok_or_else(|| Error::internal("empty command line"))?);
        command.args(&request.argv[1..]).current_dir(&request.dir);
        crate::sys::with_clear_signals(&mut command);
        let (out_read, out_write) = pipe_with(PipeFlags::CLOEXEC).doing("making a pipe")?;
        let (err_read, err_write) = pipe_with(PipeFlags::CLOEXEC).doing("making a pipe")?;
        let mut input = None;
        let mut console = None;
        command.stdin(Stdio::null()).stdout(out_write).stderr(err_write);
        if let Some(path) = &request.console {
            let _ = std::fs::remove_file(path);
            let listener = UnixListener::bind(path).with_path("listening on", path)?;
            listener.set_nonblocking(true).doing("listening for the terminal")?;
            console = Some(listener);
        } else if request.stdin {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC).doing("making a pipe")?;
            rustix::io::ioctl_fionbio(&write, true).doing("setting up standard input")?;
            command.stdin(read);
            input = Some(write);
        }
        for fd in [&out_read, &err_read] {
            rustix::io::ioctl_fionbio(fd, true).doing("setting up standard output")?;
        }
        let child = command.spawn().doing(format_args!("starting {}", request.argv[0]))?;
        let container = Self {
            request,
            output: [Some(out_read), Some(err_read)],
            input,
            pending_input: Vec::new(),
            input_ends: false,
            terminal: None,
            console,
            log,
            pid: None,
            exit: None,
            creator: Some(creator),
        };
        Ok((container, child.id() as i32))
    }

    /// The runtime ended well: the pid, and with a terminal the terminal as output and input.
    /// What the runtime itself wrote is dropped: nothing of the container has run yet.
    pub fn created(&mut self) -> Result<i32> {
        let noise = self.take_noise();
        let path = self.request.dir.join("init.pid");
        let text =
            std::fs::read_to_string(&path).with_path("reading", &path).map_err(|e| e.context(noise))?;
        let pid: i32 = text.trim().parse().with_path("reading", &path)?;
        // A pid of another namespace would make this monitor follow, and the server kill, a stranger.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
        if parent.is_some_and(|parent| parent != std::process::id().to_string()) {
            return Err(Error::internal(format!(
                "the runtime wrote pid {pid} to its pid file, which is not the container's process as the host sees it"
            )));
        }
        if let Some(listener) = self.console.take() {
            let terminal = accept_terminal(&listener)?;
            if let Some(path) = &self.request.console {
                let _ = std::fs::remove_file(path);
            }
            rustix::io::ioctl_fionbio(&terminal, true).doing("setting up the terminal")?;
            self.output = [Some(terminal.try_clone().doing("duplicating the terminal")?), None];
            if self.request.stdin {
                self.input = Some(terminal.try_clone().doing("duplicating the terminal")?);
            }
            self.terminal = Some(terminal);
        }
        self.pid = Some(pid);
        Ok(pid)
    }

    /// What the runtime wrote so far, at most 4 KiB.
    pub fn take_noise(&mut self) -> String {
        let mut text = Vec::new();
        for fd in self.output.iter().flatten() {
            let mut buffer = [0_u8; 4096];
            while let Ok(got @ 1..) = rustix::io::read(fd, &mut buffer) {
                text.extend_from_slice(&buffer[..got]);
                text.truncate(4096);
            }
        }
        String::from_utf8_lossy(&text).trim().to_owned()
    }

    /// Reads one piece of a stream into `buffer` and logs it. `None`: nothing there. `Some(0)`: ended.
    pub fn read(&mut self, stream: Stream, buffer: &mut [u8]) -> Option<usize> {
        let slot = &mut self.output[stream as usize];
        let result = rustix::io::read(slot.as_ref()?, &mut *buffer);
        match result {
            Ok(0) => {}
            Ok(got) => {
                self.log.feed(stream, &buffer[..got]);
                return Some(got);
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return None,
            Err(_) => {} // EIO: the terminal's other side is closed
        }
        *slot = None;
        if self.output.iter().all(Option::is_none) {
            self.log.flush();
        }
        Some(0)
    }

    /// Whether more input may be taken from clients.
    pub fn accepts_input(&self) -> bool {
        self.pending_input.len() < INPUT_LIMIT
    }

    /// Queues input.
    pub fn give_input(&mut self, data: &[u8]) {
        if self.input.is_some() && !self.input_ends {
            self.pending_input.extend_from_slice(data);
            self.write_input();
        }
    }

    /// No more input will come.
    pub fn end_input(&mut self) {
        self.input_ends = true;
        self.write_input();
    }

    /// Writes what the container takes.
    pub fn write_input(&mut self) {
        while !self.pending_input.is_empty() {
            let Some(fd) = &self.input else { break };
            match rustix::io::write(fd, &self.pending_input) {
                Ok(sent) => drop(self.pending_input.drain(..sent)),
                Err(rustix::io::Errno::AGAIN) => return,
                Err(_) => {
                    self.input = None;
                    self.pending_input.clear();
                }
            }
        }
        if self.input_ends {
            if let Some(terminal) = self.terminal.as_ref().filter(|_| self.input.is_some()) {
                let _ = rustix::io::write(terminal, &[4]); // end of input on a terminal
            }
            self.input = None;
        }
    }

    /// Sets the size of the terminal.
    pub fn resize(&self, columns: u16, rows: u16) {
        if let Some(terminal) = &self.terminal {
            let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
            let _ = rustix::termios::tcsetwinsize(terminal, size);
        }
    }

    /// Records the end of the first process in `exit.json`.
    pub fn ended(&mut self, code: i32) -> Exit {
        let oom = self.request.oom_file.as_deref().is_some_and(oom_kills) && code == 137;
        let exit = Exit { code, at: now_ns(), oom };
        if let Ok(bytes) = serde_json::to_vec(&exit) {
            let _ = util::write_atomic(&self.request.dir.join("exit.json"), &bytes);
        }
        self.exit = Some(exit);
        exit
    }
}

fn accept_terminal(listener: &UnixListener) -> Result<OwnedFd> {
    let (stream, _) = listener.accept().doing("the runtime did not deliver the terminal")?;
    stream.set_nonblocking(false).doing("receiving the terminal")?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).doing("receiving the terminal")?;
    receive_fd(stream.as_fd())
}

/// Receives one descriptor, as runtimes send the terminal.
pub fn receive_fd(socket: std::os::fd::BorrowedFd<'_>) -> Result<OwnedFd> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
    let mut buffer = [0_u8; 4096];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    rustix::net::recvmsg(
        socket,
        &mut [std::io::IoSliceMut::new(&mut buffer)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )
    .doing("receiving the terminal")?;
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = part
            && let Some(fd) = descriptors.next()
        {
            return Ok(fd);
        }
    }
    Err(Error::internal("the runtime sent no terminal"))
}

/// How long the killed processes of a cgroup are awaited. One that hangs in the kernel must not hold up a whole pod.
const KILLED: Duration = Duration::from_secs(1);

/// Kills all processes of a cgroup, those of child groups included, and waits until they are gone
/// (`container.stop.kills-children`: none survives the stop). Bounded by [`KILLED`].
pub fn kill_cgroup(dir: &Path) {
    let whole = std::fs::OpenOptions::new()
        .write(true)
        .open(dir.join("cgroup.kill"))
        .and_then(|mut f| f.write_all(b"1"))
        .is_ok();
    let end = Instant::now() + KILLED;
    let mut pause = Duration::from_micros(50);
    loop {
        let pids = cgroup_pids(dir, 0);
        if pids.is_empty() || Instant::now() >= end {
            return;
        }
        // Again in each round: one that was forked meanwhile got no signal yet.
        for pid in pids.into_iter().filter(|_| !whole).filter_map(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// Processes of a cgroup and of its children.
pub fn cgroup_pids(dir: &Path, depth: u32) -> Vec<i32> {
    let text = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    if depth < 8
        && let Ok(entries) = std::fs::read_dir(dir)
    {
        for entry in entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
            pids.extend(cgroup_pids(&entry.path(), depth + 1));
        }
    }
    pids
}

fn oom_kills(file: &Path) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|n| n.trim() != "0"))
}

/// The last error in a runtime's JSON log, else what it wrote to its error output.
pub fn error_text(runtime_log: &Path, noise: &str) -> String {
    let text = File::open(runtime_log)
        .and_then(|mut file| {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut file, &mut text).map(|_| text)
        })
        .unwrap_or_default();
    let last = text.lines().rev().find_map(|line| {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        (value.get("level")?.as_str()? == "error").then(|| value.get("msg")?.as_str().map(str::to_owned))?
    });
    last.unwrap_or_else(|| {
        if noise.is_empty() { "the runtime failed without a message".to_owned() } else { noise.to_owned() }
    })
}

/// Where a runtime's JSON log lies for a container directory.
pub fn runtime_log(dir: &Path) -> PathBuf {
    dir.join("runtime.log")
}
