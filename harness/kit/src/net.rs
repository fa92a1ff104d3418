//! A network of the attempt's own: devices that a case may give away, in a namespace that ends with the attempt.

use crate::cx::Cx;
use crate::stop::Stop;
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth};
use std::fs::File;
use std::net::IpAddr;

/// A network namespace as seen through a netlink socket in it.
#[derive(Debug, Clone)]
pub struct Network {
    handle: Handle,
}

impl Cx {
    /// Moves the attempt into a network namespace of its own: what the runtime then takes for the host's network
    /// belongs to the case. Trouble when the harness may not make one.
    pub fn own_network(&self) -> Result<Network, Stop> {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|e| Stop::host("making a network namespace", e))?;
        Network::here()
    }

    /// The network namespace of a process.
    pub fn network_of(&self, pid: i32) -> Result<Network, Stop> {
        let own = File::open("/proc/self/ns/net")?;
        let other = File::open(format!("/proc/{pid}/ns/net"))?;
        setns(&other, CloneFlags::CLONE_NEWNET).map_err(|e| Stop::host("entering a network namespace", e))?;
        let network = Network::here();
        setns(&own, CloneFlags::CLONE_NEWNET).map_err(|e| Stop::host("leaving a network namespace", e))?;
        network
    }
}

impl Network {
    /// The socket belongs to the namespace in which it was opened, wherever its owner goes.
    fn here() -> Result<Self, Stop> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Makes a pair of virtual Ethernet devices, both down. Skips the case where the kernel has none.
    pub async fn pair(&self, name: &str, peer: &str) -> Result<(), Stop> {
        let made = self.handle.link().add(LinkVeth::new(name, peer).build()).execute().await;
        made.map_err(|e| Stop::Skip {
            lack: "veth".into(),
            reason: format!("the kernel makes no virtual Ethernet devices: {e}"),
        })
    }

    /// Sets the largest packet, in bytes, and the hardware address.
    pub async fn set_attributes(&self, name: &str, mtu: u32, mac: [u8; 6]) -> Result<(), Stop> {
        self.change(builder(name).mtu(mtu).address(mac.to_vec()).build()).await
    }

    /// Takes a device up or down.
    pub async fn set_up(&self, name: &str, up: bool) -> Result<(), Stop> {
        let message = builder(name);
        self.change(if up { message.up() } else { message.down() }.build()).await
    }

    /// Adds a permanent address of global scope.
    pub async fn add_address(&self, name: &str, address: IpAddr, prefix: u8) -> Result<(), Stop> {
        let index = self.index(name).await?;
        let added = self.handle.address().add(index, address, prefix).execute().await;
        added.map_err(|e| Stop::host(&format!("giving {name} the address {address}"), e))
    }

    /// Moves a device into the network namespace of a process, under a new name.
    pub async fn give(&self, name: &str, pid: i32, new_name: &str) -> Result<(), Stop> {
        let index = self.index(name).await?;
        let message = LinkUnspec::new_with_index(index).name(new_name).setns_by_pid(pid.unsigned_abs());
        self.change(message.build()).await
    }

    async fn change(&self, message: LinkMessage) -> Result<(), Stop> {
        self.handle.link().change(message).execute().await.map_err(|e| Stop::host("changing a device", e))
    }

    async fn index(&self, name: &str) -> Result<u32, Stop> {
        use futures_util::TryStreamExt;
        let mut found = self.handle.link().get().match_name(name.to_owned()).execute();
        let first = found.try_next().await.map_err(|e| Stop::host(&format!("looking for {name}"), e))?;
        let link = first.ok_or_else(|| Stop::setup(format!("there is no device {name}")))?;
        Ok(link.header.index)
    }
}

fn builder(name: &str) -> LinkMessageBuilder<LinkUnspec> {
    LinkUnspec::new_with_name(name)
}
