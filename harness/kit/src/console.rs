//! The console socket: receives the master side of a container's terminal, and keeps it drained.

use crate::stop::Stop;
use crate::wait::{Poll, wait_until};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use std::fs::File;
use std::io::{ErrorKind, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A listening console socket.
#[derive(Debug)]
pub struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
}

/// What came over the socket: the terminal and the message's payload.
#[derive(Debug, Clone)]
pub struct Console {
    master: Arc<File>,
    output: Arc<Mutex<Vec<u8>>>,
    /// The payload of the message that carried the descriptor.
    pub payload: String,
    /// How many descriptors the message carried.
    pub descriptors: usize,
}

/// What is kept of a terminal's output, in bytes.
const KEEP_BYTES: usize = 4 << 20;

impl ConsoleSocket {
    /// Listens at `path`, which must be shorter than 108 bytes.
    pub fn listen(path: &Path) -> Result<Self, Stop> {
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// The socket's path, for `--console-socket`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the terminal that the runtime sends; a violation when none comes within `limit`.
    pub async fn receive(&self, limit: Duration) -> Result<Console, Stop> {
        let (payload, fds) =
            wait_until("a terminal arrives on the console socket", limit, async || {
                match self.listener.accept() {
                    Ok((stream, _)) => receive_message(&stream).map(Poll::Ready),
                    Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(Poll::NotYet("no connection".into())),
                    Err(e) => Err(e.into()),
                }
            })
            .await?;
        let descriptors = fds.len();
        let Some(master) = fds.into_iter().next() else {
            return Err(Stop::violation(
                "a terminal arrives on the console socket",
                "a message without a descriptor",
            ));
        };
        let master = Arc::new(File::from(master));
        let output = Arc::new(Mutex::new(Vec::new()));
        drain(master.clone(), output.clone());
        Ok(Console { master, output, payload, descriptors })
    }
}

/// One message of a stream: its payload, at most 4096 bytes and empty at the end of the stream, and the descriptors
/// that came with it.
pub fn receive_message(stream: &UnixStream) -> Result<(String, Vec<OwnedFd>), Stop> {
    receive_part(stream, 4096)
}

/// The same, of at most `bytes` bytes. The kernel joins messages that lie ready; a read that ends within the first one
/// brings the descriptors of that one only.
pub fn receive_part(stream: &UnixStream, bytes: usize) -> Result<(String, Vec<OwnedFd>), Stop> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut payload = vec![0_u8; bytes];
    let mut space = nix::cmsg_space!([i32; 8]);
    let mut parts = [IoSliceMut::new(&mut payload)];
    let message =
        recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let bytes = message.bytes;
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            fds.extend(received.into_iter().map(crate::sys::own_received));
        }
    }
    Ok((String::from_utf8_lossy(&payload[..bytes]).into_owned(), fds))
}

/// Reads the terminal on a thread of its own: a full terminal buffer would block the container. The thread ends when
/// the last slave is closed (EIO).
fn drain(master: Arc<File>, output: Arc<Mutex<Vec<u8>>>) {
    std::thread::spawn(move || {
        let mut buffer = [0_u8; 4096];
        while let Ok(n) = (&*master).read(&mut buffer) {
            if n == 0 {
                break;
            }
            if let Ok(mut output) = output.lock() {
                let room = KEEP_BYTES.saturating_sub(output.len());
                output.extend_from_slice(&buffer[..n.min(room)]);
            }
        }
    });
}

impl Console {
    /// All output so far.
    pub fn output(&self) -> String {
        self.output.lock().map(|o| String::from_utf8_lossy(&o).into_owned()).unwrap_or_default()
    }

    /// Types into the terminal.
    pub fn type_in(&self, text: &str) -> Result<(), Stop> {
        Ok((&*self.master).write_all(text.as_bytes())?)
    }

    /// The master side.
    pub fn master(&self) -> &File {
        &self.master
    }
}
