//! A relay before the seccomp agent: it takes the runtime's message and hands it on spoiled.

use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde_json::Value;

use crate::error::Trouble;
use crate::json::edit::{Edit, NoVars};
use crate::memory::Memory;
use crate::target::Reinvoke;

/// How long a relay serves: as long as a test may run its container.
const LIFE: Duration = Duration::from_secs(120);

/// How long a connection is held open that should be closed.
const HELD: Duration = Duration::from_secs(30);

/// The mark that is the relay's socket.
const MARK: &str = "notify";

/// Largest state and most descriptors of one message.
const STATE_LIMIT: usize = 1 << 20;
const FD_LIMIT: usize = 8;

/// How the message is spoiled.
#[derive(Clone, Debug, PartialEq)]
pub enum NotifyOp {
    /// `edit EDIT`: the state is edited. The text is kept to be handed on.
    Edit(Edit, String),
    /// `cut`: half of the state.
    Cut,
    /// `no-fds`: no descriptor comes with it.
    NoFds,
    /// `fds-late`: two messages, the descriptors with the second.
    FdsLate,
    /// `twice`: two states on one connection.
    Twice,
    /// `keep-open`: the connection is not closed.
    KeepOpen,
    /// `reuse`: later states come on the first connection.
    Reuse,
    /// `ignore-failure`: nobody learns that the agent was not reached.
    IgnoreFailure,
}

impl NotifyOp {
    /// Parses the text form.
    pub fn parse(text: &str) -> Result<NotifyOp, String> {
        Ok(match text.split_once(' ').unwrap_or((text, "")) {
            ("edit", edit) => NotifyOp::Edit(Edit::parse(edit)?, edit.to_owned()),
            ("cut", "") => NotifyOp::Cut,
            ("no-fds", "") => NotifyOp::NoFds,
            ("fds-late", "") => NotifyOp::FdsLate,
            ("twice", "") => NotifyOp::Twice,
            ("keep-open", "") => NotifyOp::KeepOpen,
            ("reuse", "") => NotifyOp::Reuse,
            ("ignore-failure", "") => NotifyOp::IgnoreFailure,
            _ => return Err(format!("there is no notify operation {text:?}")),
        })
    }

    fn to_text(&self) -> String {
        match self {
            NotifyOp::Edit(_, edit) => format!("edit {edit}"),
            NotifyOp::Cut => "cut".to_owned(),
            NotifyOp::NoFds => "no-fds".to_owned(),
            NotifyOp::FdsLate => "fds-late".to_owned(),
            NotifyOp::Twice => "twice".to_owned(),
            NotifyOp::KeepOpen => "keep-open".to_owned(),
            NotifyOp::Reuse => "reuse".to_owned(),
            NotifyOp::IgnoreFailure => "ignore-failure".to_owned(),
        }
    }
}

/// Puts a relay before the listener of the configuration, when there is one to put it before. Its socket
/// is a mark of the container: when delete forgets it, the relay ends.
pub fn interpose(
    config: &mut Value,
    op: &NotifyOp,
    reinvoke: &Reinvoke,
    memory: &Memory,
) -> Result<(), Trouble> {
    let Some(place) = config.pointer_mut("/linux/seccomp/listenerPath") else { return Ok(()) };
    let Some(agent) = place.as_str().map(PathBuf::from) else { return Ok(()) };
    if !agent.exists() && *op != NotifyOp::IgnoreFailure {
        return Ok(());
    }
    memory.unset(MARK);
    memory.prepare();
    let socket = memory.file(MARK);
    let fail = |e: io::Error| Trouble::io(format!("put a relay at {}", socket.display()), e);
    let listener = UnixListener::bind(&socket).map_err(fail)?;
    let mut command = reinvoke.command(&["__notify"]);
    command.arg(&agent).arg(&socket).arg(op.to_text());
    command.stdin(OwnedFd::from(listener)).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map_err(fail)?;
    *place = Value::String(socket.to_string_lossy().into_owned());
    Ok(())
}

/// The relay: serves the listener on stdin until its time is over, then removes the socket.
pub fn serve(agent: &Path, socket: &Path, op: &str) -> Result<u8, Trouble> {
    let op = NotifyOp::parse(op).map_err(Trouble::Usage)?;
    let _ = rustix::process::setsid();
    let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(|e| Trouble::io("take the listener", e))?;
    let listener = UnixListener::from(stdin);
    let end = Instant::now() + LIFE;
    let _ = listener.set_nonblocking(true);
    let first: Arc<Mutex<Option<UnixStream>>> = Arc::default();
    while Instant::now() < end && socket.exists() {
        match listener.accept() {
            Ok((stream, _)) => {
                let (agent, op, first) = (agent.to_owned(), op.clone(), Arc::clone(&first));
                std::thread::spawn(move || {
                    let _ = pass(&stream, &agent, &op, &first);
                });
            }
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    let _ = std::fs::remove_file(socket);
    Ok(0)
}

/// Reads one state with its descriptors up to the end of the stream.
fn receive(stream: &UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let _ = stream.set_read_timeout(Some(HELD));
    let _ = stream.set_nonblocking(false);
    let (mut text, mut fds) = (Vec::new(), Vec::new());
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FD_LIMIT))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut piece = [0_u8; 4096];
        let got = rustix::net::recvmsg(
            stream,
            &mut [IoSliceMut::new(&mut piece)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if got.bytes == 0 || text.len() > STATE_LIMIT {
            return Ok((text, fds));
        }
        text.extend_from_slice(&piece[..got.bytes]);
    }
}

fn send(stream: &UnixStream, text: &[u8], fds: &[OwnedFd]) -> io::Result<()> {
    let borrowed: Vec<BorrowedFd<'_>> = fds.iter().take(FD_LIMIT).map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FD_LIMIT))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !borrowed.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&borrowed));
    }
    let sent = rustix::net::sendmsg(stream, &[IoSlice::new(text)], &mut control, SendFlags::NOSIGNAL)?;
    let mut stream = stream;
    stream.write_all(&text[sent..])
}

fn pass(from: &UnixStream, agent: &Path, op: &NotifyOp, first: &Mutex<Option<UnixStream>>) -> io::Result<()> {
    let (mut text, fds) = receive(from)?;
    if let (NotifyOp::Edit(edit, _), Ok(mut state)) = (op, serde_json::from_slice::<Value>(&text)) {
        edit.apply(&mut state, &NoVars);
        text = state.to_string().into_bytes();
    }
    let mut slot = first.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let to = match slot.as_ref().filter(|_| *op == NotifyOp::Reuse) {
        Some(earlier) => earlier.try_clone()?,
        None => UnixStream::connect(agent)?,
    };
    if *op == NotifyOp::Reuse && slot.is_none() {
        *slot = Some(to.try_clone()?);
    }
    drop(slot);
    match op {
        NotifyOp::Cut => send(&to, &text[..text.len() / 2], &fds),
        NotifyOp::NoFds => send(&to, &text, &[]),
        NotifyOp::FdsLate => {
            let (head, tail) = text.split_at(text.len() / 2);
            send(&to, head, &[])?;
            // Let the reader take the first part on its own.
            std::thread::sleep(Duration::from_millis(50));
            send(&to, tail, &fds)
        }
        NotifyOp::Twice => {
            send(&to, &text, &fds)?;
            send(&to, &text, &fds)
        }
        NotifyOp::KeepOpen => {
            send(&to, &text, &fds)?;
            // The descriptors are the agent's now; only the connection is kept.
            drop(fds);
            std::thread::sleep(HELD);
            Ok(())
        }
        _ => send(&to, &text, &fds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// What an agent gets: text, number of descriptors.
    fn through(op: &str) -> (String, usize) {
        let dir = tempfile::tempdir().unwrap();
        let agent = dir.path().join("agent");
        let listener = UnixListener::bind(&agent).unwrap();
        let (runtime, relay) = UnixStream::pair().unwrap();
        let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        send(&runtime, br#"{"ociVersion":"1.0.2","fds":["seccompFd"],"pid":7}"#, &[file]).unwrap();
        drop(runtime);
        let op = NotifyOp::parse(op).unwrap();
        let passing = std::thread::spawn(move || {
            let _ = pass(&relay, &agent, &op, &Mutex::new(None));
        });
        let (stream, _) = listener.accept().unwrap();
        let (text, fds) = receive(&stream).unwrap();
        passing.join().unwrap();
        (String::from_utf8(text).unwrap(), fds.len())
    }

    #[test]
    fn states_are_handed_on_spoilt() {
        let whole = r#"{"ociVersion":"1.0.2","fds":["seccompFd"],"pid":7}"#;
        assert_eq!(through("ignore-failure"), (whole.to_owned(), 1));
        assert_eq!(through("no-fds"), (whole.to_owned(), 0));
        assert_eq!(through("cut"), (whole[..25].to_owned(), 1));
        assert_eq!(through("fds-late"), (whole.to_owned(), 1));
        assert_eq!(through("twice"), (format!("{whole}{whole}"), 2));
        let (edited, fds) = through("edit drop /pid");
        let edited: Value = serde_json::from_str(&edited).unwrap();
        assert_eq!((edited, fds), (serde_json::json!({ "ociVersion": "1.0.2", "fds": ["seccompFd"] }), 1));
    }

    #[test]
    fn a_missing_agent_goes_unnoticed() {
        let (runtime, relay) = UnixStream::pair().unwrap();
        let passing = std::thread::spawn(move || {
            pass(&relay, Path::new("/nonexistent"), &NotifyOp::IgnoreFailure, &Mutex::new(None))
        });
        send(&runtime, b"{}", &[]).unwrap();
        runtime.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        (&runtime).read_to_end(&mut rest).unwrap();
        assert!(passing.join().unwrap().is_err());
    }
}
