//! config-linux.md, network devices: moved, renamed, kept as they were, left alone afterwards.
//!
//! The devices are the attempt's own, in a network namespace that the runtime takes for the host's.

use crate::features::document;
use plimsoll_kit::exec::Exec;
use plimsoll_kit::net::Network;
use plimsoll_kit::prelude::*;
use std::path::Path;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    empty_map_changes_nothing,
    missing_device_is_error,
    immovable_device_is_error,
    device_is_moved,
    claim_is_true,
    bad_name_is_error,
    taken_name_is_error,
    template_avoids_a_taken_name,
    attributes_survive,
    addresses_survive,
    device_is_left_alone,
    device_stays_in_a_joined_namespace,
    device_ends_with_its_namespace,
];

/// The device that is given away, and the other end of its wire.
const DEVICE: &str = "plimsoll0";
const PEER: &str = "plimsoll1";
const MAC: [u8; 6] = [0x02, 0x70, 0x6c, 0x00, 0x00, 0x2a];
const MAC_TEXT: &str = "02:70:6c:00:00:2a";

/// A network of the case's own that holds the pair of devices, both down.
async fn network(cx: &Cx) -> Result<Network, Stop> {
    let network = cx.own_network()?;
    network.pair(DEVICE, PEER).await?;
    network.set_attributes(DEVICE, 1432, MAC).await?;
    Ok(network)
}

fn interfaces(answers: &Answers) -> Result<Vec<Value>, Stop> {
    Ok(answers.facts("interfaces")?["interfaces"].as_array().cloned().unwrap_or_default())
}

/// The devices that the runtime's side sees.
async fn outside(cx: &Cx) -> Result<Vec<Value>, Stop> {
    let nonce = format!("outside-{}", cx.random());
    let exec = Exec::new(&cx.probe_path(), cx.dir().join(&nonce))
        .args([probe::ask(["interfaces"]).text(&nonce, None)]);
    interfaces(&Answers::parse(&exec.run(cx.runtime().reaper()).await?.stdout, &nonce))
}

fn named<'a>(list: &'a [Value], name: &str) -> Option<&'a Value> {
    list.iter().find(|i| i["name"] == name)
}

fn demanded<'a>(list: &'a [Value], name: &str) -> Result<&'a Value, Stop> {
    let names: Vec<&str> = list.iter().filter_map(|i| i["name"].as_str()).collect();
    named(list, name).ok_or_else(|| Stop::violation(format!("a device {name} inside"), format!("{names:?}")))
}

/// A violation unless the device is where it was before, as it was.
async fn still_outside(cx: &Cx) -> Verdict {
    let all = outside(cx).await?;
    let mac = named(&all, DEVICE).map(|i| i["mac"].clone());
    check_eq!(mac, Some(json!(MAC_TEXT)), "the hardware address of the host's device");
    Ok(())
}

/// An empty map of devices changes nothing.
#[case(covers = ["net-devices"])]
async fn empty_map_changes_nothing(cx: &mut Cx) -> Verdict {
    let builder = cx.container(probe::ask(["interfaces"])).set("/linux/netDevices", json!({}));
    let all = interfaces(&builder.answers().await?)?;
    check!(named(&all, "lo").is_some(), "a loopback interface", "{all:?}");
    Ok(())
}

/// A device that the host does not have is an error.
#[case(covers = ["net-devices.available"])]
async fn missing_device_is_error(cx: &mut Cx) -> Verdict {
    cx.container(probe::exit(0)).set("/linux/netDevices", json!({ "plimsoll-none": {} })).rejected().await?;
    Ok(())
}

const NAMES: &[Variant] = &[Variant::new("kept", &[]), Variant::new("changed", &["net-devices.name"])];

/// The object of the device and the name that it is to have inside.
fn by_name(cx: &Cx) -> (Value, &'static str) {
    if cx.param("name") == "kept" { (json!({}), DEVICE) } else { (json!({ "name": "inner0" }), "inner0") }
}

/// The loopback device, which cannot be moved, is an error, and the host keeps it.
#[case(covers = ["net-devices.check-movable"], matrix(name = NAMES))]
async fn immovable_device_is_error(cx: &mut Cx) -> Verdict {
    let lo = Path::new("/sys/class/net/lo/ifindex");
    let before = std::fs::read_to_string(lo)?;
    let (device, _) = by_name(cx);
    cx.container(probe::exit(0)).set("/linux/netDevices", json!({ "lo": device })).rejected().await?;
    check_eq!(std::fs::read_to_string(lo)?, before, "the index of the host's loopback device");
    Ok(())
}

/// A device leaves the host and is up in the container, under its old name or the configured one.
#[case(
    covers = ["net-devices.available", "net-devices.set-up", "net-devices"],
    matrix(name = NAMES)
)]
async fn device_is_moved(cx: &mut Cx) -> Verdict {
    let _network = network(cx).await?;
    let (device, name) = by_name(cx);
    let builder = cx.container(probe::ask(["interfaces"]).pause());
    let container = builder.set("/linux/netDevices", json!({ DEVICE: device })).running().await?;
    let inside = interfaces(&container.wait_for_answer("interfaces").await?)?;
    let moved = demanded(&inside, name)?;
    check_eq!(of "net-devices.set-up"; moved["up"], json!(true), "whether the device is up inside");
    let outside = outside(cx).await?;
    check!(named(&outside, DEVICE).is_none(), "the device is no longer on the host", "it is");
    Ok(())
}

/// What the features document claims of network devices is so: a listed device is moved, or it is not.
#[case(covers = ["features.linux.net-devices.enabled"])]
async fn claim_is_true(cx: &mut Cx) -> Verdict {
    let claim = document(cx)?.pointer("/linux/netDevices/enabled").and_then(Value::as_bool);
    let Some(claim) = claim else {
        let reason = "the features document says nothing of network devices".to_owned();
        return Err(Stop::NotApplicable { capability: "features.linux.netDevices.enabled".into(), reason });
    };
    let _network = network(cx).await?;
    let builder = cx.container(probe::pause()).set("/linux/netDevices", json!({ DEVICE: {} }));
    let (call, _) = builder.attempt().await?;
    let moved = named(&outside(cx).await?, DEVICE).is_none();
    check_eq!(claim, moved, "netDevices.enabled, where a device is moved: {moved}; {}", call.describe());
    Ok(())
}

const BAD_NAMES: &[Variant] = &[
    Variant::new("sixteen-characters", &[]),
    Variant::new("slash", &[]),
    Variant::new("dot", &[]),
    Variant::new("space", &[]),
];

/// A name that no device can have is an error, and the host keeps the device.
#[case(covers = ["net-devices.name"], matrix(name = BAD_NAMES))]
async fn bad_name_is_error(cx: &mut Cx) -> Verdict {
    let _network = network(cx).await?;
    let name = match cx.param("name") {
        "sixteen-characters" => "abcdefghijklmnop",
        "slash" => "a/b",
        "dot" => ".",
        _ => "a b",
    };
    let devices = json!({ DEVICE: { "name": name } });
    cx.container(probe::exit(0)).set("/linux/netDevices", devices).rejected().await?;
    still_outside(cx).await
}

/// A container whose network namespace others join, and the path of that namespace.
async fn holder(cx: &Cx) -> Result<(Container, String), Stop> {
    let container = cx.container(probe::pause()).running().await?;
    let path = format!("/proc/{}/ns/net", container.pid()?);
    Ok((container, path))
}

/// A name that is taken in the joined namespace is an error, and the host keeps the device.
#[case(covers = ["net-devices.name-conflict-errors"])]
async fn taken_name_is_error(cx: &mut Cx) -> Verdict {
    let network = network(cx).await?;
    let (holder, path) = holder(cx).await?;
    network.give(PEER, holder.pid()?, "taken0").await?;
    let builder = cx.container(probe::exit(0)).namespace("network", Some(&path));
    builder.set("/linux/netDevices", json!({ DEVICE: { "name": "taken0" } })).rejected().await?;
    still_outside(cx).await
}

/// A name that ends with `%d` gets a number that is not taken.
#[case(covers = ["net-devices.name-template-allowed"])]
async fn template_avoids_a_taken_name(cx: &mut Cx) -> Verdict {
    let network = network(cx).await?;
    let (holder, path) = holder(cx).await?;
    network.give(PEER, holder.pid()?, "taken0").await?;
    let builder = cx.container(probe::ask(["interfaces"])).namespace("network", Some(&path));
    let devices = json!({ DEVICE: { "name": "taken%d" } });
    let inside = interfaces(&builder.set("/linux/netDevices", devices).answers().await?)?;
    check_eq!(demanded(&inside, "taken1")?["mac"], json!(MAC_TEXT), "the hardware address of taken1");
    Ok(())
}

/// Size of packets and hardware address are those that the device had on the host.
#[case(covers = ["net-devices.attributes-preserved"], matrix(name = NAMES))]
async fn attributes_survive(cx: &mut Cx) -> Verdict {
    let _network = network(cx).await?;
    let (device, name) = by_name(cx);
    let builder = cx.container(probe::ask(["interfaces"]));
    let inside = interfaces(&builder.set("/linux/netDevices", json!({ DEVICE: device })).answers().await?)?;
    let moved = demanded(&inside, name)?;
    check_eq!(moved["mtu"], json!(1432), "the largest packet");
    check_eq!(moved["mac"], json!(MAC_TEXT), "the hardware address");
    Ok(())
}

const FAMILIES: &[Variant] =
    &[Variant::new("ipv4", &[]), Variant::new("ipv6", &[]), Variant::new("both", &[])];

/// Permanent addresses of global scope are there after the move, with their prefixes.
#[case(covers = ["net-devices.permanent-global-addresses-preserved"], matrix(family = FAMILIES))]
async fn addresses_survive(cx: &mut Cx) -> Verdict {
    let network = network(cx).await?;
    // 198.51.100.0/24 and 2001:db8::/32 are for documentation: nobody else has them.
    let mut wanted = Vec::new();
    if cx.param("family") != "ipv6" {
        wanted.push(("198.51.100.7", 24));
    }
    if cx.param("family") != "ipv4" {
        cx.need_path("/proc/net/if_inet6", "ipv6")?;
        wanted.push(("2001:db8::7", 64));
    }
    for (address, prefix) in &wanted {
        let parsed = address.parse().map_err(|e| Stop::setup(format!("{address}: {e}")))?;
        network.add_address(DEVICE, parsed, *prefix).await?;
    }
    network.set_up(DEVICE, true).await?;
    network.set_up(PEER, true).await?;
    let builder = cx.container(probe::ask(["interfaces"]));
    let inside = interfaces(&builder.set("/linux/netDevices", json!({ DEVICE: {} })).answers().await?)?;
    let seen = demanded(&inside, DEVICE)?["addresses"].as_array().cloned().unwrap_or_default();
    for (address, prefix) in wanted {
        let kept = seen.iter().any(|a| a["address"] == address && a["prefix"] == prefix);
        check!(kept, format!("the address {address}/{prefix}"), "{seen:?}");
    }
    Ok(())
}

/// What somebody changes at the device later stays changed.
#[case(covers = ["net-devices.no-lifecycle-management"])]
async fn device_is_left_alone(cx: &mut Cx) -> Verdict {
    let _network = network(cx).await?;
    let builder = cx.container(probe::pause()).set("/linux/netDevices", json!({ DEVICE: {} }));
    let container = builder.running().await?;
    let within = cx.network_of(container.pid()?)?;
    within.set_up(DEVICE, false).await?;
    within.set_attributes(DEVICE, 1300, MAC).await?;
    check_eq!(container.state().await?.status(), "running", "the status");
    let (exec, answers) = container.exec(&[], &probe::ask(["interfaces"])).await?;
    exec.must_succeed()?;
    let inside = interfaces(&answers)?;
    let device = demanded(&inside, DEVICE)?;
    check_eq!(device["up"], json!(false), "whether the device, taken down, is up");
    check_eq!(device["mtu"], json!(1300), "the largest packet, as changed");
    Ok(())
}

/// A device that was moved into a joined namespace is still there when the container is gone.
#[case(covers = ["net-devices.not-moved-back"])]
async fn device_stays_in_a_joined_namespace(cx: &mut Cx) -> Verdict {
    let _network = network(cx).await?;
    let (holder, path) = holder(cx).await?;
    let builder = cx.container(probe::exit(0)).namespace("network", Some(&path));
    let container = builder.set("/linux/netDevices", json!({ DEVICE: {} })).stopped().await?;
    container.delete().await?.must_succeed()?;
    let all = outside(cx).await?;
    check!(named(&all, DEVICE).is_none(), "the device does not come back to the host", "it did");
    let (exec, answers) = holder.exec(&[], &probe::ask(["interfaces"])).await?;
    exec.ready("exec in the container that holds the namespace")?;
    demanded(&interfaces(&answers)?, DEVICE)?;
    Ok(())
}

/// A device that was moved into the container's own namespace does not come back when that ends.
#[case(covers = ["net-devices.not-moved-back"])]
async fn device_ends_with_its_namespace(cx: &mut Cx) -> Verdict {
    let _network = network(cx).await?;
    let builder = cx.container(probe::exit(0)).set("/linux/netDevices", json!({ DEVICE: {} }));
    let container = builder.stopped().await?;
    container.delete().await?.must_succeed()?;
    let all = outside(cx).await?;
    check!(named(&all, DEVICE).is_none(), "the device does not come back to the host", "it did");
    Ok(())
}
