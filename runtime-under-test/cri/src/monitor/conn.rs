//! One connection of the server to a monitor, without blocking.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags};

use super::proto::Reply;

/// What a connection is used for after its first request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Requests and replies.
    Idle,
    /// Gets every exit.
    Watch,
    /// Carries the streams of a container.
    Attach {
        /// Container.
        id: String,
        /// Wants output.
        stdout: bool,
        /// Wants error output.
        stderr: bool,
        /// May send input.
        stdin: bool,
    },
    /// Waits for an exec'd process; hanging up kills it.
    Exec {
        /// Its pid, once started.
        pid: Option<i32>,
    },
}

/// State of one connection.
pub struct Conn {
    /// The socket.
    pub fd: OwnedFd,
    /// What it is used for.
    pub kind: Kind,
    /// Bytes received and not yet used.
    pub input: Vec<u8>,
    /// Descriptors received and not yet used.
    pub descriptors: Vec<OwnedFd>,
    /// Bytes to send.
    pub output: Vec<u8>,
    /// Since when nothing could be sent (nanoseconds), to end a client that stalls its container.
    pub stalled: Option<i64>,
    /// Close when all is sent.
    pub closing: bool,
}

impl Conn {
    /// A fresh connection.
    pub fn new(fd: OwnedFd) -> Self {
        Self {
            fd,
            kind: Kind::Idle,
            input: Vec::new(),
            descriptors: Vec::new(),
            output: Vec::new(),
            stalled: None,
            closing: false,
        }
    }

    /// Queues a line.
    pub fn reply(&mut self, reply: &Reply) {
        if let Ok(mut line) = serde_json::to_vec(reply) {
            line.push(b'\n');
            self.output.extend(line);
        }
    }

    /// Sends what the socket takes; false when the peer is gone.
    pub fn send(&mut self) -> bool {
        while !self.output.is_empty() {
            match rustix::net::send(&self.fd, &self.output, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(sent) => {
                    self.output.drain(..sent);
                    self.stalled = None;
                }
                Err(rustix::io::Errno::AGAIN) => {
                    self.stalled.get_or_insert_with(crate::util::now_ns);
                    return true;
                }
                Err(_) => return false,
            }
        }
        self.output = Vec::new();
        true
    }

    /// Receives what is there; false when the peer is gone.
    pub fn receive(&mut self) -> bool {
        let mut buffer = [0_u8; 16 << 10];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        match rustix::net::recvmsg(&self.fd, &mut [IoSliceMut::new(&mut buffer)], &mut ancillary, flags) {
            Ok(message) => {
                for part in ancillary.drain() {
                    if let RecvAncillaryMessage::ScmRights(descriptors) = part {
                        self.descriptors.extend(descriptors);
                    }
                }
                self.input.extend_from_slice(&buffer[..message.bytes]);
                // Requests hold command lines; nothing sensible is larger.
                message.bytes > 0 && self.input.len() <= 8 << 20
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => true,
            Err(_) => false,
        }
    }

    /// The next request line.
    pub fn line(&mut self) -> Option<Vec<u8>> {
        let end = self.input.iter().position(|b| *b == b'\n')?;
        let line = self.input[..end].to_vec();
        self.input.drain(..=end);
        Some(line)
    }
}
