//! rtnetlink messages: just enough to look at links and addresses and to change them.

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io;
use std::os::fd::OwnedFd;

const HEADER: usize = 16;
/// Bound on one dump, bytes.
const MAX_ANSWER: usize = 16 << 20;

/// A request under construction.
pub struct Request {
    bytes: Vec<u8>,
}

impl Request {
    fn new(kind: u16, body: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(body);
        Self { bytes }
    }

    /// About the link with this index; 0 = by name.
    pub fn link(kind: u16, index: u32) -> Self {
        let mut body = [0; 16];
        body[4..8].copy_from_slice(&index.to_ne_bytes());
        Self::new(kind, &body)
    }

    /// Adds an address of global scope to a link.
    pub fn address(family: u8, prefix: u8, index: u32) -> Self {
        let mut body = [family, prefix, 0x80, 0, 0, 0, 0, 0];
        body[4..8].copy_from_slice(&index.to_ne_bytes());
        Self::new(libc::RTM_NEWADDR, &body)
    }

    /// Asks for all addresses.
    pub fn address_dump() -> Self {
        Self::new(libc::RTM_GETADDR, &[0; 8])
    }

    /// Flags of a link: values and which of them to change.
    pub fn link_flags(&mut self, values: u32, change: u32) {
        self.bytes[HEADER + 8..HEADER + 12].copy_from_slice(&values.to_ne_bytes());
        self.bytes[HEADER + 12..HEADER + 16].copy_from_slice(&change.to_ne_bytes());
    }

    /// Appends an attribute.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        push_attribute(&mut self.bytes, kind, value);
    }

    /// Appends an attribute that is a C string.
    pub fn name(&mut self, kind: u16, value: &str) {
        self.attribute(kind, &[value.as_bytes(), &[0]].concat());
    }

    /// Appends attributes that are encoded already.
    pub fn raw(&mut self, attributes: &[u8]) {
        self.bytes.extend_from_slice(attributes);
    }
}

/// One message of an answer.
pub struct Answer {
    /// Message type.
    pub kind: u16,
    /// What follows the header.
    pub body: Vec<u8>,
}

/// A socket in the network namespace where it was opened.
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// Opens the socket.
    pub fn open() -> io::Result<Self> {
        let socket =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends a change and waits for its acknowledgement.
    pub fn ask(&mut self, request: &Request) -> io::Result<()> {
        self.exchange(request, (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16).map(|_| ())
    }

    /// Sends a question; `dump` asks for all there is.
    pub fn query(&mut self, request: &Request, dump: bool) -> io::Result<Vec<Answer>> {
        let more = if dump { libc::NLM_F_DUMP } else { libc::NLM_F_ACK };
        self.exchange(request, (libc::NLM_F_REQUEST | more) as u16)
    }

    fn exchange(&mut self, request: &Request, flags: u16) -> io::Result<Vec<Answer>> {
        self.sequence += 1;
        let mut bytes = request.bytes.clone();
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.sequence.to_ne_bytes());
        rustix::net::send(&self.socket, &bytes, SendFlags::empty())?;
        let mut answers = Vec::new();
        let mut total = 0;
        loop {
            let mut buffer = vec![0u8; 64 << 10];
            let (n, _) = rustix::net::recv(&self.socket, &mut buffer, RecvFlags::empty())?;
            total += n;
            if n == 0 || total > MAX_ANSWER {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if self.take(&buffer[..n], &mut answers)? {
                return Ok(answers);
            }
        }
    }

    /// Sorts the messages of one datagram; true when the answer is complete.
    fn take(&self, mut bytes: &[u8], answers: &mut Vec<Answer>) -> io::Result<bool> {
        while bytes.len() >= HEADER {
            let length = u32_at(&bytes[..4]) as usize;
            if length < HEADER || length > bytes.len() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let kind = u16::from_ne_bytes([bytes[4], bytes[5]]);
            let ours = u32_at(&bytes[8..12]) == self.sequence;
            let body = &bytes[HEADER..length];
            match i32::from(kind) {
                _ if !ours => {}
                libc::NLMSG_DONE => return Ok(true),
                libc::NLMSG_ERROR => {
                    let code = body.get(..4).map_or(-libc::EIO, |b| u32_at(b) as i32);
                    return if code == 0 { Ok(true) } else { Err(io::Error::from_raw_os_error(-code)) };
                }
                _ => answers.push(Answer { kind, body: body.to_vec() }),
            }
            bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
        }
        Ok(false)
    }
}

/// A native-endian 32-bit number; 0 when the slice is too short.
pub fn u32_at(bytes: &[u8]) -> u32 {
    bytes.get(..4).map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
}

/// Appends an attribute with its padding. A value over 65,531 bytes cannot be encoded and is cut off whole.
pub fn push_attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let Ok(length) = u16::try_from(value.len() + 4) else { return };
    to.extend_from_slice(&length.to_ne_bytes());
    to.extend_from_slice(&kind.to_ne_bytes());
    to.extend_from_slice(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

/// The attributes in `bytes`.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let head = bytes.get(..4)?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_round_trip() {
        let mut bytes = Vec::new();
        push_attribute(&mut bytes, 3, b"eth0\0");
        push_attribute(&mut bytes, 28, &7u32.to_ne_bytes());
        let list: Vec<_> = attributes(&bytes).collect();
        assert_eq!(list, [(3, &b"eth0\0"[..]), (28, &7u32.to_ne_bytes()[..])]);
        assert_eq!(attributes(&[1, 0, 0, 0]).count(), 0);
    }
}
