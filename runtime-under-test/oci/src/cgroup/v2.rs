//! `linux.resources` as files of cgroup v2. What has no meaning there is an error, as the spec demands ("Unified").

use super::Error;
use super::json::invalid;
use super::resources::{BlockIo, Cpu, Memory, Rate, Resources};
use super::setting::Setting;
use super::v1::Read;

fn meaningless(field: &str) -> Error {
    invalid(
        format!("linux.resources.{field}"),
        "has no meaning on cgroup v2: leave it out, or use a cgroup v1 host",
    )
}

fn or_max(value: i64) -> String {
    if value == -1 { "max".into() } else { value.to_string() }
}

pub(super) fn memory(memory: &Memory, read: Read<'_>) -> Result<Vec<Setting>, Error> {
    if memory.swappiness.is_some() {
        return Err(meaningless("memory.swappiness"));
    }
    if memory.kernel_tcp.is_some() {
        return Err(meaningless("memory.kernelTCP"));
    }
    if memory.disable_oom_killer == Some(true) {
        return Err(meaningless("memory.disableOOMKiller"));
    }
    if memory.use_hierarchy == Some(false) {
        return Err(meaningless("memory.useHierarchy"));
    }
    if memory.kernel.is_some() {
        return Err(meaningless("memory.kernel"));
    }
    if memory.check_before_update
        && let Some(limit) = memory.limit.filter(|l| *l != -1)
        && let Some(usage) = read("memory.current").and_then(|u| u.trim().parse::<i64>().ok())
        && limit < usage
    {
        let why = format!("is {limit}: below the {usage} bytes in use, and checkBeforeUpdate is set");
        return Err(invalid("linux.resources.memory.limit", why));
    }
    let mut all = Vec::new();
    if let Some(swap) = swap(memory, read)? {
        // Where swap is not accounted, having none and having no limit are both as asked.
        let optional = swap == "max" || swap == "0";
        all.push(Setting { optional, ..Setting::new("memory.swap.max", swap, "memory.swap") });
    }
    all.extend(memory.limit.map(|v| Setting::new("memory.max", or_max(v), "memory.limit")));
    all.extend(memory.reservation.map(|v| Setting::new("memory.low", or_max(v), "memory.reservation")));
    Ok(all)
}

/// `memory.swap.max` counts swap alone, the config's field memory and swap together.
fn swap(memory: &Memory, read: Read<'_>) -> Result<Option<String>, Error> {
    let field = "linux.resources.memory.swap";
    match (memory.swap, memory.limit) {
        (None, Some(-1)) | (Some(-1), _) => Ok(Some("max".into())),
        (None, _) => Ok(None),
        (Some(swap), Some(limit)) => Ok(Some((swap - limit).to_string())),
        (Some(swap), None) => match read("memory.max").and_then(|m| m.trim().parse::<i64>().ok()) {
            Some(limit) if swap >= limit => Ok(Some((swap - limit).to_string())),
            Some(limit) => {
                Err(invalid(field, format!("is {swap}: below the cgroup's memory limit ({limit})")))
            }
            None => Err(invalid(field, "counts memory and swap together, so it needs memory.limit too")),
        },
    }
}

/// From 2..=262144 (1024 is the default) to 1..=10000 (100 is the default): a quadratic in the logarithm through the
/// three points, so that default stays default.
pub(super) fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let l = (shares as f64).log2();
            let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

pub(super) fn cpu(cpu: &Cpu, read: Read<'_>) -> Result<Vec<Setting>, Error> {
    if cpu.realtime_runtime.is_some() {
        return Err(meaningless("cpu.realtimeRuntime"));
    }
    if cpu.realtime_period.is_some() {
        return Err(meaningless("cpu.realtimePeriod"));
    }
    let mut all = Vec::new();
    all.extend(cpu.shares.map(|s| Setting::new("cpu.weight", weight_of_shares(s), "cpu.shares")));
    if cpu.quota.is_some() || cpu.period.is_some() {
        // The file holds both; the one that is not asked for stays.
        let now = read("cpu.max").unwrap_or_default();
        let mut now = now.split_whitespace();
        let (quota, period) = (now.next().unwrap_or("max"), now.next().unwrap_or("100000"));
        let quota = cpu.quota.map_or_else(|| quota.to_owned(), or_max);
        let period = cpu.period.map_or_else(|| period.to_owned(), |p| p.to_string());
        let field = if cpu.quota.is_some() { "cpu.quota" } else { "cpu.period" };
        all.push(Setting::new("cpu.max", format!("{quota} {period}"), field));
    }
    all.extend(cpu.burst.map(|b| Setting::new("cpu.max.burst", b, "cpu.burst")));
    all.extend(cpu.idle.map(|v| Setting::new("cpu.idle", v, "cpu.idle")));
    Ok(all)
}

/// From 10..=1000 to 1..=10000, linear.
fn io_weight(weight: u64) -> u64 {
    1 + weight.saturating_sub(10) * 9999 / 990
}

pub(super) fn block_io(io: &BlockIo, read: Read<'_>) -> Result<Vec<Setting>, Error> {
    if io.leaf_weight.is_some() || io.devices.iter().any(|d| d.leaf_weight.is_some()) {
        return Err(meaningless("blockIO.leafWeight"));
    }
    // BFQ takes the config's scale; the kernel's own file has one of ten thousand.
    let bfq = read("io.bfq.weight").is_some();
    let file = if bfq { "io.bfq.weight" } else { "io.weight" };
    let scale = |w: u64| if bfq { w } else { io_weight(w) };
    let mut all = Vec::new();
    all.extend(io.weight.map(|w| {
        let value = if bfq { w.to_string() } else { format!("default {}", scale(w)) };
        Setting::new(file, value, "blockIO.weight")
    }));
    for (i, d) in io.devices.iter().enumerate() {
        let line = |w| format!("{}:{} {}", d.major, d.minor, scale(w));
        all.extend(d.weight.map(|w| Setting::new(file, line(w), &format!("blockIO.weightDevice[{i}]"))));
    }
    for throttle in &io.throttles {
        let (key, field) = match throttle.rate {
            Rate::ReadBps => ("rbps", "blockIO.throttleReadBpsDevice"),
            Rate::WriteBps => ("wbps", "blockIO.throttleWriteBpsDevice"),
            Rate::ReadIops => ("riops", "blockIO.throttleReadIOPSDevice"),
            Rate::WriteIops => ("wiops", "blockIO.throttleWriteIOPSDevice"),
        };
        let value = if throttle.value == 0 { "max".to_owned() } else { throttle.value.to_string() };
        all.push(Setting::new(
            "io.max",
            format!("{}:{} {key}={value}", throttle.major, throttle.minor),
            field,
        ));
    }
    Ok(all)
}

pub(super) fn hugepages(limits: &[(String, u64)]) -> Vec<Setting> {
    let mut all = Vec::new();
    for (size, limit) in limits {
        let field = "hugepageLimits";
        all.push(Setting::new(format!("hugetlb.{size}.rsvd.max"), limit, field).optional());
        all.push(Setting::new(format!("hugetlb.{size}.max"), limit, field));
    }
    all
}

/// The files of `unified`, after everything that was converted. Several lines are several writes.
pub(super) fn unified(resources: &Resources) -> Vec<Setting> {
    let mut all = Vec::new();
    for (file, value) in &resources.unified {
        let field = format!("unified.{file}");
        if value.trim().is_empty() {
            all.push(Setting::new(file, value, &field));
        }
        all.extend(value.lines().filter(|l| !l.trim().is_empty()).map(|l| Setting::new(file, l, &field)));
    }
    all
}
