//! Network interfaces, addresses and routes, by rtnetlink(7) dumps.
use crate::bytes::Writer;
use crate::names::{self, Flag};
use crate::prelude::*;
use crate::sys::file::Fd;
use core::net::{Ipv4Addr, Ipv6Addr};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_GETLINK: u16 = 18;
const RTM_GETADDR: u16 = 22;
const RTM_GETROUTE: u16 = 26;
/// `NLM_F_REQUEST | NLM_F_DUMP`
const DUMP: u16 = 0x301;
/// No container has more.
const MAX_MESSAGES: usize = 20_000;

/// The payloads of all messages of a dump.
fn dump(kind: u16) -> Result<Vec<Vec<u8>>, Fail> {
    let socket = sc!(SYS_socket, libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0)
        .what("socket AF_NETLINK")?;
    let fd = Fd(socket as i32);
    // Header (length, type, flags, sequence, port), then the longest of the three request bodies, all zero.
    let request = Writer::default().u32(32).u16(kind).u16(DUMP).u32(1).u32(0).bytes(&[0; 16]).0;
    sc!(SYS_sendto, fd.0, request.as_slice(), request.len(), 0, 0, 0).what("send rtnetlink request")?;
    let mut out = Vec::new();
    let mut buffer = vec![0; 65_536];
    loop {
        if !sys::file::ready(fd.0, libc::POLLIN, 3000).what("poll")? {
            return Err(Fail::new(libc::ETIMEDOUT, "rtnetlink gave no answer"));
        }
        let length = sc!(SYS_recvfrom, fd.0, buffer.as_mut_slice(), 65_536, 0, 0, 0)
            .what("receive rtnetlink answer")?;
        let mut rest = &buffer[..length as usize];
        while rest.len() >= 16 {
            let header = Reader(rest);
            let (size, kind) = (header.u32(0) as usize, header.u16(4));
            let Some(body) = rest.get(16..size) else {
                return Err(Fail::new(libc::EBADMSG, "rtnetlink message"));
            };
            match kind {
                NLMSG_DONE => return Ok(out),
                NLMSG_ERROR => return Err(Fail::new(-Reader(body).i32(0), "rtnetlink dump")),
                _ if out.len() == MAX_MESSAGES => return Ok(out),
                _ => out.push(body.to_vec()),
            }
            rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// Attribute `kind` of a message, or of a nested attribute.
fn attribute(mut rest: &[u8], kind: u16) -> Option<&[u8]> {
    while rest.len() >= 4 {
        let header = Reader(rest);
        let size = usize::from(header.u16(0));
        let body = rest.get(4..size)?;
        // The two high bits are flags (nested, byte order).
        if header.u16(2) & 0x3fff == kind {
            return Some(body);
        }
        rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

fn address(bytes: &[u8]) -> Value {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ipv4Addr::from(v4).to_string().into();
    }
    <[u8; 16]>::try_from(bytes).map_or(Value::Null, |v6| Ipv6Addr::from(v6).to_string().into())
}

fn string(bytes: &[u8]) -> Value {
    text(Reader(bytes).c_str(0, bytes.len()))
}

const IF_FLAGS: &[Flag] = &[
    ("up", 1),
    ("broadcast", 2),
    ("loopback", 8),
    ("pointopoint", 16),
    ("running", 64),
    ("noarp", 128),
    ("promisc", 256),
    ("multicast", 4096),
    ("lower_up", 65_536),
];

fn link(body: &[u8], addresses: &[Vec<u8>]) -> Value {
    let (header, attributes) = (Reader(body), body.get(16..).unwrap_or_default());
    let (index, flags) = (header.u32(4), u64::from(header.u32(8)));
    let get = |kind| attribute(attributes, kind);
    let mac = get(1).map(|mac| mac.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":"));
    let kind = get(18).and_then(|info| attribute(info, 1)).map(string);
    let mine = addresses.iter().filter(|address| Reader(address).u32(4) == index).map(|body| {
        let attributes = body.get(8..).unwrap_or_default();
        // On point-to-point links IFA_ADDRESS is the peer's; IFA_LOCAL, where there is one, is ours.
        let own = attribute(attributes, 2).or_else(|| attribute(attributes, 1)).map(address);
        json!({ "family": family(body), "address": own, "prefix": body.get(1), "scope": body.get(3) })
    });
    json!({
        "name": get(3).map(string), "index": index, "mac": mac, "mtu": get(4).map(|mtu| Reader(mtu).u32(0)),
        "flags": names::flag_names(flags, IF_FLAGS), "flags_number": flags, "up": flags & 1 == 1,
        "peer_index": get(5).map(|peer| Reader(peer).u32(0)), "kind": kind, "addresses": mine.collect::<Vec<_>>(),
    })
}

fn family(body: &[u8]) -> &'static str {
    match body.first().copied().map(i32::from) {
        Some(libc::AF_INET) => "inet",
        Some(libc::AF_INET6) => "inet6",
        _ => "other",
    }
}

pub fn interfaces(_: &mut Cx, _: &Step) -> Answer {
    let links = dump(RTM_GETLINK)?;
    let addresses = dump(RTM_GETADDR)?;
    Ok(json!({ "interfaces": links.iter().map(|body| link(body, &addresses)).collect::<Vec<_>>() }))
}

pub fn routes(_: &mut Cx, _: &Step) -> Answer {
    let row = |body: &Vec<u8>| {
        let attributes = body.get(12..).unwrap_or_default();
        let get = |kind| attribute(attributes, kind);
        let table = get(15).map_or_else(|| body.get(4).copied().map(u32::from), |id| Some(Reader(id).u32(0)));
        json!({
            "family": family(body), "destination": get(1).map(address), "prefix": body.get(1),
            "gateway": get(5).map(address), "oif": get(4).map(|index| Reader(index).u32(0)),
            "metric": get(6).map(|metric| Reader(metric).u32(0)), "table": table, "type": body.get(7),
        })
    };
    Ok(json!({ "routes": dump(RTM_GETROUTE)?.iter().map(row).collect::<Vec<_>>() }))
}
