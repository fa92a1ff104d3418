//! The server's side of the conversation with a monitor.

use std::io::{BufRead as _, BufReader, IoSlice, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::proto::{PodSpec, Reply, Request};
use crate::error::{Context as _, Error, Result};

/// Starts a monitor; returns it and the pid of the sandbox process.
pub fn spawn(spec: &PodSpec) -> Result<(Child, i32)> {
    let mut command = Command::new("/proc/self/exe");
    // The one executable of the project knows this program by its name.
    command.arg0("plimsoll-cri").arg("monitor").env_clear().current_dir("/");
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .doing("starting the pod's monitor")?;
    let result = talk(&mut child, spec);
    if result.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    result.map(|pid| (child, pid))
}

fn talk(child: &mut Child, spec: &PodSpec) -> Result<i32> {
    let mut input = child.stdin.take().ok_or_else(|| Error::internal("no pipe to the monitor"))?;
    input
        .write_all(&serde_json::to_vec(spec).doing("describing the pod")?)
        .doing("describing the pod to its monitor")?;
    drop(input);
    let output = child.stdout.take().ok_or_else(|| Error::internal("no pipe from the monitor"))?;
    wait_readable(output.as_fd(), Duration::from_secs(30))?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).doing("reading the monitor's answer")?;
    let reply: Reply = serde_json::from_str(&line).doing("the monitor did not answer")?;
    match (reply.error, reply.pid) {
        (Some(error), _) => Err(Error::internal(error)),
        (None, Some(pid)) => Ok(pid),
        (None, None) => Err(Error::internal("the monitor's answer has no pid")),
    }
}

fn wait_readable(fd: BorrowedFd<'_>, limit: Duration) -> Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let time = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: 0 };
    match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&time)) {
        Ok(1..) => Ok(()),
        Ok(_) => Err(Error::deadline("the pod's monitor did not answer in time")),
        Err(error) => Err(Error::internal(format!("waiting for the monitor: {error}"))),
    }
}

/// Connects to a monitor.
pub fn connect(socket: &Path) -> Result<UnixStream> {
    UnixStream::connect(socket).with_path("connecting to the pod's monitor at", socket)
}

/// Sends one request with descriptors.
pub fn send(stream: &UnixStream, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
    let mut line = serde_json::to_vec(request).doing("writing a request")?;
    line.push(b'\n');
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let sent = rustix::net::sendmsg(stream, &[IoSlice::new(&line)], &mut ancillary, SendFlags::NOSIGNAL)
        .doing("asking the pod's monitor")?;
    let mut rest = stream;
    rest.write_all(&line[sent..]).doing("asking the pod's monitor")
}

/// Reads one reply line byte by byte: what follows may be frames.
pub fn read_reply(stream: &UnixStream, limit: Option<Duration>) -> Result<Reply> {
    stream.set_read_timeout(limit).doing("setting a time limit")?;
    let mut line = Vec::new();
    let mut byte = [0_u8];
    loop {
        match std::io::Read::read(&mut &*stream, &mut byte) {
            Ok(0) => return Err(Error::internal("the pod's monitor hung up")),
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                return Err(Error::deadline("the OCI runtime did not finish in time"));
            }
            Err(error) => return Err(Error::internal(format!("the pod's monitor: {error}"))),
        }
    }
    serde_json::from_slice(&line).doing("reading the monitor's answer")
}

/// One request, one reply; an error reply becomes an error.
pub fn ask(socket: &Path, request: &Request, limit: Duration) -> Result<Reply> {
    let stream = connect(socket)?;
    send(&stream, request, &[])?;
    let reply = read_reply(&stream, Some(limit))?;
    match reply.error {
        Some(error) => Err(Error::internal(error)),
        None => Ok(reply),
    }
}
