//! config-linux.md, resources that are not set: what the kernel gives a new cgroup stays as it is.

use super::support::cgroup_dir;
use plimsoll_kit::prelude::*;
use std::fs;

/// The file's table of contents.
pub static CASES: &[Case] = &[unset_resource_keeps_the_kernel_s_value];

/// A controller, a file of it, and what the kernel puts there; version 1 and version 2 have names of their own.
const FILES: &[(&str, &str, &str)] = &[
    ("pids", "pids.max", "max"),
    ("memory", "memory.limit_in_bytes", "9223372036854771712"),
    ("memory", "memory.soft_limit_in_bytes", "9223372036854771712"),
    ("memory", "memory.memsw.limit_in_bytes", "9223372036854771712"),
    ("memory", "memory.max", "max"),
    ("memory", "memory.low", "0"),
    ("memory", "memory.swap.max", "max"),
    ("cpu", "cpu.shares", "1024"),
    ("cpu", "cpu.cfs_quota_us", "-1"),
    ("cpu", "cpu.cfs_period_us", "100000"),
    ("cpu", "cpu.cfs_burst_us", "0"),
    ("cpu", "cpu.weight", "100"),
    ("cpu", "cpu.max", "max 100000"),
    ("cpu", "cpu.idle", "0"),
];

const PARTS: &[Variant] = &[
    Variant::new("pids", &["pids", "pids.limit"]),
    Variant::new("memory", &["memory", "memory.limit", "memory.reservation", "memory.swap"]),
    Variant::new("cpu", &["cpu", "cpu.shares", "cpu.quota", "cpu.period", "cpu.burst", "cpu.idle"]),
];

/// A resource that is not configured keeps what the kernel gives a new cgroup, with the object empty or absent.
#[case(covers = [], matrix(part = PARTS))]
async fn unset_resource_keeps_the_kernel_s_value(cx: &mut Cx) -> Verdict {
    let part = cx.param("part");
    cx.need_controller(part)?;
    for form in ["absent", "empty"] {
        let mut builder = cx.container(probe::pause());
        if form == "empty" {
            builder = builder.set(&format!("/linux/resources/{part}"), json!({}));
        }
        let container = builder.running().await?;
        let dir = cgroup_dir(cx, &container, part)?;
        let mut read = 0;
        for (_, file, want) in FILES.iter().filter(|(controller, ..)| *controller == part) {
            if let Ok(seen) = fs::read_to_string(dir.join(file)) {
                check_eq!(seen.trim(), *want, "{file} where {part} is {form}");
                read += 1;
            }
        }
        cx.need(read > 0, "cgroup-file", "the controller has none of the files that tell its limits")?;
        container.delete_force().await?.ready("delete")?;
    }
    Ok(())
}
