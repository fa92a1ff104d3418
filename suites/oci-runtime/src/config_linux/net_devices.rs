//! config-linux.md, network devices: what can be shown without a device of the host's own to give away.

use plimsoll_kit::prelude::*;
use std::path::Path;

/// The file's table of contents.
pub static CASES: &[Case] = &[empty_map_changes_nothing, missing_device_is_error, immovable_device_is_error];

/// An empty map of devices changes nothing.
#[case(covers = ["net-devices"])]
async fn empty_map_changes_nothing(cx: &mut Cx) -> Verdict {
    let builder = cx.container(probe::ask(["interfaces"])).set("/linux/netDevices", json!({}));
    let answers = builder.answers().await?;
    let all = answers.facts("interfaces")?["interfaces"].as_array().cloned().unwrap_or_default();
    check!(all.iter().any(|i| i["name"] == "lo"), "a loopback interface", "{all:?}");
    Ok(())
}

/// A device that the host does not have is an error.
#[case(covers = ["net-devices.available"])]
async fn missing_device_is_error(cx: &mut Cx) -> Verdict {
    cx.container(probe::exit(0)).set("/linux/netDevices", json!({ "plimsoll-none": {} })).rejected().await?;
    Ok(())
}

const NAMES: &[Variant] = &[Variant::new("kept", &[]), Variant::new("changed", &["net-devices.name"])];

/// The loopback device, which cannot be moved, is an error, and the host keeps it.
#[case(covers = ["net-devices.check-movable"], matrix(name = NAMES))]
async fn immovable_device_is_error(cx: &mut Cx) -> Verdict {
    let device = if cx.param("name") == "kept" { json!({}) } else { json!({ "name": "plimsoll0" }) };
    let lo = Path::new("/sys/class/net/lo/ifindex");
    let before = std::fs::read_to_string(lo)?;
    cx.container(probe::exit(0)).set("/linux/netDevices", json!({ "lo": device })).rejected().await?;
    check_eq!(std::fs::read_to_string(lo)?, before, "the index of the host's loopback device");
    Ok(())
}
