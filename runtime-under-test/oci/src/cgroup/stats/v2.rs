//! Statistics of cgroup v2, under the names of v1 that callers know.

use serde_json::{Map, Value, json};

use super::{Files, list, of, page_sizes};

/// The kernel counts in microseconds, the statistics in nanoseconds.
const MICROSECOND: u64 = 1000;

pub(super) fn cpu(files: &Files) -> Value {
    let stat = files.table("cpu.stat");
    let nanoseconds = |name: &str| of(&stat, name).saturating_mul(MICROSECOND);
    json!({
        "usage": {
            "total": nanoseconds("usage_usec"),
            "kernel": nanoseconds("system_usec"),
            "user": nanoseconds("user_usec"),
        },
        "throttling": {
            "periods": of(&stat, "nr_periods"),
            "throttledPeriods": of(&stat, "nr_throttled"),
            "throttledTime": nanoseconds("throttled_usec"),
        },
    })
}

/// `swap` is memory and swap together, as in v1.
pub(super) fn memory(files: &Files) -> Value {
    let raw = files.table("memory.stat");
    let number = |file: &str| files.number(file).unwrap_or(0);
    let failures = |file: &str| of(&files.table(file), "max");
    let (usage, limit) = (number("memory.current"), files.number("memory.max").unwrap_or(u64::MAX));
    let swap_limit = files.number("memory.swap.max").unwrap_or(u64::MAX);
    json!({
        "cache": of(&raw, "file"),
        "usage": {
            "limit": limit,
            "usage": usage,
            "max": number("memory.peak"),
            "failcnt": failures("memory.events"),
        },
        "swap": {
            "limit": limit.saturating_add(swap_limit),
            "usage": usage.saturating_add(number("memory.swap.current")),
            "max": number("memory.swap.peak"),
            "failcnt": failures("memory.swap.events"),
        },
        "kernel": { "limit": 0, "usage": of(&raw, "kernel"), "max": 0, "failcnt": 0 },
        "kernelTCP": { "limit": 0, "usage": of(&raw, "sock"), "max": 0, "failcnt": 0 },
        "raw": raw,
    })
}

pub(super) fn block_io(files: &Files) -> Value {
    let (mut bytes, mut operations) = (Vec::new(), Vec::new());
    for line in files.text("io.stat").unwrap_or_default().lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(|d| d.split_once(':')) else { continue };
        let (Ok(major), Ok(minor)) = (major.parse::<u64>(), minor.parse::<u64>()) else { continue };
        for (name, value) in words.filter_map(|w| w.split_once('=')) {
            let (list, op) = match name {
                "rbytes" => (&mut bytes, "Read"),
                "wbytes" => (&mut bytes, "Write"),
                "dbytes" => (&mut bytes, "Discard"),
                "rios" => (&mut operations, "Read"),
                "wios" => (&mut operations, "Write"),
                "dios" => (&mut operations, "Discard"),
                _ => continue,
            };
            let Ok(value) = value.parse::<u64>() else { continue };
            list.push(json!({"major": major, "minor": minor, "op": op, "value": value}));
        }
    }
    json!({ "ioServiceBytesRecursive": bytes, "ioServicedRecursive": operations })
}

pub(super) fn cpuset(files: &Files) -> Value {
    json!({
        "cpus": list(&files.text("cpuset.cpus.effective").unwrap_or_default()),
        "mems": list(&files.text("cpuset.mems.effective").unwrap_or_default()),
    })
}

pub(super) fn hugepages(files: &Files) -> Value {
    let mut all = Map::new();
    for size in page_sizes(files, ".current") {
        let usage = files.number(&format!("hugetlb.{size}.current")).unwrap_or(0);
        let failures = of(&files.table(&format!("hugetlb.{size}.events")), "max");
        all.insert(size, json!({ "usage": usage, "max": 0, "failcnt": failures }));
    }
    all.into()
}
