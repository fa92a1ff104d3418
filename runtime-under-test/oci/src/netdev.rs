//! `linux.netDevices` (config-linux.md "Network Devices") and the loopback device, over rtnetlink.
//!
//! A move loses addresses and the up state, so they are read before it and set again inside.

mod message;

use crate::bail;
use crate::config::NetDevice;
use crate::error::{Context, Error, Result};
use message::{Answer, Netlink, Request};
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, BorrowedFd};

const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_FLAGS: u16 = 8;
const IFA_CACHEINFO: u16 = 6;
const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 8;
const IFA_F_PERMANENT: u32 = 0x80;
const RT_SCOPE_UNIVERSE: u8 = 0;

/// A device of the host with what has to survive the move.
#[derive(Debug)]
pub struct Captured {
    host: String,
    inside: String,
    index: u32,
    /// Family, prefix length and attributes of each permanent global address.
    addresses: Vec<(u8, u8, Vec<u8>)>,
}

/// Looks the devices up on the host ("the runtime MUST check that moving the device is possible").
pub fn capture(devices: &BTreeMap<String, NetDevice>) -> Result<Vec<Captured>> {
    if devices.is_empty() {
        return Ok(Vec::new());
    }
    let mut netlink = Netlink::open()?;
    let mut list = Vec::new();
    for (host, device) in devices {
        let what = || format!("linux.netDevices {host:?}");
        let link = find(&mut netlink, host).with_context(what)?;
        if link.flags & IFF_LOOPBACK != 0 {
            bail!("{}: a loopback device cannot be moved", what());
        }
        let inside = device.name.as_ref().filter(|n| !n.is_empty()).unwrap_or(host).clone();
        let addresses = addresses(&mut netlink, link.index).with_context(what)?;
        list.push(Captured { host: host.clone(), inside, index: link.index, addresses });
    }
    Ok(list)
}

/// Moves the devices into the namespace, renamed on the way: the kernel does both in one step, so a taken
/// name fails without anything changed.
pub fn hand_in(devices: &[Captured], target: BorrowedFd<'_>) -> Result<()> {
    let mut netlink = Netlink::open()?;
    for device in devices {
        // A device that is up cannot be renamed.
        let mut down = Request::link(libc::RTM_NEWLINK, device.index);
        down.link_flags(0, IFF_UP);
        netlink.ask(&down).with_context(|| format!("taking network device {} down", device.host))?;
        let mut moved = Request::link(libc::RTM_NEWLINK, device.index);
        moved.attribute(IFLA_NET_NS_FD, &target.as_raw_fd().to_ne_bytes());
        moved.name(IFLA_IFNAME, &device.inside);
        netlink.ask(&moved).with_context(|| {
            format!(
                "moving network device {} into the container as {} (is the name taken there?)",
                device.host, device.inside
            )
        })?;
    }
    Ok(())
}

/// Inside the namespace: sets the addresses again and brings the devices up ("the runtime MUST ensure that
/// the interface is set up").
pub fn settle(devices: &[Captured]) -> Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    let mut netlink = Netlink::open()?;
    for device in devices {
        let what = || format!("network device {} inside", device.inside);
        // The index may have changed with the move; a name template was filled in by the kernel.
        let link = match find(&mut netlink, &device.inside) {
            Ok(link) => link,
            Err(_) if device.inside.contains('%') => {
                by_index(&mut netlink, device.index).with_context(what)?
            }
            Err(e) => return Err(e.wrap(what())),
        };
        let mut up = Request::link(libc::RTM_NEWLINK, link.index);
        up.link_flags(IFF_UP, IFF_UP);
        netlink.ask(&up).with_context(what)?;
        for (family, prefix, attributes) in &device.addresses {
            let mut add = Request::address(*family, *prefix, link.index);
            add.raw(attributes);
            match netlink.ask(&add) {
                Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {}
                other => other.with_context(what)?,
            }
        }
    }
    Ok(())
}

/// Brings up `lo` of a new network namespace, where it is always the device with index 1.
pub fn loopback_up() -> Result<()> {
    let mut up = Request::link(libc::RTM_NEWLINK, 1);
    up.link_flags(IFF_UP, IFF_UP);
    Ok(Netlink::open()?.ask(&up)?)
}

struct Link {
    index: u32,
    flags: u32,
}

fn find(netlink: &mut Netlink, name: &str) -> Result<Link> {
    let mut request = Request::link(libc::RTM_GETLINK, 0);
    request.name(IFLA_IFNAME, name);
    first_link(netlink, &request).map_err(|e| {
        if e.raw_os_error() == Some(libc::ENODEV) { Error::new("no such device") } else { e.into() }
    })
}

fn by_index(netlink: &mut Netlink, index: u32) -> Result<Link> {
    Ok(first_link(netlink, &Request::link(libc::RTM_GETLINK, index))?)
}

fn first_link(netlink: &mut Netlink, request: &Request) -> std::io::Result<Link> {
    let answers = netlink.query(request, false)?;
    let body = answers.first().map(|a| a.body.as_slice()).unwrap_or_default();
    match (body.get(4..8), body.get(8..12)) {
        (Some(index), Some(flags)) => {
            Ok(Link { index: message::u32_at(index), flags: message::u32_at(flags) })
        }
        _ => Err(std::io::ErrorKind::UnexpectedEof.into()),
    }
}

/// The permanent addresses of global scope, with all attributes but the kernel's own.
fn addresses(netlink: &mut Netlink, index: u32) -> Result<Vec<(u8, u8, Vec<u8>)>> {
    let request = Request::address_dump();
    let answers = netlink.query(&request, true)?;
    let mut list = Vec::new();
    for Answer { body, .. } in answers.iter().filter(|a| a.kind == libc::RTM_NEWADDR) {
        let Some(head) = body.get(..8) else { continue };
        let (family, prefix, scope) = (head[0], head[1], head[3]);
        if message::u32_at(&head[4..8]) != index || scope != RT_SCOPE_UNIVERSE {
            continue;
        }
        let mut flags = u32::from(head[2]);
        let mut kept = Vec::new();
        for (kind, value) in message::attributes(&body[8..]) {
            match kind {
                IFA_FLAGS => flags = message::u32_at(value),
                // The label (the same number as a link's name) holds the old name.
                IFA_CACHEINFO | IFLA_IFNAME => {}
                _ => message::push_attribute(&mut kept, kind, value),
            }
        }
        if flags & IFA_F_PERMANENT != 0 {
            list.push((family, prefix, kept));
        }
    }
    Ok(list)
}
