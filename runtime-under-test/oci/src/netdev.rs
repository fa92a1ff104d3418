//! `linux.netDevices` (config-linux.md "Network Devices") and the loopback device, over rtnetlink.
//!
//! A move loses addresses and the up state, so they are read before it and set again inside.

mod message;

use crate::bail;
use crate::config::NetDevice;
use crate::error::{Context, Error, Result};
use crate::sys;
use message::{Answer, Netlink, Request};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_FLAGS: u16 = 8;
const IFA_CACHEINFO: u16 = 6;
const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 8;
const IFA_F_PERMANENT: u32 = 0x80;
const RT_SCOPE_UNIVERSE: u8 = 0;

/// A device of the host with what has to survive the move.
#[derive(Debug, Clone)]
pub struct Captured {
    host: String,
    inside: String,
    index: u32,
    up: bool,
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
        list.push(Captured {
            host: host.clone(),
            inside,
            index: link.index,
            up: link.flags & IFF_UP != 0,
            addresses,
        });
    }
    Ok(list)
}

/// Devices that were moved, and what takes them back when the create fails later.
pub struct HandedIn {
    own: File,
    inside: Netlink,
    moved: Vec<Captured>,
}

/// Moves the devices into the namespace `target` under their names there.
///
/// The kernel moves first and renames then, so a taken name is looked for before ("if a device with that
/// name exists in the container's network namespace, the runtime MUST generate an error") and a failure
/// brings all of them back.
pub fn hand_in(devices: &[Captured], target: BorrowedFd<'_>) -> Result<HandedIn> {
    let own = File::open("/proc/self/ns/net").context("own network namespace")?;
    sys::setns(target, libc::CLONE_NEWNET).context("looking into the container's network namespace")?;
    let inside = Netlink::open();
    sys::setns(own.as_fd(), libc::CLONE_NEWNET).context("returning to the own network namespace")?;
    let mut handed = HandedIn { own, inside: inside?, moved: Vec::new() };
    for device in devices {
        if let Err(e) = handed.take(device, target) {
            handed.give_back();
            return Err(e);
        }
    }
    Ok(handed)
}

impl HandedIn {
    fn take(&mut self, device: &Captured, target: BorrowedFd<'_>) -> Result<()> {
        let (host, name) = (&device.host, &device.inside);
        if find(&mut self.inside, name).is_ok() {
            bail!(
                "linux.netDevices {host:?}: a device named {name} exists in the container's network namespace"
            );
        }
        let mut netlink = Netlink::open()?;
        // A device that is up cannot be renamed.
        let mut down = Request::link(libc::RTM_NEWLINK, device.index);
        down.link_flags(0, IFF_UP);
        netlink.ask(&down).with_context(|| format!("taking network device {host} down"))?;
        self.moved.push(device.clone());
        let mut moved = Request::link(libc::RTM_NEWLINK, device.index);
        moved.attribute(IFLA_NET_NS_FD, &target.as_raw_fd().to_ne_bytes());
        moved.name(IFLA_IFNAME, name);
        netlink
            .ask(&moved)
            .with_context(|| format!("moving network device {host} into the container as {name}"))
    }

    /// Brings the devices back as they were.
    pub fn give_back(&mut self) {
        for device in std::mem::take(&mut self.moved) {
            // Under its new name, under its old one, or still here.
            let place =
                find(&mut self.inside, &device.inside).or_else(|_| find(&mut self.inside, &device.host));
            if let Ok(link) = place {
                let mut back = Request::link(libc::RTM_NEWLINK, link.index);
                back.link_flags(0, IFF_UP);
                back.attribute(IFLA_NET_NS_FD, &self.own.as_raw_fd().to_ne_bytes());
                back.name(IFLA_IFNAME, &device.host);
                if let Err(e) = self.inside.ask(&back) {
                    crate::log::warn(&format!(
                        "network device {} could not be brought back: {e}",
                        device.host
                    ));
                    continue;
                }
            }
            let host = Captured { inside: device.host.clone(), ..device };
            if let Err(e) = restore(&host) {
                crate::log::warn(&format!("network device {}: {e}", host.host));
            }
        }
    }
}

fn restore(device: &Captured) -> Result<()> {
    let mut netlink = Netlink::open()?;
    let link = find(&mut netlink, &device.host)?;
    dress(&mut netlink, link.index, device, device.up)
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
        dress(&mut netlink, link.index, device, true).with_context(what)?;
    }
    Ok(())
}

/// Brings a device up (if wanted) and gives it its addresses.
fn dress(netlink: &mut Netlink, index: u32, device: &Captured, up: bool) -> Result<()> {
    if up {
        let mut request = Request::link(libc::RTM_NEWLINK, index);
        request.link_flags(IFF_UP, IFF_UP);
        netlink.ask(&request)?;
    }
    for (family, prefix, attributes) in &device.addresses {
        let mut add = Request::address(*family, *prefix, index);
        add.raw(attributes);
        match netlink.ask(&add) {
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {}
            other => other?,
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
