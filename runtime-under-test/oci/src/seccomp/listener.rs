//! Handing the notify descriptor to the agent (runtime-spec "The Container Process State").

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Error, sys};

/// Bound on connecting and sending.
const DEADLINE: Duration = Duration::from_secs(10);

/// How long to wait for the agent to take the state. An agent that gave up in this time is an error; one that is
/// only slow is not.
const GRACE: Duration = Duration::from_secs(1);

/// The longest path that fits a socket address, with its end.
const PATH_MAX: usize = 107;

/// See [`super::send_listener`].
pub(super) fn send(
    path: &Path,
    fd: BorrowedFd<'_>,
    state: &Value,
    pid: libc::pid_t,
    metadata: Option<&str>,
) -> Result<(), Error> {
    let fail = |what: &'static str| move |source| Error::Listener { path: path.into(), what, source };
    let message = process_state(state, pid, metadata).to_string();
    let socket = sys::stream_socket(DEADLINE).map_err(fail("make a socket"))?;
    connect(&socket, path).map_err(fail("connect"))?;
    send_all(&socket, message.as_bytes(), fd).map_err(fail("send the container process state"))?;
    taken(&socket).map_err(fail("wait for the agent to take the container process state"))
}

/// The `ContainerProcessState`.
fn process_state(state: &Value, pid: libc::pid_t, metadata: Option<&str>) -> Value {
    let mut message = json!({
        "ociVersion": state.get("ociVersion").cloned().unwrap_or_else(|| json!("1.3.0")),
        "fds": ["seccompFd"],
        "pid": pid,
        "state": state,
    });
    if let Some(metadata) = metadata {
        message["metadata"] = metadata.into();
    }
    message
}

fn connect(socket: &OwnedFd, path: &Path) -> io::Result<()> {
    let bytes = path.as_os_str().as_bytes();
    // An empty or NUL-led address would name no file: the spec's listener is a path.
    if !path.is_absolute() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path must be absolute"));
    }
    if bytes.len() <= PATH_MAX {
        return sys::connect(socket.as_fd(), bytes);
    }
    let place = File::options().read(true).custom_flags(libc::O_PATH).open(path)?;
    sys::connect(socket.as_fd(), format!("/proc/self/fd/{}", place.as_raw_fd()).as_bytes())
}

/// The descriptor rides on the first message only; a short send is continued without it.
fn send_all(socket: &OwnedFd, bytes: &[u8], fd: BorrowedFd<'_>) -> io::Result<()> {
    let end = Instant::now() + DEADLINE;
    let mut rest = bytes;
    let mut fd = Some(fd);
    while !rest.is_empty() {
        match sys::send(socket.as_fd(), rest, fd) {
            Ok(sent) => {
                rest = &rest[sent..];
                fd = None;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted && Instant::now() < end => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Waits shortly until the agent has read all of it. An agent that closes without reading must be noticed.
fn taken(socket: &OwnedFd) -> io::Result<()> {
    let end = Instant::now() + GRACE;
    let stream = UnixStream::from(socket.try_clone()?);
    let mut wait = Duration::ZERO;
    loop {
        // Nothing is unread when it was read, and also when the agent closed and it was thrown away. Closing with
        // unread bytes leaves an error behind, and does so before they go: so the error is looked at after the count.
        let unread = sys::unread(socket.as_fd())?;
        let gone = match sys::hung_up(socket.as_fd(), wait) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => false,
            other => other?,
        };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        if unread == 0 || gone || Instant::now() >= end {
            return Ok(());
        }
        wait = Duration::from_millis(1);
    }
}
