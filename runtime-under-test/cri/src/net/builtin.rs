//! The built-in network: a veth pair per pod, a bridge, addresses from one range. Needs no plugin.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::netlink::Netlink;
use super::{Attachment, Pod, open_netns, portproxy};
use crate::config::NetworkConfig;
use crate::error::{Context as _, Error, Result};
use crate::util;

/// Bridge making must not race within one server.
static BRIDGE: Mutex<()> = Mutex::new(());

/// Network address and prefix length of `a.b.c.d/n`.
pub fn parse_subnet(text: &str) -> Result<(Ipv4Addr, u8)> {
    let parse = || {
        let (address, prefix) = text.split_once('/')?;
        let (address, prefix): (Ipv4Addr, u8) = (address.parse().ok()?, prefix.parse().ok()?);
        let base = u32::from(address) & (u32::MAX << (32 - u32::from(prefix)));
        (8..=29).contains(&prefix).then_some((Ipv4Addr::from(base), prefix))
    };
    parse().ok_or_else(|| {
        Error::invalid(format!("network.subnet {text:?} is not an IPv4 range such as 10.89.0.0/16"))
    })
}

fn leases(state: &Path) -> PathBuf {
    state.join("leases")
}

/// Takes a free address: one file per address, made exclusively, holds the pod's id.
fn lease(state: &Path, subnet: (Ipv4Addr, u8), id: &str) -> Result<Ipv4Addr> {
    let dir = leases(state);
    util::make_dir(&dir, 0o700)?;
    let (base, size) = (u32::from(subnet.0), 1_u32 << (32 - u32::from(subnet.1)));
    let usable = size - 3; // network, gateway and broadcast are not for pods
    let last = std::fs::read_to_string(dir.join("last"))
        .ok()
        .and_then(|t| t.trim().parse::<u32>().ok())
        .unwrap_or(0);
    for step in 1..=usable {
        let offset = (last + step - 1) % usable;
        let address = Ipv4Addr::from(base + 2 + offset);
        let file =
            std::fs::OpenOptions::new().write(true).create_new(true).open(dir.join(address.to_string()));
        if let Ok(mut file) = file {
            file.write_all(id.as_bytes()).doing("writing an address lease")?;
            let _ = std::fs::write(dir.join("last"), (offset + 1).to_string());
            return Ok(address);
        }
    }
    Err(Error::new(
        tonic::Code::ResourceExhausted,
        "no free pod address is left; remove pods or widen network.subnet",
    ))
}

fn release(state: &Path, id: &str) {
    for entry in std::fs::read_dir(leases(state)).into_iter().flatten().flatten() {
        if std::fs::read_to_string(entry.path()).is_ok_and(|owner| owner == id) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn host_end(id: &str) -> String {
    format!("pl{}", &id[..id.len().min(12)])
}

/// Connects a pod.
pub fn add(config: &NetworkConfig, state: &Path, pod: &Pod) -> Result<Attachment> {
    let subnet = parse_subnet(&config.subnet)?;
    let address = lease(state, subnet, &pod.id)?;
    let result = connect(config, subnet, address, pod).and_then(|()| portproxy::start(pod, address));
    match result {
        Ok(()) => Ok(Attachment { ips: vec![address.to_string()], cni: None }),
        Err(error) => {
            let _ = del(state, pod);
            Err(error.context("setting up the pod's network"))
        }
    }
}

fn connect(config: &NetworkConfig, subnet: (Ipv4Addr, u8), address: Ipv4Addr, pod: &Pod) -> Result<()> {
    let namespace = open_netns(pod.pause)?;
    let host = Netlink::here()?;
    let gateway = Ipv4Addr::from(u32::from(subnet.0) + 1);
    let bridge = {
        let _one = BRIDGE.lock();
        match host.index(&config.bridge) {
            Ok(index) => index,
            Err(_) => {
                host.add_bridge(&config.bridge)?;
                let index = host.index(&config.bridge)?;
                host.add_address(index, gateway, subnet.1)?;
                host.up(index)?;
                index
            }
        }
    };
    host.add_veth(&host_end(&pod.id), bridge, "eth0", &namespace)?;
    let inside = Netlink::in_namespace(&namespace)?;
    let eth = inside.index("eth0")?;
    inside.add_address(eth, address, subnet.1)?;
    inside.up(eth)?;
    inside.default_route(gateway)
}

/// Disconnects a pod; may be repeated.
pub fn del(state: &Path, pod: &Pod) -> Result<()> {
    Netlink::here()?.delete(&host_end(&pod.id))?;
    release(state, &pod.id);
    Ok(())
}

/// Gives back addresses of pods that are not there any more.
pub fn collect(state: &Path, alive: &dyn Fn(&str) -> bool) {
    for entry in std::fs::read_dir(leases(state)).into_iter().flatten().flatten() {
        let stale = entry.file_name() != "last"
            && std::fs::read_to_string(entry.path()).is_ok_and(|owner| !alive(&owner));
        if stale {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Removes the bridge if no pod is connected to it any more.
pub fn remove_idle_bridge(config: &NetworkConfig) {
    let ports = std::fs::read_dir(format!("/sys/class/net/{}/brif", config.bridge)).map(Iterator::count);
    if let (Ok(0), Ok(host)) = (ports, Netlink::here()) {
        let _ = host.delete(&config.bridge);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_unique_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let subnet = parse_subnet("10.1.2.77/29").unwrap();
        assert_eq!(subnet.0, Ipv4Addr::new(10, 1, 2, 72));
        let got: std::collections::BTreeSet<_> =
            (0..5).map(|i| lease(dir.path(), subnet, &format!("p{i}")).unwrap()).collect();
        assert_eq!(got.len(), 5);
        assert!(!got.contains(&Ipv4Addr::new(10, 1, 2, 73)), "the gateway is not for pods");
        assert!(lease(dir.path(), subnet, "x").is_err());
        release(dir.path(), "p3");
        assert!(lease(dir.path(), subnet, "x").is_ok());
        collect(dir.path(), &|id| id == "x");
        assert_eq!(std::fs::read_dir(leases(dir.path())).unwrap().count(), 2);
        assert!(parse_subnet("10.0.0.0/31").is_err() && parse_subnet("::/64").is_err());
    }
}
