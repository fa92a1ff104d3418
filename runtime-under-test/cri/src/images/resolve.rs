//! Host names to addresses without the C library's name service, which a static program cannot load:
//! literals, `/etc/hosts`, then DNS over UDP to the servers of `/etc/resolv.conf`.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::error::{Context as _, Error, Result};
use crate::util;

/// Addresses of `host`, at least one.
pub async fn resolve(host: &str) -> Result<Vec<IpAddr>> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse() {
        return Ok(vec![ip]);
    }
    let from_file = in_hosts_file(&fs::read_to_string("/etc/hosts").unwrap_or_default(), bare);
    if !from_file.is_empty() {
        return Ok(from_file);
    }
    if bare == "localhost" {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let servers: Vec<IpAddr> = fs::read_to_string("/etc/resolv.conf")
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse().ok())
        .take(3)
        .collect();
    let mut found = Vec::new();
    for server in servers {
        for kind in [1_u16, 28] {
            if let Ok(mut ips) = ask(server, bare, kind).await {
                found.append(&mut ips);
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Err(Error::internal(format!("the name {bare:?} has no address in /etc/hosts nor in DNS")))
}

fn in_hosts_file(text: &str, host: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split('#').next()?.split_whitespace();
            let ip = words.next()?.parse().ok()?;
            words.any(|name| name.eq_ignore_ascii_case(host)).then_some(ip)
        })
        .collect()
}

async fn ask(server: IpAddr, host: &str, kind: u16) -> Result<Vec<IpAddr>> {
    let id = u16::from_be_bytes(util::random_bytes::<2>()?);
    let query = encode_query(id, host, kind)?;
    let local: SocketAddr =
        if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(local).await.doing("opening a DNS socket")?;
    socket.connect((server, 53)).await.doing("connecting to the DNS server")?;
    for _ in 0..2 {
        socket.send(&query).await.doing("asking the DNS server")?;
        let mut answer = [0_u8; 4096];
        if let Ok(Ok(len)) = timeout(Duration::from_secs(2), socket.recv(&mut answer)).await {
            return decode_answer(&answer[..len], id, kind)
                .ok_or_else(|| Error::internal(format!("the DNS answer for {host:?} cannot be read")));
        }
    }
    Err(Error::internal(format!("the DNS server {server} did not answer")))
}

fn encode_query(id: u16, host: &str, kind: u16) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(64);
    out.extend(id.to_be_bytes());
    out.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in host.trim_end_matches('.').split('.') {
        let len = u8::try_from(label.len()).ok().filter(|l| (1..=63).contains(l));
        out.push(len.ok_or_else(|| Error::invalid(format!("{host:?} is not a host name")))?);
        out.extend(label.as_bytes());
    }
    out.push(0);
    out.extend(kind.to_be_bytes());
    out.extend([0, 1]);
    Ok(out)
}

fn decode_answer(bytes: &[u8], id: u16, kind: u16) -> Option<Vec<IpAddr>> {
    let u16_at = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    if u16_at(0)? != id || bytes.get(2)? & 0x80 == 0 {
        return None;
    }
    let (questions, answers) = (u16_at(4)?, u16_at(6)?);
    let mut at = 12;
    for _ in 0..questions {
        at = skip_name(bytes, at)? + 4;
    }
    let mut found = Vec::new();
    for _ in 0..answers.min(64) {
        at = skip_name(bytes, at)?;
        let (this, len) = (u16_at(at)?, usize::from(u16_at(at + 8)?));
        let data = bytes.get(at + 10..at + 10 + len)?;
        if this == kind {
            if let Ok(v4) = <[u8; 4]>::try_from(data) {
                found.push(IpAddr::from(v4));
            } else if let Ok(v6) = <[u8; 16]>::try_from(data) {
                found.push(IpAddr::from(v6));
            }
        }
        at += 10 + len;
    }
    Some(found)
}

fn skip_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            len if len & 0xc0 == 0xc0 => return Some(at + 2),
            len => at += usize::from(len) + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hosts_and_dns() {
        assert_eq!(in_hosts_file("# x\n10.0.0.1 a b # b2\n::1 c", "B").len(), 1);
        let mut answer = encode_query(7, "a.example", 1).unwrap();
        answer[2] |= 0x80;
        answer[7] = 1;
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1]);
        assert_eq!(decode_answer(&answer, 7, 1).unwrap(), vec![IpAddr::from([192, 0, 2, 1])]);
        for cut in 0..answer.len() {
            let _ = decode_answer(&answer[..cut], 7, 1);
        }
    }
}
