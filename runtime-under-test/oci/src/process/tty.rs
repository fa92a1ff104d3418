//! The terminal of the process: a pseudo-terminal of the container's own devpts.

use crate::config::ConsoleSize;
use crate::error::{Context, Result};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use rustix::pty::OpenptFlags;
use rustix::termios::{Winsize, tcsetwinsize};
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Magic number of devpts (`linux/magic.h`).
const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

/// Both ends of a pseudo-terminal.
pub struct Terminal {
    /// The end of the engine.
    pub master: OwnedFd,
    /// The end of the container.
    pub slave: OwnedFd,
}

/// Opens a new pair from the devpts below `root`. The slave is opened through the master, so no path of
/// the container decides what it is.
pub fn open(root: BorrowedFd<'_>, size: Option<ConsoleSize>) -> Result<Terminal> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::openat2(root, "dev/pts/ptmx", flags, Mode::empty(), ResolveFlags::IN_ROOT)
        .context("opening /dev/pts/ptmx of the container (does its config mount devpts?)")?;
    if rustix::fs::fstatfs(&master)?.f_type != DEVPTS_SUPER_MAGIC {
        crate::bail!("/dev/pts/ptmx of the container is not on a devpts");
    }
    rustix::pty::unlockpt(&master).context("unlocking the terminal")?;
    let slave = rustix::pty::ioctl_tiocgptpeer(
        &master,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )
    .context("opening the terminal")?;
    if let Some(size) = size {
        let size = Winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).context("setting the terminal size")?;
    }
    Ok(Terminal { master, slave })
}

/// Makes the terminal the controlling one and the three standard streams. The caller leads a session.
pub fn attach(slave: BorrowedFd<'_>) -> Result<()> {
    rustix::process::ioctl_tiocsctty(slave).context("taking the controlling terminal")?;
    rustix::stdio::dup2_stdin(slave)?;
    rustix::stdio::dup2_stdout(slave)?;
    rustix::stdio::dup2_stderr(slave)?;
    Ok(())
}

/// Connects to the console socket of the caller.
pub fn connect(path: &Path) -> Result<OwnedFd> {
    crate::socket::connect(path, SocketType::STREAM)
        .with_context(|| format!("console socket {}", path.display()))
}

/// Sends descriptors in one message with this payload (`SCM_RIGHTS`).
pub fn send_fds(socket: BorrowedFd<'_>, payload: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    let mut space = [const { std::mem::MaybeUninit::uninit() }; 256];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(fds));
    rustix::net::sendmsg(socket, &[IoSlice::new(payload)], &mut control, SendFlags::NOSIGNAL)
        .context("sending the descriptor")?;
    Ok(())
}

/// A connected pair for the talk between the runtime and the container's first process.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Gives the terminal to the user of the process.
pub fn own(slave: impl AsFd, uid: u32) -> Result<()> {
    let owner = Some(rustix::fs::Uid::from_raw(uid));
    match rustix::fs::fchown(&slave, owner, None) {
        Ok(()) => Ok(()),
        // An unmapped or read-only case: the terminal still works for whoever could open it.
        Err(rustix::io::Errno::PERM | rustix::io::Errno::INVAL | rustix::io::Errno::ROFS) if uid == 0 => {
            Ok(())
        }
        Err(e) => Err(e).context("giving the terminal to the user"),
    }
}
