//! config-linux.md, memory, cpu, block I/O, huge pages, network, pids, RDMA: the value reaches the cgroup's file.

use super::support::{block_device, cgroup_file, weighted_device};
use plimsoll_kit::prelude::*;
use std::fs;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    setting_is_applied,
    empty_object_changes_nothing,
    contradiction_is_error,
    discouraged_setting_is_accepted_or_refused,
    processors_are_those_configured,
    memory_nodes_are_those_configured,
    processes_beyond_the_limit_are_refused,
    pids_zero_is_a_limit,
    limit_below_usage_is_refused_on_update,
    weight_device_accepts_both_weights,
    rdma_limits_are_applied,
    interface_priority_is_applied,
    huge_page_limit_is_applied,
];

/// A setting: its name in the matrix, the controller, what stands in `linux.resources`, and the line that the file
/// of the version 1 and the version 2 controller holds then (one of them, parted by `|`). `MAJ:MIN` stands for a block
/// device of the host.
struct Setting {
    name: &'static str,
    controller: &'static str,
    value: &'static str,
    v1: (&'static str, &'static str),
    v2: (&'static str, &'static str),
}

const fn row(
    name: &'static str,
    controller: &'static str,
    value: &'static str,
    v1: (&'static str, &'static str),
    v2: (&'static str, &'static str),
) -> Setting {
    Setting { name, controller, value, v1, v2 }
}

const NO: (&str, &str) = ("", "");

const SETTINGS: &[Setting] = &[
    row(
        "memory.limit",
        "memory",
        r#"{"memory":{"limit":201326592}}"#,
        ("memory.limit_in_bytes", "201326592"),
        ("memory.max", "201326592"),
    ),
    row(
        "memory.unlimited",
        "memory",
        r#"{"memory":{"limit":-1}}"#,
        ("memory.limit_in_bytes", "9223372036854771712"),
        ("memory.max", "max"),
    ),
    row(
        "memory.reservation",
        "memory",
        r#"{"memory":{"reservation":104857600}}"#,
        ("memory.soft_limit_in_bytes", "104857600"),
        ("memory.low", "104857600"),
    ),
    row(
        "memory.swap",
        "memory",
        r#"{"memory":{"limit":201326592,"swap":301989888}}"#,
        ("memory.memsw.limit_in_bytes", "301989888"),
        ("memory.swap.max", "100663296"),
    ),
    row("memory.swappiness", "memory", r#"{"memory":{"swappiness":41}}"#, ("memory.swappiness", "41"), NO),
    row(
        "memory.oom",
        "memory",
        r#"{"memory":{"disableOOMKiller":true}}"#,
        ("memory.oom_control", "oom_kill_disable 1"),
        NO,
    ),
    row(
        "memory.hierarchy",
        "memory",
        r#"{"memory":{"useHierarchy":true}}"#,
        ("memory.use_hierarchy", "1"),
        NO,
    ),
    // Version 2 by the linear conversion, or by the logarithmic one that later runtimes use.
    row("cpu.shares", "cpu", r#"{"cpu":{"shares":513}}"#, ("cpu.shares", "513"), ("cpu.weight", "20|59")),
    row(
        "cpu.quota",
        "cpu",
        r#"{"cpu":{"quota":51000,"period":100000}}"#,
        ("cpu.cfs_quota_us", "51000"),
        ("cpu.max", "51000 100000"),
    ),
    row(
        "cpu.unlimited",
        "cpu",
        r#"{"cpu":{"quota":-1}}"#,
        ("cpu.cfs_quota_us", "-1"),
        ("cpu.max", "max 100000"),
    ),
    row(
        "cpu.period",
        "cpu",
        r#"{"cpu":{"period":52000}}"#,
        ("cpu.cfs_period_us", "52000"),
        ("cpu.max", "max 52000"),
    ),
    row(
        "cpu.burst",
        "cpu",
        r#"{"cpu":{"quota":51000,"period":100000,"burst":11000}}"#,
        ("cpu.cfs_burst_us", "11000"),
        ("cpu.max.burst", "11000"),
    ),
    row("cpu.idle", "cpu", r#"{"cpu":{"idle":1}}"#, ("cpu.idle", "1"), ("cpu.idle", "1")),
    row("cpu.realtime-runtime", "cpu", r#"{"cpu":{"realtimeRuntime":0}}"#, ("cpu.rt_runtime_us", "0"), NO),
    row(
        "cpu.realtime-period",
        "cpu",
        r#"{"cpu":{"realtimePeriod":900000}}"#,
        ("cpu.rt_period_us", "900000"),
        NO,
    ),
    row("cpu.cpus", "cpuset", r#"{"cpu":{"cpus":"0"}}"#, ("cpuset.cpus", "0"), ("cpuset.cpus", "0")),
    row("cpu.mems", "cpuset", r#"{"cpu":{"mems":"0"}}"#, ("cpuset.mems", "0"), ("cpuset.mems", "0")),
    row("pids.limit", "pids", r#"{"pids":{"limit":71}}"#, ("pids.max", "71"), ("pids.max", "71")),
    row("pids.unlimited", "pids", r#"{"pids":{"limit":-1}}"#, ("pids.max", "max"), ("pids.max", "max")),
    row("block-io.weight", "blkio", r#"{"blockIO":{"weight":250}}"#, ("blkio.bfq.weight", "250"), NO),
    row(
        "block-io.leaf-weight",
        "blkio",
        r#"{"blockIO":{"leafWeight":250}}"#,
        ("blkio.leaf_weight", "250"),
        NO,
    ),
    row(
        "block-io.weight-device",
        "blkio",
        r#"{"blockIO":{"weightDevice":[{"major":MAJ,"minor":MIN,"weight":300}]}}"#,
        ("blkio.bfq.weight_device", "MAJ:MIN 300"),
        NO,
    ),
    row(
        "block-io.device-leaf-weight",
        "blkio",
        r#"{"blockIO":{"weightDevice":[{"major":MAJ,"minor":MIN,"leafWeight":300}]}}"#,
        ("blkio.leaf_weight_device", "MAJ:MIN 300"),
        NO,
    ),
    row(
        "block-io.read-bps",
        "blkio",
        r#"{"blockIO":{"throttleReadBpsDevice":[{"major":MAJ,"minor":MIN,"rate":1048576}]}}"#,
        ("blkio.throttle.read_bps_device", "MAJ:MIN 1048576"),
        ("io.max", "MAJ:MIN rbps=1048576 wbps=max riops=max wiops=max"),
    ),
    row(
        "block-io.write-bps",
        "blkio",
        r#"{"blockIO":{"throttleWriteBpsDevice":[{"major":MAJ,"minor":MIN,"rate":1048577}]}}"#,
        ("blkio.throttle.write_bps_device", "MAJ:MIN 1048577"),
        ("io.max", "MAJ:MIN rbps=max wbps=1048577 riops=max wiops=max"),
    ),
    row(
        "block-io.read-iops",
        "blkio",
        r#"{"blockIO":{"throttleReadIOPSDevice":[{"major":MAJ,"minor":MIN,"rate":101}]}}"#,
        ("blkio.throttle.read_iops_device", "MAJ:MIN 101"),
        ("io.max", "MAJ:MIN rbps=max wbps=max riops=101 wiops=max"),
    ),
    row(
        "block-io.write-iops",
        "blkio",
        r#"{"blockIO":{"throttleWriteIOPSDevice":[{"major":MAJ,"minor":MIN,"rate":102}]}}"#,
        ("blkio.throttle.write_iops_device", "MAJ:MIN 102"),
        ("io.max", "MAJ:MIN rbps=max wbps=max riops=max wiops=102"),
    ),
    row(
        "network.class-id",
        "net_cls",
        r#"{"network":{"classID":1048577}}"#,
        ("net_cls.classid", "1048577"),
        NO,
    ),
];

const SETTING_NAMES: &[Variant] = &[
    Variant::new("memory.limit", &["memory.limit", "memory"]),
    Variant::new("memory.unlimited", &["memory.limit"]),
    Variant::new("memory.reservation", &["memory.reservation"]),
    Variant::new("memory.swap", &["memory.swap"]),
    Variant::new("memory.swappiness", &["memory.swappiness"]),
    Variant::new("memory.oom", &["memory.disable-oom-killer"]),
    Variant::new("memory.hierarchy", &["memory.use-hierarchy"]),
    Variant::new("cpu.shares", &["cpu.shares", "cpu"]),
    Variant::new("cpu.quota", &["cpu.quota"]),
    Variant::new("cpu.unlimited", &["cpu.quota"]),
    Variant::new("cpu.period", &["cpu.period"]),
    Variant::new("cpu.burst", &["cpu.burst"]),
    Variant::new("cpu.idle", &["cpu.idle"]),
    Variant::new("cpu.realtime-runtime", &["cpu.realtime-runtime"]),
    Variant::new("cpu.realtime-period", &["cpu.realtime-period"]),
    Variant::new("cpu.cpus", &["cpu.cpus"]),
    Variant::new("cpu.mems", &["cpu.mems"]),
    Variant::new("pids.limit", &["pids.limit", "pids"]),
    Variant::new("pids.unlimited", &["pids.limit"]),
    Variant::new("block-io.weight", &["block-io.weight", "block-io"]),
    Variant::new("block-io.leaf-weight", &["block-io.leaf-weight"]),
    Variant::new(
        "block-io.weight-device",
        &["block-io.weight-device.weight", "block-io.weight-device", "block-io.weight-device.major-minor"],
    ),
    Variant::new("block-io.device-leaf-weight", &["block-io.weight-device.leaf-weight"]),
    Variant::new(
        "block-io.read-bps",
        &["block-io.throttle-read-bps", "block-io.throttle-bps.rate", "block-io.throttle-bps.major-minor"],
    ),
    Variant::new("block-io.write-bps", &["block-io.throttle-write-bps"]),
    Variant::new(
        "block-io.read-iops",
        &["block-io.throttle-read-iops", "block-io.throttle-iops.rate", "block-io.throttle-iops.major-minor"],
    ),
    Variant::new("block-io.write-iops", &["block-io.throttle-write-iops"]),
    Variant::new("network.class-id", &["network-cgroup.class-id", "network-cgroup"]),
];

/// The container's cgroup file holds the configured value.
#[case(covers = [], matrix(setting = SETTING_NAMES))]
async fn setting_is_applied(cx: &mut Cx) -> Verdict {
    let name = cx.param("setting");
    let Some(setting) = SETTINGS.iter().find(|s| s.name == name) else {
        return Err(Stop::setup(format!("the table has no setting {name}")));
    };
    let v1 = cx.need_v1(setting.controller);
    let (file, text) = match &v1 {
        Ok(mount) => {
            // Not the root of the hierarchy, which lacks most limits.
            let file = mount.join(cx.cgroup().trim_start_matches('/')).join(setting.v1.0);
            cx.need_path(&file.display().to_string(), &format!("cgroup-file-{}", setting.v1.0))?;
            setting.v1
        }
        Err(_) => setting.v2,
    };
    let controller = if v1.is_err() && setting.controller == "blkio" { "io" } else { setting.controller };
    if let Err(lack) = v1 {
        let v2 = cx.need_v2(controller);
        if file.is_empty() && v2.is_err() {
            return Err(lack);
        }
        v2?;
        cx.need(!file.is_empty(), "cgroup-v1", "the setting has a file of its own only in version 1")?;
    }
    let (major, minor) = match text.contains("MAJ") {
        true if name.contains("weight") => weighted_device(cx)?,
        true => block_device(cx)?,
        false => (0, 0),
    };
    let fill = |t: &str| t.replace("MAJ", &major.to_string()).replace("MIN", &minor.to_string());
    let value: Value = serde_json::from_str(&fill(setting.value)).map_err(|e| Stop::setup(e.to_string()))?;
    let mut builder = cx.container(probe::pause());
    for (key, part) in value.as_object().into_iter().flatten() {
        builder = builder.set(&format!("/linux/resources/{key}"), part.clone());
    }
    let container = builder.running().await?;
    let seen = cgroup_file(cx, &container, controller, file)?;
    let wanted: Vec<String> = text.split('|').map(fill).collect();
    check!(
        seen.lines().any(|l| wanted.iter().any(|w| w == l)),
        format!("{file} holds {wanted:?}"),
        "{seen:?}"
    );
    Ok(())
}

const EMPTY: &[Variant] = &[
    Variant::new("memory", &["memory"]),
    Variant::new("cpu", &["cpu"]),
    Variant::new("pids", &["pids", "pids.limit"]),
    Variant::new("blockIO", &["block-io"]),
    Variant::new("network", &["network-cgroup"]),
    Variant::new("rdma", &["rdma"]),
    Variant::new("hugepageLimits", &["hugepage-limits"]),
    Variant::new("unified", &["unified"]),
];

/// An empty object, or an empty list, sets nothing and is accepted.
#[case(covers = [], matrix(part = EMPTY))]
async fn empty_object_changes_nothing(cx: &mut Cx) -> Verdict {
    let part = cx.param("part");
    let value = if part == "hugepageLimits" { json!([]) } else { json!({}) };
    cx.container(probe::ask(["identity"])).set(&format!("/linux/resources/{part}"), value).answers().await?;
    Ok(())
}

const CONTRADICTIONS: &[Variant] = &[
    Variant::new("swap-below-limit", &["memory.swap"]),
    Variant::new("swappiness-101", &["memory.swappiness"]),
    Variant::new(
        "burst-above-quota",
        &[
            "cpu.burst.not-above-quota",
            "cpu.quota.not-below-burst",
            "cpu.burst.may-error",
            "cpu.quota.may-error",
        ],
    ),
    Variant::new("quota-too-small", &["cpu.quota"]),
    Variant::new("period-too-small", &["cpu.period"]),
    Variant::new("no-such-processor", &["cpu.cpus"]),
    Variant::new("no-such-node", &["cpu.mems"]),
    Variant::new("no-such-disk", &["block-io.throttle-read-bps"]),
    Variant::new("rdma-without-limit", &["rdma.one-of"]),
];

/// A value that the kernel cannot hold is an error.
#[case(covers = [], matrix(value = CONTRADICTIONS))]
async fn contradiction_is_error(cx: &mut Cx) -> Verdict {
    let (controller, resources) = match cx.param("value") {
        "swap-below-limit" => {
            let mount = cx.need_controller("memory")?;
            if cx.need_v1("memory").is_ok() {
                let file = mount.join("memory.memsw.limit_in_bytes");
                cx.need_path(&file.display().to_string(), "swap-accounting")?;
            }
            ("memory", json!({ "memory": { "limit": 201_326_592, "swap": 100_663_296 } }))
        }
        "swappiness-101" => {
            cx.need_v1("memory")?;
            ("memory", json!({ "memory": { "swappiness": 1001 } }))
        }
        "burst-above-quota" => {
            ("cpu", json!({ "cpu": { "quota": 20_000, "period": 100_000, "burst": 30_000 } }))
        }
        "quota-too-small" => ("cpu", json!({ "cpu": { "quota": 1, "period": 100_000 } })),
        "period-too-small" => ("cpu", json!({ "cpu": { "quota": 50_000, "period": 5 } })),
        "no-such-processor" => ("cpuset", json!({ "cpu": { "cpus": "4095" } })),
        "no-such-node" => ("cpuset", json!({ "cpu": { "mems": "1023" } })),
        "no-such-disk" => (
            "blkio",
            json!({ "blockIO": { "throttleReadBpsDevice": [{ "major": 4000, "minor": 77, "rate": 1000 }] } }),
        ),
        _ => {
            cx.need_v1("rdma").or_else(|_| cx.need_v2("rdma"))?;
            ("rdma", json!({ "rdma": { "mlx5_1": {} } }))
        }
    };
    if controller != "rdma" {
        match controller {
            "blkio" => cx.need_v1("blkio").or_else(|_| cx.need_v2("io"))?,
            other => cx.need_controller(other)?,
        };
    }
    let mut builder = cx.container(probe::exit(0));
    for (key, part) in resources.as_object().into_iter().flatten() {
        builder = builder.set(&format!("/linux/resources/{key}"), part.clone());
    }
    builder.rejected().await?;
    Ok(())
}

const DISCOURAGED: &[Variant] =
    &[Variant::new("kernel", &["memory.kernel"]), Variant::new("kernelTCP", &["memory.kernel-tcp"])];

/// A discouraged memory limit is applied, ignored or refused; which of them is recorded.
#[case(covers = [], matrix(limit = DISCOURAGED))]
async fn discouraged_setting_is_accepted_or_refused(cx: &mut Cx) -> Verdict {
    let limit = cx.param("limit");
    let builder = cx.container(probe::exit(0));
    let builder = builder.set("/linux/resources/memory", json!({ limit: 104_857_600 }));
    let (call, _) = builder.attempt().await?;
    cx.record(&format!("memory.{limit}"), if call.succeeded() { "accepted" } else { "refused" });
    if !call.succeeded() {
        call.must_fail()?;
    }
    Ok(())
}

/// The program runs on the configured processors only.
#[case(covers = ["cpu.cpus"])]
async fn processors_are_those_configured(cx: &mut Cx) -> Verdict {
    cx.need_controller("cpuset")?;
    cx.need(cx.host().cpus > 1, "two-cpus", "the host has one processor, so a set shows nothing")?;
    let builder = cx.container(probe::ask(["affinity"]));
    let answers = builder.set("/linux/resources/cpu", json!({ "cpus": "1" })).answers().await?;
    check_eq!(answers.facts("affinity")?["cpus"], json!([1]), "the processors of the program");
    Ok(())
}

/// The program may use the configured memory nodes only.
#[case(covers = ["cpu.mems"])]
async fn memory_nodes_are_those_configured(cx: &mut Cx) -> Verdict {
    cx.need_controller("cpuset")?;
    let script = probe::script().ask_with("read", json!({ "path": "/proc/self/status" }));
    let answers = cx.container(script).set("/linux/resources/cpu", json!({ "mems": "0" })).answers().await?;
    let text = answers.facts("read")?["data"].as_str().unwrap_or_default().to_owned();
    let line = text.lines().find_map(|l| l.strip_prefix("Mems_allowed_list:")).map(str::trim);
    check_eq!(line, Some("0"), "Mems_allowed_list");
    Ok(())
}

/// A program cannot make more processes than the limit of its container.
#[case(covers = ["pids.limit"])]
async fn processes_beyond_the_limit_are_refused(cx: &mut Cx) -> Verdict {
    cx.need_controller("pids")?;
    let child = json!({ "steps": [{ "do": "sleep", "ms": 200 }] });
    let script = probe::script().act("spawn", json!({ "script": child, "count": 60, "wait": true }));
    let answers = cx.container(script).set("/linux/resources/pids", json!({ "limit": 30 })).answers().await?;
    check_eq!(answers.first("spawn")?.errno(), 11, "errno (EAGAIN) of a program that makes 60 processes");
    Ok(())
}

/// A limit of zero processes is a limit and not its absence.
#[case(covers = ["pids.limit.zero-valid"])]
async fn pids_zero_is_a_limit(cx: &mut Cx) -> Verdict {
    cx.need_controller("pids")?;
    let builder = cx.container(probe::pause()).set("/linux/resources/pids", json!({ "limit": 0 }));
    let (call, container) = builder.attempt().await?;
    if call.succeeded() {
        let seen = cgroup_file(cx, &container, "pids", "pids.max")?;
        check_eq!(seen, "0", "pids.max");
    } else {
        call.must_fail()?;
        cx.record("pids.limit.zero", "refused: no process fits");
    }
    Ok(())
}

/// With the check before an update, a limit below the usage is refused and the old one stays.
#[case(
    covers = [
        "memory.check-before-update.rejects", "memory.check-before-update.may-check", "memory.check-before-update"
    ]
)]
async fn limit_below_usage_is_refused_on_update(cx: &mut Cx) -> Verdict {
    cx.need_v2("memory")?;
    let script = probe::script().act("hold_memory", json!({ "bytes": 67_108_864, "keep": true })).pause();
    let builder = cx.container(script).set("/linux/resources/memory", json!({ "limit": 201_326_592 }));
    let container = builder.running().await?;
    let file = cx.dir().join("update.json");
    fs::write(&file, json!({ "memory": { "limit": 16_777_216, "checkBeforeUpdate": true } }).to_string())?;
    let path = file.display().to_string();
    cx.runtime().call(&["update", "--resources", &path, container.id()]).await?.must_fail()?;
    check_eq!(cgroup_file(cx, &container, "memory", "memory.max")?, "201326592", "memory.max");
    check!(!container.has_exited(), "the program lives", "it has ended");
    Ok(())
}

/// A device may have a weight and a leaf weight.
#[case(covers = ["block-io.weight-device.both"])]
async fn weight_device_accepts_both_weights(cx: &mut Cx) -> Verdict {
    let mount = cx.need_v1("blkio")?;
    let file = mount.join(cx.cgroup().trim_start_matches('/')).join("blkio.leaf_weight_device");
    cx.need_path(&file.display().to_string(), "blkio-leaf-weight")?;
    let (major, minor) = weighted_device(cx)?;
    let device = json!({ "major": major, "minor": minor, "weight": 300, "leafWeight": 400 });
    let builder = cx.container(probe::pause());
    let container =
        builder.set("/linux/resources/blockIO", json!({ "weightDevice": [device] })).running().await?;
    let seen = cgroup_file(cx, &container, "blkio", "blkio.leaf_weight_device")?;
    let line = format!("{major}:{minor} 400");
    check!(seen.lines().any(|l| l == line), format!("the line {line}"), "{seen:?}");
    Ok(())
}

/// The limits of an RDMA device are those of the cgroup.
#[case(covers = ["rdma", "rdma.hca-handles", "rdma.hca-objects", "rdma.both", "rdma.one-of"])]
async fn rdma_limits_are_applied(cx: &mut Cx) -> Verdict {
    cx.need_path("/sys/class/infiniband", "rdma-device")?;
    let device = fs::read_dir("/sys/class/infiniband")?.flatten().next();
    cx.need(device.is_some(), "rdma-device", "/sys/class/infiniband is empty")?;
    cx.need_v1("rdma").or_else(|_| cx.need_v2("rdma"))?;
    let name = device.map(|d| d.file_name().to_string_lossy().into_owned()).unwrap_or_default();
    let limits = json!({ &name: { "hcaHandles": 3, "hcaObjects": 10_000 } });
    let container = cx.container(probe::pause()).set("/linux/resources/rdma", limits).running().await?;
    let seen = cgroup_file(cx, &container, "rdma", "rdma.max")?;
    let line = format!("{name} hca_handle=3 hca_object=10000");
    check!(seen.lines().any(|l| l == line), format!("the line {line}"), "{seen:?}");
    Ok(())
}

/// The priority of an interface is that of the cgroup.
#[case(
    covers = ["network-cgroup.priorities", "network-cgroup.priorities.name", "network-cgroup.priorities.priority"]
)]
async fn interface_priority_is_applied(cx: &mut Cx) -> Verdict {
    cx.need_v1("net_prio")?;
    let network = json!({ "priorities": [{ "name": "lo", "priority": 500 }] });
    let container = cx.container(probe::pause()).set("/linux/resources/network", network).running().await?;
    let seen = cgroup_file(cx, &container, "net_prio", "net_prio.ifpriomap")?;
    check!(seen.lines().any(|l| l == "lo 500"), "the line lo 500", "{seen:?}");
    Ok(())
}

/// The limit of a huge page size is that of the cgroup.
#[case(covers = ["hugepage-limits", "hugepage-limits.limit", "hugepage-limits.page-size"])]
async fn huge_page_limit_is_applied(cx: &mut Cx) -> Verdict {
    let v1 = cx.need_v1("hugetlb").is_ok();
    if !v1 {
        cx.need_v2("hugetlb")?;
    }
    cx.need_path("/sys/kernel/mm/hugepages/hugepages-2048kB", "2MB-pages")?;
    let limits = json!([{ "pageSize": "2MB", "limit": 209_715_200 }]);
    let container =
        cx.container(probe::pause()).set("/linux/resources/hugepageLimits", limits).running().await?;
    let files = if v1 {
        ["hugetlb.2MB.rsvd.limit_in_bytes", "hugetlb.2MB.limit_in_bytes"]
    } else {
        ["hugetlb.2MB.rsvd.max", "hugetlb.2MB.max"]
    };
    let seen: Vec<String> =
        files.iter().filter_map(|f| cgroup_file(cx, &container, "hugetlb", f).ok()).collect();
    check!(seen.iter().any(|s| s == "209715200"), "one of the files holds 209715200", "{seen:?}");
    Ok(())
}
