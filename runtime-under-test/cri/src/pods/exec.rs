//! Running further commands in a container: the same way for `ExecSync` and for streaming exec.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream as StdStream};
use std::sync::Arc;
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::pipe::Receiver;
use tokio::time::timeout;

use super::{Container, Daemon, State};
use crate::api::ExecSyncResponse;
use crate::error::{Context as _, Error, Result};
use crate::monitor::client;
use crate::monitor::container::receive_fd;
use crate::monitor::proto::{Exit, Reply, Request};
use crate::oci::short_socket;
use crate::util;

/// Bytes kept of the output of `ExecSync` (`exec-sync.output-capped`): both streams together, so that the answer
/// fits into the 16 MiB that a client takes.
const OUTPUT_LIMIT: usize = (16 << 20) - (4 << 10);
/// After the command ended, a child of its own that holds the pipe open is waited for this long.
const LINGER: Duration = Duration::from_millis(250);

/// Which streams a command gets.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wants {
    /// A terminal on all three.
    pub tty: bool,
    /// Standard input; without it the command reads the end at once.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

/// A command that runs.
pub struct Running {
    /// Writing end of its input.
    pub stdin: Option<OwnedFd>,
    /// Reading end of its output.
    pub stdout: Option<OwnedFd>,
    /// Reading end of its error output.
    pub stderr: Option<OwnedFd>,
    /// Its terminal.
    pub terminal: Option<OwnedFd>,
    /// Tells its end; closing it kills the command.
    monitor: StdStream,
}

/// Tells the end of a command; dropping it kills the command.
pub struct Ending {
    lines: tokio::io::Lines<BufReader<UnixStream>>,
}

impl Ending {
    /// Waits for the end.
    pub async fn wait(&mut self) -> Result<Exit> {
        loop {
            let line = self.lines.next_line().await.doing("waiting for the command")?;
            let line = line.ok_or_else(|| {
                Error::internal("the pod's monitor went away; the end of the command is unknown")
            })?;
            if let Ok(Reply { exit: Some(exit), .. }) = serde_json::from_str::<Reply>(&line) {
                return Ok(exit);
            }
        }
    }
}

impl Running {
    /// The handle that tells the end. Needs a tokio runtime.
    pub fn ending(self) -> Result<(Streams, Ending)> {
        self.monitor.set_nonblocking(true).doing("setting up a connection")?;
        let stream = UnixStream::from_std(self.monitor).doing("setting up a connection")?;
        let streams =
            Streams { stdin: self.stdin, stdout: self.stdout, stderr: self.stderr, terminal: self.terminal };
        Ok((streams, Ending { lines: BufReader::with_capacity(256, stream).lines() }))
    }
}

/// The streams of a command without its ending.
pub struct Streams {
    /// Writing end of its input.
    pub stdin: Option<OwnedFd>,
    /// Reading end of its output.
    pub stdout: Option<OwnedFd>,
    /// Reading end of its error output.
    pub stderr: Option<OwnedFd>,
    /// Its terminal.
    pub terminal: Option<OwnedFd>,
}

fn null() -> Result<OwnedFd> {
    Ok(std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .doing("opening /dev/null")?
        .into())
}

impl Daemon {
    /// Starts a command. Blocking. It has the container's user, environment, directory and rights
    /// (`exec-sync.environment`).
    pub fn start_exec(&self, container: &Container, command: &[String], wants: Wants) -> Result<Running> {
        if command.first().is_none_or(String::is_empty) {
            return Err(Error::invalid("the command is empty"));
        }
        if container.state() != State::Running {
            return Err(Error::precondition(format!("container {} is not running", container.id)));
        }
        let pod = self.pod(&container.pod_id())?;
        let runtime = self.runtime(&pod.handler())?;
        let token = util::hex(&util::random_bytes::<8>()?);
        let process = container.dir.join(format!("exec-{token}.json"));
        util::write_atomic(&process, process_of(container, command, wants.tty)?.to_string().as_bytes())?;
        let pid_file = container.dir.join(format!("exec-{token}.pid"));
        let console = wants.tty.then(|| short_socket(&self.config.state, 'x', &token));
        let result = (|| {
            let listener = console
                .as_ref()
                .map(|path| UnixListener::bind(path).with_path("listening on", path))
                .transpose()?;
            let argv = runtime.exec_argv(&container.id, &process, &pid_file, console.as_deref());
            let (own, theirs) = pipes(wants)?;
            let stream = client::connect(&pod.socket)?;
            let fds: Vec<_> = theirs.iter().map(OwnedFd::as_fd).collect();
            client::send(&stream, &Request::Exec { argv, pid_file: pid_file.clone() }, &fds)?;
            drop(theirs);
            let reply = client::read_reply(&stream, Some(runtime.limit))?;
            if let Some(error) = reply.error {
                return Err(Error::new(tonic::Code::Unknown, format!("exec: {error}")));
            }
            stream.set_read_timeout(None).doing("setting up a connection")?;
            let mut running = Running { monitor: stream, ..own };
            if let Some(listener) = listener {
                let (socket, _) = listener.accept().doing("receiving the terminal")?;
                let terminal = receive_fd(socket.as_fd())?;
                running.stdout = Some(terminal.try_clone().doing("duplicating the terminal")?);
                running.stdin = wants
                    .stdin
                    .then(|| terminal.try_clone())
                    .transpose()
                    .doing("duplicating the terminal")?;
                running.terminal = Some(terminal);
            }
            Ok(running)
        })();
        for path in [&process, &pid_file, &pid_file.with_extension("log")].into_iter().chain(console.as_ref())
        {
            let _ = std::fs::remove_file(path);
        }
        result
    }

    /// Runs a command to its end and collects its output. `limit` 0 is none.
    pub async fn exec_sync(
        self: &Arc<Self>,
        id: &str,
        command: Vec<String>,
        limit: i64,
    ) -> Result<ExecSyncResponse> {
        let container = self.container(id)?;
        let daemon = Arc::clone(self);
        let wants = Wants { stdout: true, stderr: true, ..Wants::default() };
        let work = async move {
            let job = tokio::task::spawn_blocking(move || daemon.start_exec(&container, &command, wants));
            let (streams, mut ending) = job.await.doing("starting the command")??.ending()?;
            let mut out = Collector::new(streams.stdout)?;
            let mut err = Collector::new(streams.stderr)?;
            let exit = loop {
                tokio::select! {
                    exit = ending.wait() => break exit?,
                    () = out.more(), if out.open() => {}
                    () = err.more(), if err.open() => {}
                }
            };
            let drain = async { tokio::join!(out.rest(), err.rest()) };
            drain.await;
            // Each stream is sure of its half; what one leaves the other may have.
            let half = OUTPUT_LIMIT / 2;
            let kept = err.data.len().min(half.max(OUTPUT_LIMIT - out.data.len()));
            err.data.truncate(kept);
            out.data.truncate(OUTPUT_LIMIT - kept);
            Ok(ExecSyncResponse { stdout: out.data, stderr: err.data, exit_code: exit.code })
        };
        if limit <= 0 {
            return work.await;
        }
        // Dropping the work closes the connection, and with it the command and its children end.
        match timeout(Duration::from_secs(limit.unsigned_abs()), work).await {
            Ok(result) => result,
            Err(_) => Err(Error::deadline(format!("the command timed out after {limit} s and was killed"))),
        }
    }
}

/// Our ends and the command's ends (input, output, error).
fn pipes(wants: Wants) -> Result<(Running, [OwnedFd; 3])> {
    let pair = || pipe_with(PipeFlags::CLOEXEC).doing("making a pipe");
    // The monitor's place is taken later.
    let (spare, _) = StdStream::pair().doing("making a socket")?;
    let mut own = Running { stdin: None, stdout: None, stderr: None, terminal: None, monitor: spare };
    let mut theirs = [null()?, null()?, null()?];
    if !wants.tty {
        if wants.stdin {
            let (read, write) = pair()?;
            own.stdin = Some(write);
            theirs[0] = read;
        }
        if wants.stdout {
            let (read, write) = pair()?;
            own.stdout = Some(read);
            theirs[1] = write;
        }
        if wants.stderr {
            let (read, write) = pair()?;
            own.stderr = Some(read);
            theirs[2] = write;
        }
    }
    Ok((own, theirs))
}

/// The container's process with another command.
fn process_of(container: &Container, command: &[String], tty: bool) -> Result<Value> {
    let path = container.dir.join("config.json");
    let spec: Value = serde_json::from_slice(&std::fs::read(&path).with_path("reading", &path)?)
        .with_path("reading", &path)?;
    let mut process = spec["process"].clone();
    process["args"] = json!(command);
    process["terminal"] = json!(tty);
    if tty
        && let Some(env) = process["env"].as_array_mut()
        && !env.iter().any(|e| e.as_str().is_some_and(|e| e.starts_with("TERM=")))
    {
        env.push(json!("TERM=xterm"));
    }
    Ok(process)
}

/// Reads a pipe, keeps the first part, drops the rest.
struct Collector {
    pipe: Option<Receiver>,
    data: Vec<u8>,
    buffer: Box<[u8]>,
}

impl Collector {
    fn new(fd: Option<OwnedFd>) -> Result<Self> {
        let pipe = fd.map(Receiver::from_owned_fd).transpose().doing("reading the command's output")?;
        Ok(Self { pipe, data: Vec::new(), buffer: vec![0; 64 << 10].into_boxed_slice() })
    }

    fn open(&self) -> bool {
        self.pipe.is_some()
    }

    async fn more(&mut self) {
        let Some(pipe) = self.pipe.as_mut() else { return };
        match pipe.read(&mut self.buffer).await {
            Ok(got @ 1..) => {
                let room = OUTPUT_LIMIT - self.data.len();
                self.data.extend_from_slice(&self.buffer[..got.min(room)]);
            }
            _ => self.pipe = None,
        }
    }

    async fn rest(&mut self) {
        while self.open() && timeout(LINGER, self.more()).await.is_ok() {}
    }
}
