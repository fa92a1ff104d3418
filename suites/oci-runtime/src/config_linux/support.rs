//! What several files of this part share: valid bases, cgroup files, calls behind a filter.

use plimsoll_kit::prelude::*;
use std::fs;
use std::path::PathBuf;

/// The container's directory in the hierarchy of a controller, at its `cgroupsPath`; a violation when it is missing.
pub fn cgroup_dir(cx: &Cx, container: &Container, controller: &str) -> Result<PathBuf, Stop> {
    let mount = cx.need_controller(controller)?;
    let dir = container.cgroup_directories().into_iter().find(|d| d.starts_with(&mount));
    dir.ok_or_else(|| {
        Stop::violation(
            format!("a cgroup at linux.cgroupsPath below {}", mount.display()),
            "there is none while the container runs",
        )
    })
}

/// A file of the container's cgroup, trimmed; a skip when this kernel has no such file.
pub fn cgroup_file(cx: &Cx, container: &Container, controller: &str, file: &str) -> Result<String, Stop> {
    let path = cgroup_dir(cx, container, controller)?.join(file);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(e) => Err(Stop::Skip {
            lack: format!("cgroup-file-{file}"),
            reason: format!("this kernel's {controller} controller does not let {file} be read: {e}"),
        }),
    }
}

/// A block device of the host as `(major, minor)`; a skip when there is none.
pub fn block_device(cx: &Cx) -> Result<(u64, u64), Stop> {
    let entries = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let mut devices: Vec<String> = entries
        .filter_map(|e| fs::read_to_string(e.path().join("dev")).ok())
        .map(|t| t.trim().to_owned())
        .collect();
    devices.sort();
    let parsed = devices.iter().find_map(|d| {
        let (major, minor) = d.split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    cx.need(parsed.is_some(), "block-device", "/sys/block names no device")?;
    Ok(parsed.unwrap_or_default())
}

/// A block device whose scheduler is bfq, the only one that knows weights, as `(major, minor)`; a skip when there is
/// none.
pub fn weighted_device(cx: &Cx) -> Result<(u64, u64), Stop> {
    let entries = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let bfq = |e: &fs::DirEntry| {
        fs::read_to_string(e.path().join("queue/scheduler")).is_ok_and(|t| t.contains("[bfq]"))
    };
    let found = entries.filter(bfq).find_map(|e| {
        let text = fs::read_to_string(e.path().join("dev")).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    cx.need(found.is_some(), "bfq-device", "no block device of the host has the scheduler bfq")?;
    Ok(found.unwrap_or_default())
}

/// A configuration in which the part of `linux` at `top` is present and valid.
pub fn valid_base(builder: Builder, top: &str) -> Builder {
    match top {
        "uidMappings" | "gidMappings" => builder.user_namespace(100_000),
        "timeOffsets" => builder
            .namespace("time", None)
            .set("/linux/timeOffsets", json!({ "monotonic": { "secs": 10, "nanosecs": 5 } })),
        "devices" => builder.set(
            "/linux/devices",
            json!([{ "path": "/dev/given", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 0, "gid": 0 }]),
        ),
        "resources.blockIO" => builder.set("/linux/resources/blockIO", throttles()),
        "resources.hugepageLimits" => builder
            .set("/linux/resources/hugepageLimits", json!([{ "pageSize": "2MB", "limit": 2_097_152 }])),
        "resources.network" => builder.set(
            "/linux/resources/network",
            json!({ "classID": 1_048_577, "priorities": [{ "name": "lo", "priority": 1 }] }),
        ),
        "memoryPolicy" => builder.set(
            "/linux/memoryPolicy",
            json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"] }),
        ),
        "personality" => {
            builder.set("/linux/personality", json!({ "domain": "LINUX" })).set("/linux/personality/flags", json!([]))
        }
        "seccomp" => builder.set(
            "/linux/seccomp",
            json!({
                "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "flags": [],
                "syscalls": [{
                    "names": ["personality"], "action": "SCMP_ACT_ERRNO",
                    "args": [{ "index": 0, "value": 4711, "op": "SCMP_CMP_EQ" }]
                }]
            }),
        ),
        _ => builder,
    }
}

fn throttles() -> Value {
    let (major, minor) = fs::read_to_string("/sys/block/loop0/dev")
        .ok()
        .and_then(|t| t.trim().split_once(':').map(|(a, b)| (a.parse().unwrap_or(7), b.parse().unwrap_or(0))))
        .unwrap_or((7_u64, 0_u64));
    let rate = json!([{ "major": major, "minor": minor, "rate": 1_048_576 }]);
    let mut all = json!({});
    for name in ["ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS"] {
        all[format!("throttle{name}Device")] = rate.clone();
    }
    all
}

/// Skips unless the host has what the valid base needs, and the runtime accepts that base.
pub async fn need_base(cx: &Cx, top: &str) -> Result<(), Stop> {
    match top {
        "intelRdt" => cx.need_path("/sys/fs/resctrl/schemata", "resctrl")?,
        "resources.blockIO" => {
            cx.need_controller("blkio").or_else(|_| cx.need_v2("io"))?;
        }
        "resources.hugepageLimits" => {
            cx.need_v1("hugetlb").or_else(|_| cx.need_v2("hugetlb"))?;
        }
        "resources.network" => {
            cx.need_v1("net_cls")?;
            cx.need_v1("net_prio")?;
        }
        _ => {}
    }
    if valid_base(cx.container(probe::exit(0)), top).config() == cx.container(probe::exit(0)).config() {
        return Ok(());
    }
    let (call, container) = valid_base(cx.container(probe::exit(0)), top).attempt().await?;
    cx.need(
        call.succeeded(),
        "valid-base",
        &format!(
            "the runtime refuses a valid {top}, so a refusal of an invalid one shows nothing: {}",
            call.describe()
        ),
    )?;
    container.delete_force().await?.ready("delete of the valid base")?;
    Ok(())
}
