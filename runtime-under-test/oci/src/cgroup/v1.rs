//! `linux.resources` as files of cgroup v1. Each function is about one controller; `read` reads a file of the cgroup.

use super::Error;
use super::json::invalid;
use super::resources::{BlockIo, Cpu, Memory, Network, Rate, Rdma};
use super::setting::Setting;

/// Reads a file of the cgroup, by name.
pub(super) type Read<'a> = &'a dyn Fn(&str) -> Option<String>;

pub(super) fn memory(memory: &Memory, read: Read<'_>) -> Result<Vec<Setting>, Error> {
    if memory.check_before_update
        && let Some(limit) = memory.limit.filter(|l| *l != -1)
        && let Some(usage) = read("memory.usage_in_bytes").and_then(|u| u.trim().parse::<i64>().ok())
        && limit < usage
    {
        let why = format!("is {limit}: below the {usage} bytes in use, and checkBeforeUpdate is set");
        return Err(invalid("linux.resources.memory.limit", why));
    }
    let mut all = Vec::new();
    let mut put = |file: &str, value: Option<i64>, field: &str| {
        all.extend(value.map(|v| Setting::new(file, v, field)));
    };
    put("memory.limit_in_bytes", memory.limit, "memory.limit");
    put("memory.soft_limit_in_bytes", memory.reservation, "memory.reservation");
    put("memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp, "memory.kernelTCP");
    put("memory.swappiness", memory.swappiness.map(u64::cast_signed), "memory.swappiness");
    put("memory.oom_control", memory.disable_oom_killer.map(i64::from), "memory.disableOOMKiller");
    put("memory.use_hierarchy", memory.use_hierarchy.map(i64::from), "memory.useHierarchy");
    // Unlimited memory with limited swap is not possible, so the former implies the latter. Where swap is not
    // accounted there is nothing to be unlimited.
    let swap = memory.swap.or(memory.limit.filter(|l| *l == -1));
    all.extend(swap.map(|swap| Setting {
        optional: swap == -1,
        ..Setting::new("memory.memsw.limit_in_bytes", swap, "memory.swap")
    }));
    // Since Linux 5.16 the kernel does not limit its own memory apart; the spec calls the field not recommended.
    all.extend(
        memory.kernel.map(|k| Setting::new("memory.kmem.limit_in_bytes", k, "memory.kernel").optional()),
    );
    Ok(all)
}

pub(super) fn cpu(cpu: &Cpu) -> Vec<Setting> {
    let mut all = Vec::new();
    all.extend(cpu.shares.map(|v| Setting::new("cpu.shares", v, "cpu.shares")));
    all.extend(cpu.period.map(|v| Setting::new("cpu.cfs_period_us", v, "cpu.period")));
    all.extend(cpu.quota.map(|v| Setting::new("cpu.cfs_quota_us", v, "cpu.quota")));
    all.extend(cpu.burst.map(|v| Setting::new("cpu.cfs_burst_us", v, "cpu.burst")));
    all.extend(cpu.realtime_period.map(|v| Setting::new("cpu.rt_period_us", v, "cpu.realtimePeriod")));
    all.extend(cpu.realtime_runtime.map(|v| Setting::new("cpu.rt_runtime_us", v, "cpu.realtimeRuntime")));
    all.extend(cpu.idle.map(|v| Setting::new("cpu.idle", v, "cpu.idle")));
    all
}

/// The same in both versions.
pub(super) fn cpuset(cpu: &Cpu) -> Vec<Setting> {
    let mut all = Vec::new();
    all.extend(cpu.cpus.as_ref().map(|v| Setting::new("cpuset.cpus", v, "cpu.cpus")));
    all.extend(cpu.mems.as_ref().map(|v| Setting::new("cpuset.mems", v, "cpu.mems")));
    all
}

/// The same in both versions.
pub(super) fn pids(limit: i64) -> Vec<Setting> {
    let value = if limit == -1 { "max".to_owned() } else { limit.to_string() };
    vec![Setting::new("pids.max", value, "pids.limit")]
}

pub(super) fn block_io(io: &BlockIo, read: Read<'_>) -> Vec<Setting> {
    if *io == BlockIo::default() {
        return Vec::new();
    }
    let prefix = if read("blkio.bfq.weight").is_some() { "blkio.bfq" } else { "blkio" };
    let mut all = Vec::new();
    all.extend(io.weight.map(|w| Setting::new(format!("{prefix}.weight"), w, "blockIO.weight")));
    all.extend(io.leaf_weight.map(|w| Setting::new("blkio.leaf_weight", w, "blockIO.leafWeight")));
    for (i, d) in io.devices.iter().enumerate() {
        let at = format!("blockIO.weightDevice[{i}]");
        let line = |w: u64| format!("{}:{} {w}", d.major, d.minor);
        all.extend(d.weight.map(|w| Setting::new(format!("{prefix}.weight_device"), line(w), &at)));
        all.extend(d.leaf_weight.map(|w| Setting::new("blkio.leaf_weight_device", line(w), &at)));
    }
    for throttle in &io.throttles {
        let (file, field) = match throttle.rate {
            Rate::ReadBps => ("blkio.throttle.read_bps_device", "blockIO.throttleReadBpsDevice"),
            Rate::WriteBps => ("blkio.throttle.write_bps_device", "blockIO.throttleWriteBpsDevice"),
            Rate::ReadIops => ("blkio.throttle.read_iops_device", "blockIO.throttleReadIOPSDevice"),
            Rate::WriteIops => ("blkio.throttle.write_iops_device", "blockIO.throttleWriteIOPSDevice"),
        };
        let line = format!("{}:{} {}", throttle.major, throttle.minor, throttle.value);
        all.push(Setting::new(file, line, field));
    }
    all
}

/// Reservations are limited too where the kernel accounts them (since Linux 5.7), which is what keeps a container from
/// being killed at a page fault.
pub(super) fn hugepages(limits: &[(String, u64)]) -> Vec<Setting> {
    let mut all = Vec::new();
    for (size, limit) in limits {
        let field = "hugepageLimits";
        all.push(Setting::new(format!("hugetlb.{size}.rsvd.limit_in_bytes"), limit, field).optional());
        all.push(Setting::new(format!("hugetlb.{size}.limit_in_bytes"), limit, field));
    }
    all
}

pub(super) fn net_class(network: &Network) -> Vec<Setting> {
    network.class_id.map(|id| Setting::new("net_cls.classid", id, "network.classID")).into_iter().collect()
}

pub(super) fn net_priorities(network: &Network) -> Vec<Setting> {
    let line = |(name, priority): &(String, u32)| {
        Setting::new("net_prio.ifpriomap", format!("{name} {priority}"), "network.priorities")
    };
    network.priorities.iter().map(line).collect()
}

/// The same in both versions.
pub(super) fn rdma(limits: &[Rdma]) -> Vec<Setting> {
    let line = |limit: &Rdma| {
        let mut words = vec![limit.device.clone()];
        words.extend(limit.hca_handles.map(|n| format!("hca_handle={n}")));
        words.extend(limit.hca_objects.map(|n| format!("hca_object={n}")));
        Setting::new("rdma.max", words.join(" "), &format!("rdma.{}", limit.device))
    };
    limits.iter().map(line).collect()
}
