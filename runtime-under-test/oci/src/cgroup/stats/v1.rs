//! Statistics of cgroup v1.

use serde_json::{Map, Value, json};

use super::{Files, list, of, page_sizes};

/// Nanoseconds in a tick of `cpuacct.stat` (`USER_HZ` is 100 on every Linux).
const TICK: u64 = 10_000_000;

pub(super) fn cpu(account: &Files, cpu: Option<&Files>) -> Value {
    let ticks = account.table("cpuacct.stat");
    let user = account.number("cpuacct.usage_user").unwrap_or_else(|| of(&ticks, "user") * TICK);
    let kernel = account.number("cpuacct.usage_sys").unwrap_or_else(|| of(&ticks, "system") * TICK);
    let percpu: Vec<u64> = account
        .text("cpuacct.usage_percpu")
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|n| n.parse().ok())
        .collect();
    let throttling = cpu.map(|files| files.table("cpu.stat")).unwrap_or_default();
    json!({
        "usage": {
            "total": account.number("cpuacct.usage").unwrap_or(0),
            "percpu": percpu,
            "kernel": kernel,
            "user": user,
        },
        "throttling": {
            "periods": of(&throttling, "nr_periods"),
            "throttledPeriods": of(&throttling, "nr_throttled"),
            "throttledTime": of(&throttling, "throttled_time"),
        },
    })
}

pub(super) fn memory(files: &Files) -> Value {
    let raw = files.table("memory.stat");
    let entry = |prefix: &str| {
        let number = |file: &str| files.number(&format!("{prefix}.{file}")).unwrap_or(0);
        json!({
            "limit": number("limit_in_bytes"),
            "usage": number("usage_in_bytes"),
            "max": number("max_usage_in_bytes"),
            "failcnt": number("failcnt"),
        })
    };
    json!({
        "cache": of(&raw, "cache"),
        "usage": entry("memory"),
        "swap": entry("memory.memsw"),
        "kernel": entry("memory.kmem"),
        "kernelTCP": entry("memory.kmem.tcp"),
        "raw": raw,
    })
}

pub(super) fn block_io(files: &Files) -> Value {
    let mut all = Map::new();
    for (key, bfq, plain) in [
        ("ioServiceBytesRecursive", "io_service_bytes_recursive", "throttle.io_service_bytes_recursive"),
        ("ioServicedRecursive", "io_serviced_recursive", "throttle.io_serviced_recursive"),
        ("ioQueueRecursive", "io_queued_recursive", ""),
        ("ioServiceTimeRecursive", "io_service_time_recursive", ""),
        ("ioWaitTimeRecursive", "io_wait_time_recursive", ""),
        ("ioMergedRecursive", "io_merged_recursive", ""),
        ("ioTimeRecursive", "time_recursive", ""),
        ("sectorsRecursive", "sectors_recursive", ""),
    ] {
        // Only disks that BFQ schedules are in its own files; the throttling layer sees all.
        let of_bfq = || entries(&files.text(&format!("blkio.bfq.{bfq}"))?);
        let of_all = || entries(&files.text(&format!("blkio.{plain}"))?);
        if let Some(found) = of_bfq().or_else(of_all) {
            all.insert(key.into(), found);
        }
    }
    all.into()
}

/// Lines such as `254:0 Read 5` or `254:0 5`; the closing total is not one.
fn entries(text: &str) -> Option<Value> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        let rest: Vec<&str> = words.collect();
        let (op, value) = match rest.as_slice() {
            [op, value] => (*op, *value),
            [value] => ("", *value),
            _ => return None,
        };
        let number = |text: &str| text.parse::<u64>().ok();
        Some(json!({"major": number(major)?, "minor": number(minor)?, "op": op, "value": number(value)?}))
    };
    let found: Vec<Value> = text.lines().filter_map(entry).collect();
    (!found.is_empty()).then_some(found.into())
}

pub(super) fn cpuset(files: &Files) -> Value {
    let number = |file: &str| files.number(&format!("cpuset.{file}")).unwrap_or(0);
    let relax = files.text("cpuset.sched_relax_domain_level").and_then(|n| n.trim().parse::<i64>().ok());
    json!({
        "cpus": list(&files.text("cpuset.cpus").unwrap_or_default()),
        "cpu_exclusive": number("cpu_exclusive"),
        "mems": list(&files.text("cpuset.mems").unwrap_or_default()),
        "mem_hardwall": number("mem_hardwall"),
        "mem_exclusive": number("mem_exclusive"),
        "memory_migrate": number("memory_migrate"),
        "memory_spread_page": number("memory_spread_page"),
        "memory_spread_slab": number("memory_spread_slab"),
        "memory_pressure": number("memory_pressure"),
        "sched_load_balance": number("sched_load_balance"),
        "sched_relax_domain_level": relax.unwrap_or(-1),
    })
}

pub(super) fn hugepages(files: &Files) -> Value {
    let mut all = Map::new();
    for size in page_sizes(files, ".usage_in_bytes") {
        let number = |file: &str| files.number(&format!("hugetlb.{size}.{file}")).unwrap_or(0);
        let entry = json!({
            "usage": number("usage_in_bytes"),
            "max": number("max_usage_in_bytes"),
            "failcnt": number("failcnt"),
        });
        all.insert(size.clone(), entry);
    }
    all.into()
}
