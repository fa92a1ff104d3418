//! The few rtnetlink requests that the built-in network needs.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::error::{Context as _, Error, Result};

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const NEWADDR: u16 = 20;
const NEWROUTE: u16 = 24;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const EXCL: u16 = 0x200;
const CREATE: u16 = 0x400;
const IFNAME: u16 = 3;
const MASTER: u16 = 10;
const LINKINFO: u16 = 18;
const NET_NS_FD: u16 = 28;
const KIND: u16 = 1;
const DATA: u16 = 2;
const VETH_PEER: u16 = 1;
const IFF_UP: u32 = 1;

/// A conversation with the kernel about one network namespace.
pub struct Netlink {
    socket: OwnedFd,
}

impl Netlink {
    /// About the namespace of the calling thread.
    pub fn here() -> Result<Self> {
        // Protocol 0 is NETLINK_ROUTE.
        let socket =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
                .doing("opening a netlink socket")?;
        Ok(Self { socket })
    }

    /// About another namespace: a socket stays with the namespace in which it was made.
    pub fn in_namespace(namespace: &OwnedFd) -> Result<Self> {
        super::in_netns(namespace, Self::here)
    }

    /// Index of an interface.
    pub fn index(&self, name: &str) -> Result<u32> {
        let mut body = link_header(0, 0, 0);
        attribute(&mut body, IFNAME, &c_name(name));
        let answer = self.request(GETLINK, 0, &body)?;
        let bytes = answer.get(4..8).and_then(|b| <[u8; 4]>::try_from(b).ok());
        bytes.map(u32::from_ne_bytes).ok_or_else(|| Error::internal(format!("no interface {name}")))
    }

    /// Makes a bridge; one that exists is fine.
    pub fn add_bridge(&self, name: &str) -> Result<()> {
        let mut body = link_header(0, 0, 0);
        attribute(&mut body, IFNAME, &c_name(name));
        let mut info = Vec::new();
        attribute(&mut info, KIND, b"bridge");
        attribute(&mut body, LINKINFO, &info);
        match self.request(NEWLINK, CREATE | EXCL, &body) {
            Err(error) if error.code == tonic::Code::AlreadyExists => Ok(()),
            result => result.map(drop),
        }
    }

    /// Makes a veth pair: `host` here, in `bridge` and up; `peer` in another namespace.
    pub fn add_veth(&self, host: &str, bridge: u32, peer: &str, namespace: &OwnedFd) -> Result<()> {
        let mut peer_body = link_header(0, 0, 0);
        attribute(&mut peer_body, IFNAME, &c_name(peer));
        attribute(&mut peer_body, NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
        let mut data = Vec::new();
        attribute(&mut data, VETH_PEER, &peer_body);
        let mut info = Vec::new();
        attribute(&mut info, KIND, b"veth");
        attribute(&mut info, DATA, &data);
        let mut body = link_header(0, IFF_UP, IFF_UP);
        attribute(&mut body, IFNAME, &c_name(host));
        attribute(&mut body, MASTER, &bridge.to_ne_bytes());
        attribute(&mut body, LINKINFO, &info);
        self.request(NEWLINK, CREATE | EXCL, &body).map(drop)
    }

    /// Brings an interface up.
    pub fn up(&self, index: u32) -> Result<()> {
        self.request(NEWLINK, 0, &link_header(index, IFF_UP, IFF_UP)).map(drop)
    }

    /// Gives an interface an address; one that it has is fine.
    pub fn add_address(&self, index: u32, address: Ipv4Addr, prefix: u8) -> Result<()> {
        let mut body = vec![2, prefix, 0, 0];
        body.extend(index.to_ne_bytes());
        attribute(&mut body, 1, &address.octets());
        attribute(&mut body, 2, &address.octets());
        match self.request(NEWADDR, CREATE | EXCL, &body) {
            Err(error) if error.code == tonic::Code::AlreadyExists => Ok(()),
            result => result.map(drop),
        }
    }

    /// Sends everything else through `gateway`.
    pub fn default_route(&self, gateway: Ipv4Addr) -> Result<()> {
        // rtmsg: family, dst_len, src_len, tos, table main, protocol boot, scope universe, type unicast, flags
        let mut body = vec![2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
        attribute(&mut body, 5, &gateway.octets());
        self.request(NEWROUTE, CREATE, &body).map(drop)
    }

    /// Removes an interface; an absent one is fine.
    pub fn delete(&self, name: &str) -> Result<()> {
        let mut body = link_header(0, 0, 0);
        attribute(&mut body, IFNAME, &c_name(name));
        match self.request(DELLINK, 0, &body) {
            Err(error) if error.code == tonic::Code::NotFound => Ok(()),
            result => result.map(drop),
        }
    }

    /// One request and its answer: the body of the first message that is not an acknowledgement.
    fn request(&self, kind: u16, flags: u16, body: &[u8]) -> Result<Vec<u8>> {
        let mut message = Vec::with_capacity(16 + body.len());
        message.extend(((16 + body.len()) as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((flags | REQUEST | ACK).to_ne_bytes());
        message.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        message.extend_from_slice(body);
        rustix::net::send(&self.socket, &message, SendFlags::empty()).doing("sending a netlink request")?;
        let mut answer = Vec::new();
        loop {
            let mut buffer = vec![0_u8; 32 << 10];
            let (got, _) = rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty())
                .doing("receiving from netlink")?;
            let mut rest = &buffer[..got];
            while let Some(head) = rest.first_chunk::<16>() {
                let len = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]) as usize;
                let Some(payload) = rest.get(16..len) else { break };
                if u16::from_ne_bytes([head[4], head[5]]) == 2 {
                    let code = payload.first_chunk::<4>().map_or(-5, |c| i32::from_ne_bytes(*c));
                    return if code == 0 { Ok(answer) } else { Err(errno(kind, -code)) };
                }
                answer = payload.to_vec();
                rest = rest.get((len + 3) & !3..).unwrap_or_default();
            }
        }
    }
}

fn errno(kind: u16, code: i32) -> Error {
    let error = std::io::Error::from_raw_os_error(code);
    let grpc = match code {
        libc::EEXIST => tonic::Code::AlreadyExists,
        libc::ENODEV | libc::ENOENT => tonic::Code::NotFound,
        _ => tonic::Code::Internal,
    };
    Error::new(grpc, format!("netlink request {kind}: {error}"))
}

fn link_header(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.extend(index.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend(change.to_ne_bytes());
    out
}

fn attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend(((value.len() + 4) as u16).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend_from_slice(value);
    out.resize((out.len() + 3) & !3, 0);
}

fn c_name(name: &str) -> Vec<u8> {
    let mut out = name.as_bytes().to_vec();
    out.push(0);
    out
}
