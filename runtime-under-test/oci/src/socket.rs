//! Unix sockets named by paths of any length, and the messages between the runtime and the first process.

use crate::error::{Context, Error, Result};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Largest message on the internal socket, bytes.
const MAX_MESSAGE: usize = 32 << 10;

/// An address for `dir`/`name` that fits `sun_path` whatever the length of `dir`: through a descriptor of
/// the directory. The descriptor has to live until the address was used.
fn address(path: &Path) -> Result<(OwnedFd, SocketAddrUnix)> {
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(name) = path.file_name() else { crate::bail!("{} names no socket", path.display()) };
    let dir = rustix::fs::openat(CWD, dir, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let short = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name);
    Ok((dir, SocketAddrUnix::new(&short)?))
}

/// Connects to the socket at `path`.
pub fn connect(path: &Path, kind: SocketType) -> Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    let (_dir, address) = address(path)?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket)
}

/// A listening socket at `path`, with room for one caller.
pub fn listen(path: &Path) -> Result<OwnedFd> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let (_dir, address) = address(path)?;
    rustix::net::bind(&socket, &address).with_context(|| format!("socket {}", path.display()))?;
    rustix::net::listen(&socket, 8)?;
    Ok(socket)
}

/// What the two sides say. Each is one packet: a kind byte and text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Runtime: go on with the next step.
    Go,
    /// First process: the mounts are made, the root not yet changed.
    Mounted,
    /// First process: everything but the program is done.
    Ready,
    /// First process: the program is about to run.
    Starting,
    /// Either: a failure, with its text.
    Error,
    /// First process: a warning for the log.
    Warning,
    /// First process: a descriptor of a seccomp listener comes along.
    Listener,
    /// First process: the master of the terminal comes along.
    Console,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Go,
        Self::Mounted,
        Self::Ready,
        Self::Starting,
        Self::Error,
        Self::Warning,
        Self::Listener,
        Self::Console,
    ];

    /// The byte that stands for it.
    pub fn byte(self) -> u8 {
        b'a' + self as u8
    }
}

/// One end of the talk.
pub struct Channel(pub OwnedFd);

impl Channel {
    /// Sends a message without text.
    pub fn say(&self, kind: Kind) -> Result<()> {
        self.tell(kind, "")
    }

    /// Sends a message.
    pub fn tell(&self, kind: Kind, text: &str) -> Result<()> {
        let text = &text.as_bytes()[..text.len().min(MAX_MESSAGE - 1)];
        let packet = [&[kind.byte()], text].concat();
        rustix::net::send(&self.0, &packet, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Sends a message with a descriptor.
    pub fn pass(&self, kind: Kind, fd: BorrowedFd<'_>) -> Result<()> {
        crate::process::tty::send_fds(self.0.as_fd(), &[kind.byte()], &[fd])
    }

    /// Waits for the next message; `None` when the other side is gone.
    pub fn hear(&self) -> Result<Option<(Kind, String, Option<OwnedFd>)>> {
        let mut bytes = vec![0u8; MAX_MESSAGE];
        let mut space = [const { MaybeUninit::uninit() }; 64];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            match rustix::net::recvmsg(
                &self.0,
                &mut [IoSliceMut::new(&mut bytes)],
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CONNRESET) => return Ok(None),
                other => break other?,
            }
        };
        if received.bytes == 0 {
            return Ok(None);
        }
        let mut fd = None;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(mut fds) = message {
                fd = fds.next();
            }
        }
        let kind = Kind::ALL
            .into_iter()
            .find(|k| k.byte() == bytes[0])
            .ok_or_else(|| Error::new("garbled message"))?;
        Ok(Some((kind, String::from_utf8_lossy(&bytes[1..received.bytes]).into_owned(), fd)))
    }

    /// Waits for exactly this message.
    pub fn expect(&self, wanted: Kind) -> Result<()> {
        match self.hear()? {
            Some((kind, ..)) if kind == wanted => Ok(()),
            Some((Kind::Error, text, _)) => Err(Error::new(text)),
            Some((kind, ..)) => Err(Error::new(format!("unexpected message {kind:?}"))),
            None => Err(Error::new("the other side is gone")),
        }
    }
}
