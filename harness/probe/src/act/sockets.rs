//! Sockets: connect, serve a few connections, echo.
use crate::ask::read_stream;
use crate::bytes::{Writer, content};
use crate::prelude::*;
use crate::sys::file::{Fd, poll, read, ready, write_all};
use crate::sys::process;
use crate::sys::signal::{self, Blocked, bit};
use crate::sys::time::Deadline;
use core::net::IpAddr;

/// A socket address and a name for messages.
struct Address {
    family: i32,
    bytes: Vec<u8>,
    name: String,
}

/// `path` (`@name`: abstract) or `host`, an address and not a name, with `port`.
fn address(step: &Step, default_host: &str) -> Result<Address, Fail> {
    if let Some(path) = step.opt_str("path")? {
        let mut bytes = Writer::default().u16(libc::AF_UNIX as u16).0;
        match path.strip_prefix('@') {
            Some(name) => bytes.extend([b"\0", name.as_bytes()].concat()),
            None => bytes.extend(crate::step::c_string(path)?.as_bytes_with_nul()),
        }
        if bytes.len() > 110 {
            return Err(Fail::new(libc::ENAMETOOLONG, format_args!("socket path {path}")));
        }
        return Ok(Address { family: libc::AF_UNIX, bytes, name: path.to_owned() });
    }
    let host = step.opt_str("host")?.unwrap_or(default_host);
    let port = step.size_or("port", 0, 65_535)? as u16;
    let ip: IpAddr =
        host.parse().map_err(|_| Fail::script(format_args!("`host` {host} is no IP address")))?;
    let (family, bytes) = match ip {
        IpAddr::V4(v4) => {
            let head = Writer::default().u16(libc::AF_INET as u16).bytes(&port.to_be_bytes());
            (libc::AF_INET, head.bytes(&v4.octets()).bytes(&[0; 8]))
        }
        IpAddr::V6(v6) => {
            let head = Writer::default().u16(libc::AF_INET6 as u16).bytes(&port.to_be_bytes()).u32(0);
            (libc::AF_INET6, head.bytes(&v6.octets()).u32(0))
        }
    };
    Ok(Address { family, bytes: bytes.0, name: format!("{ip} port {port}") })
}

fn socket(step: &Step, family: i32) -> Result<Fd, Fail> {
    let kind = match step.opt_str("type")? {
        None | Some("stream" | "tcp") => libc::SOCK_STREAM,
        Some("dgram" | "udp") => libc::SOCK_DGRAM,
        Some(other) => return Err(Fail::script(format_args!("unknown socket type {other}"))),
    };
    let fd = sc!(SYS_socket, family, kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0).what("socket")?;
    Ok(Fd(fd as i32))
}

/// Data to send: `send`, as text.
fn send(fd: i32, bytes: &[u8], deadline: Deadline) -> Result<(), i32> {
    let _blocked = Blocked::new(bit(libc::SIGPIPE));
    let wrote = write_all(fd, bytes, deadline).map_err(|(errno, _)| errno);
    if wrote == Err(libc::EPIPE) {
        signal::drain(bit(libc::SIGPIPE));
    }
    wrote
}

fn connect_to(step: &Step, to: &Address) -> Answer {
    let deadline = Deadline::in_ms(step.timeout_ms(5000)?);
    let fd = socket(step, to.family)?;
    match sc!(SYS_connect, fd.0, to.bytes.as_slice(), to.bytes.len()) {
        Ok(_) => {}
        Err(libc::EINPROGRESS) => {
            if !ready(fd.0, libc::POLLOUT, deadline.left_ms()).what("poll")? {
                return Err(Fail::new(libc::ETIMEDOUT, format_args!("connect to {}", to.name)));
            }
            let (mut error, mut length) = ([0; 4], 4_u32.to_ne_bytes());
            sc!(SYS_getsockopt, fd.0, libc::SOL_SOCKET, libc::SO_ERROR, &mut error, &mut length)
                .what("getsockopt")?;
            let errno = i32::from_ne_bytes(error);
            if errno != 0 {
                return Err(Fail::new(errno, format_args!("connect to {}", to.name)));
            }
        }
        Err(errno) => return Err(Fail::new(errno, format_args!("connect to {}", to.name))),
    }
    let mut facts = Map::new();
    if let Some(text) = step.opt_str("send")? {
        send(fd.0, text.as_bytes(), deadline).what(format_args!("send to {}", to.name))?;
    }
    if step.flag("shutdown")? {
        let _ = sc!(SYS_shutdown, fd.0, libc::SHUT_WR);
    }
    if step.flag("recv")? {
        let max = step.size_or("max", 65_536, 4 << 20)?;
        facts = read_stream(fd.0, max, deadline).what(format_args!("receive from {}", to.name))?;
    }
    facts.insert("connected".to_owned(), true.into());
    Ok(Value::Object(facts))
}

pub fn connect(_: &mut Cx, step: &Step) -> Answer {
    connect_to(step, &address(step, "127.0.0.1")?)
}

pub fn abstract_socket(_: &mut Cx, step: &Step) -> Answer {
    let name = step.str("name")?;
    let bytes = Writer::default().u16(libc::AF_UNIX as u16).bytes(b"\0").bytes(name.as_bytes()).0;
    if bytes.len() > 110 {
        return Err(Fail::new(libc::ENAMETOOLONG, format_args!("abstract socket {name}")));
    }
    connect_to(step, &Address { family: libc::AF_UNIX, bytes, name: format!("@{name}") })
}

/// A listening socket and its port (null for a local one).
fn listener(step: &Step) -> Result<(Fd, Value), Fail> {
    let at = address(step, "0.0.0.0")?;
    let fd = socket(step, at.family)?;
    let one = 1_i32.to_ne_bytes();
    let _ = sc!(SYS_setsockopt, fd.0, libc::SOL_SOCKET, libc::SO_REUSEADDR, &one, 4);
    sc!(SYS_bind, fd.0, at.bytes.as_slice(), at.bytes.len()).what(format_args!("bind {}", at.name))?;
    sc!(SYS_listen, fd.0, 128).what(format_args!("listen at {}", at.name))?;
    let (mut own, mut length) = ([0; 28], 28_u32.to_ne_bytes());
    sc!(SYS_getsockname, fd.0, &mut own, &mut length).what("getsockname")?;
    let port = (at.family != libc::AF_UNIX).then(|| u16::from_be_bytes([own[2], own[3]]));
    Ok((fd, port.into()))
}

fn accept(fd: i32) -> Result<Fd, i32> {
    sc!(SYS_accept4, fd, 0, 0, libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK).map(|fd| Fd(fd as i32))
}

/// Accepts `accept` connections one after the other. From each it reads (with `read_first`, up to the first data, else
/// nothing), sends `reply` and closes.
pub fn listen(cx: &mut Cx, step: &Step) -> Answer {
    let wanted = step.size_or("accept", 1, 10_000)?;
    let reply = step.opt_str("reply")?.unwrap_or_default();
    let read_first = step.flag("read_first")?;
    let ms = step.timeout_ms(10_000)?;
    let deadline = Deadline::in_ms(ms);
    let (fd, port) = listener(step)?;
    cx.event(json!({ "ready": true, "port": port, "pid": process::pid() }));
    let mut received = Vec::new();
    while received.len() < wanted && !deadline.passed() {
        if !ready(fd.0, libc::POLLIN, deadline.left_ms()).what("poll")? {
            continue;
        }
        let Ok(peer) = accept(fd.0) else { continue };
        let mut data = [0; 4096];
        let mut length = 0;
        if read_first && ready(peer.0, libc::POLLIN, deadline.left_ms()).what("poll")? {
            length = read(peer.0, &mut data).unwrap_or(0);
        }
        received.push(Value::Object(content(&data[..length])));
        let _ = send(peer.0, reply.as_bytes(), deadline);
        let _ = sc!(SYS_shutdown, peer.0, libc::SHUT_WR);
    }
    Ok(json!({
        "accepted": received.len(), "received": received, "port": port, "timed_out": received.len() < wanted,
    }))
}

/// The most connections that [`tcp_echo`] serves at a time.
const MAX_PEERS: usize = 256;

/// Sends back what arrives on every connection, until TERM, the deadline, or `connections` of them were served.
pub fn tcp_echo(cx: &mut Cx, step: &Step) -> Answer {
    let limit = step.size_or("connections", usize::MAX >> 1, usize::MAX >> 1)?;
    let deadline = Deadline::in_ms(step.timeout_ms(60_000)?);
    let (fd, port) = listener(step)?;
    let term = bit(libc::SIGTERM);
    let _blocked = Blocked::new(term);
    cx.event(json!({ "ready": true, "port": port, "pid": process::pid() }));
    let (mut peers, mut accepted, mut bytes, mut stopped) = (Vec::<Fd>::new(), 0, 0, false);
    while !deadline.passed() && !stopped && (accepted < limit || !peers.is_empty()) {
        let room = accepted < limit && peers.len() < MAX_PEERS;
        let mut wanted = vec![(if room { fd.0 } else { -1 }, libc::POLLIN)];
        wanted.extend(peers.iter().map(|peer| (peer.0, libc::POLLIN)));
        let events = poll(&wanted, deadline.left_ms().min(50)).what("poll")?;
        let mut at = 0;
        peers.retain(|peer| {
            at += 1;
            events[at] == 0 || echo(peer.0, &mut bytes)
        });
        if events[0] != 0
            && let Ok(peer) = accept(fd.0)
        {
            accepted += 1;
            peers.push(peer);
        }
        stopped = matches!(signal::wait(term, Deadline::in_ms(0)), Ok(Some(_)));
    }
    Ok(json!({ "connections": accepted, "bytes": bytes, "port": port, "terminated": stopped }))
}

/// One turn; false when the connection is over.
fn echo(fd: i32, bytes: &mut usize) -> bool {
    let mut chunk = [0; 16_384];
    match read(fd, &mut chunk) {
        Ok(0) => {
            let _ = sc!(SYS_shutdown, fd, libc::SHUT_WR);
            false
        }
        Ok(n) => {
            *bytes += n;
            send(fd, &chunk[..n], Deadline::in_ms(5000)).is_ok()
        }
        Err(libc::EAGAIN | libc::EINTR) => true,
        Err(_) => false,
    }
}
