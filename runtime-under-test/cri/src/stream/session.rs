//! The process side of a stream: an exec'd command or the first process of a container, whatever the transport.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::tokens::Ticket;
use crate::error::{Context as _, Error, Result};
use crate::monitor::client;
use crate::monitor::proto::{Request, decode_frame, encode_frame, frame};
use crate::pods::Daemon;
use crate::pods::exec::{Streams, Wants};

/// After the process ended, silence of this length on its output is taken as its end.
const LINGER: Duration = Duration::from_millis(250);
/// Bytes per piece.
const PIECE: usize = 32 << 10;

/// From the client.
#[derive(Debug)]
pub enum Input {
    /// Standard input.
    Data(Vec<u8>),
    /// End of standard input.
    End,
    /// Columns and rows.
    Resize(u16, u16),
}

/// To the client: channel (1 output, 2 error output) and bytes.
pub type Output = (u8, Vec<u8>);

/// How it went: the exit code, or 0 for an attach that ended.
pub async fn run(
    daemon: &Arc<Daemon>,
    ticket: &Ticket,
    input: mpsc::Receiver<Input>,
    output: mpsc::Sender<Output>,
) -> Result<i32> {
    match ticket {
        Ticket::Exec { container, command, wants } => {
            exec(daemon, container, command.clone(), *wants, input, output).await
        }
        Ticket::Attach { container, wants } => {
            attach(daemon, container, *wants, input, output).await.map(|()| 0)
        }
        Ticket::PortForward { .. } => Err(Error::internal("not a process")),
    }
}

/// The streams that a ticket wants.
pub fn wants(ticket: &Ticket) -> Wants {
    match ticket {
        Ticket::Exec { wants, .. } | Ticket::Attach { wants, .. } => *wants,
        Ticket::PortForward { .. } => Wants::default(),
    }
}

/// The status document of protocol v4 and v5 (`exec.exit-code-*`, `exec.error-internal`).
pub fn status_json(result: &Result<i32>) -> String {
    match result {
        Ok(0) => json!({"metadata": {}, "status": "Success"}).to_string(),
        Ok(code) => json!({
            "metadata": {}, "status": "Failure", "message": format!("command terminated with non-zero exit code: {code}"),
            "reason": "NonZeroExitCode", "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        })
        .to_string(),
        Err(error) => json!({
            "metadata": {}, "status": "Failure", "message": error.message, "reason": "InternalError",
            "details": {"causes": [{"message": error.message}]}, "code": 500,
        })
        .to_string(),
    }
}

/// What older protocols write on the error stream; nothing on success.
pub fn status_text(result: &Result<i32>) -> String {
    match result {
        Ok(0) => String::new(),
        Ok(code) => format!("command terminated with non-zero exit code: {code}"),
        Err(error) => error.message.clone(),
    }
}

/// The size in a resize message.
pub fn parse_resize(value: &serde_json::Value) -> Option<(u16, u16)> {
    let get = |key: &str| u16::try_from(value[key].as_u64()?).ok();
    Some((get("Width")?, get("Height")?))
}

/// A pipe or terminal read and written without blocking.
pub struct Fd(AsyncFd<OwnedFd>);

impl Fd {
    /// Takes a descriptor over.
    pub fn new(fd: OwnedFd) -> Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true).doing("setting up a stream")?;
        Ok(Self(crate::sys::async_fd(fd).doing("setting up a stream")?))
    }

    async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            if let Ok(result) = ready.try_io(|fd| Ok(rustix::io::read(fd, &mut *buffer)?)) {
                return result;
            }
        }
    }

    async fn write_all(&self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let mut ready = self.0.writable().await?;
            if let Ok(result) = ready.try_io(|fd| Ok(rustix::io::write(fd, data)?)) {
                data = &data[result?..];
            }
        }
        Ok(())
    }
}

async fn exec(
    daemon: &Arc<Daemon>,
    container: &str,
    command: Vec<String>,
    wants: Wants,
    mut input: mpsc::Receiver<Input>,
    output: mpsc::Sender<Output>,
) -> Result<i32> {
    let own = Arc::clone(daemon);
    let container = daemon.container(container)?;
    let running = tokio::task::spawn_blocking(move || own.start_exec(&container, &command, wants))
        .await
        .doing("starting the command")??;
    let (streams, mut ending) = running.ending()?;
    let Streams { stdin, stdout, stderr, terminal } = streams;
    let (ended, end) = watch::channel(false);
    let mut pumps = tokio::task::JoinSet::new();
    for (channel, fd) in [(1, stdout), (2, stderr)] {
        if let Some(fd) = fd {
            pumps.spawn(pump(Fd::new(fd)?, channel, output.clone(), end.clone()));
        }
    }
    drop(output);
    let mut stdin = stdin.map(Fd::new).transpose()?;
    let feed = async {
        while let Some(message) = input.recv().await {
            match message {
                Input::Data(data) => {
                    if let Some(fd) = &stdin
                        && fd.write_all(&data).await.is_err()
                    {
                        stdin = None;
                    }
                }
                Input::End => {
                    if let (Some(fd), true) = (&stdin, wants.tty) {
                        let _ = fd.write_all(&[4]).await;
                    }
                    stdin = None;
                }
                Input::Resize(columns, rows) => resize(terminal.as_ref(), columns, rows),
            }
        }
        std::future::pending::<()>().await;
    };
    let exit = tokio::select! {
        exit = ending.wait() => exit?,
        () = feed => return Err(Error::internal("input ended")),
    };
    let _ = ended.send(true);
    while pumps.join_next().await.is_some() {}
    Ok(exit.code)
}

fn resize(terminal: Option<&OwnedFd>, columns: u16, rows: u16) {
    if let Some(fd) = terminal {
        let size = rustix::termios::Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
        let _ = rustix::termios::tcsetwinsize(fd, size);
    }
}

/// Moves output to the client until it ends; once the process has ended, silence ends it too.
async fn pump(fd: Fd, channel: u8, output: mpsc::Sender<Output>, mut end: watch::Receiver<bool>) {
    let mut buffer = vec![0_u8; PIECE];
    loop {
        let over = *end.borrow();
        let got = if over {
            let Ok(got) = timeout(LINGER, fd.read(&mut buffer)).await else { return };
            got
        } else {
            tokio::select! {
                biased;
                got = fd.read(&mut buffer) => got,
                _ = end.changed() => continue,
            }
        };
        match got {
            Ok(got @ 1..) => {
                if output.send((channel, buffer[..got].to_vec())).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

async fn attach(
    daemon: &Arc<Daemon>,
    container: &str,
    wants: Wants,
    mut input: mpsc::Receiver<Input>,
    output: mpsc::Sender<Output>,
) -> Result<()> {
    let container = daemon.container(container)?;
    let pod = daemon.pod(&container.pod_id())?;
    let request = Request::Attach {
        id: container.id.clone(),
        stdout: wants.stdout,
        stderr: wants.stderr,
        stdin: wants.stdin,
    };
    let socket = pod.socket.clone();
    let job = move || {
        let stream = client::connect(&socket)?;
        client::send(&stream, &request, &[])?;
        let reply = client::read_reply(&stream, Some(Duration::from_secs(10)))?;
        match reply.error {
            Some(error) => Err(Error::precondition(error)),
            None => Ok(stream),
        }
    };
    let stream = tokio::task::spawn_blocking(job).await.doing("attaching")??;
    stream.set_nonblocking(true).doing("attaching")?;
    let (mut reader, mut writer) = UnixStream::from_std(stream).doing("attaching")?.into_split();
    let feed = async {
        while let Some(message) = input.recv().await {
            let frames: Vec<u8> = match message {
                Input::Data(data) => {
                    data.chunks(frame::MAX).flat_map(|piece| encode_frame(frame::STDIN, piece)).collect()
                }
                Input::End => encode_frame(frame::STDIN_EOF, &[]),
                Input::Resize(columns, rows) => {
                    encode_frame(frame::RESIZE, &[columns.to_be_bytes(), rows.to_be_bytes()].concat())
                }
            };
            if writer.write_all(&frames).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let drain = async {
        let mut buffer = Vec::new();
        loop {
            let got = reader.read_buf(&mut buffer).await.doing("reading from the pod's monitor")?;
            while let Some((kind, data)) = decode_frame(&mut buffer)
                .map_err(|()| Error::internal("a malformed frame came from the monitor"))?
            {
                if kind == frame::END {
                    return Ok(());
                }
                let wanted = kind == frame::STDOUT || kind == frame::STDERR;
                if wanted && output.send((kind, data)).await.is_err() {
                    return Ok(());
                }
            }
            if got == 0 {
                return Ok(());
            }
        }
    };
    tokio::select! {
        result = drain => result,
        () = feed => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_documents() {
        let failure: serde_json::Value = serde_json::from_str(&status_json(&Ok(7))).unwrap();
        assert_eq!(failure["reason"], "NonZeroExitCode");
        assert_eq!(failure["details"]["causes"][0], json!({"reason": "ExitCode", "message": "7"}));
        assert!(status_json(&Ok(0)).contains("Success"));
        assert!(status_text(&Ok(0)).is_empty());
        assert_eq!(parse_resize(&json!({"Width": 80, "Height": 24})), Some((80, 24)));
    }
}
