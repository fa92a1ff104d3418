//! CRI resources to OCI resources, and their checks.

use serde_json::{Map, Value, json};

use crate::api::LinuxContainerResources;
use crate::error::{Error, Result};

/// Checks what the kernel would refuse late or take wrongly.
pub fn check(resources: &LinuxContainerResources) -> Result<()> {
    let (memory, swap) = (resources.memory_limit_in_bytes, resources.memory_swap_limit_in_bytes);
    if swap > 0 && memory > 0 && swap < memory {
        return Err(Error::invalid(
            "memory_swap_limit_in_bytes is memory plus swap and must not be below memory_limit_in_bytes",
        ));
    }
    if memory < -1
        || swap < -1
        || resources.cpu_period < 0
        || resources.cpu_quota < -1
        || resources.cpu_shares < 0
    {
        return Err(Error::invalid("a resource limit is negative"));
    }
    if !(-1000..=1000).contains(&resources.oom_score_adj) {
        return Err(Error::invalid("oom_score_adj must be within -1000..=1000"));
    }
    for (key, value) in &resources.unified {
        if key.is_empty() || key.contains('/') || key.contains("..") || value.contains('\0') {
            return Err(Error::invalid(format!("unified key {key:?} is not the name of a cgroup file")));
        }
    }
    for limit in &resources.hugepage_limits {
        let plain = limit.page_size.bytes().all(|b| b.is_ascii_alphanumeric());
        if !plain || limit.page_size.is_empty() {
            return Err(Error::invalid(format!(
                "hugepage size {:?} is malformed; expected for example 2MB",
                limit.page_size
            )));
        }
    }
    Ok(())
}

/// The OCI form; zero fields are left out because zero means "not given".
pub fn to_oci(resources: &LinuxContainerResources, v2: bool, huge_sizes: &[String]) -> Value {
    let mut out = Map::new();
    let mut cpu = Map::new();
    for (key, value) in
        [("shares", resources.cpu_shares), ("quota", resources.cpu_quota), ("period", resources.cpu_period)]
    {
        if value != 0 {
            cpu.insert(key.into(), json!(value));
        }
    }
    for (key, value) in [("cpus", &resources.cpuset_cpus), ("mems", &resources.cpuset_mems)] {
        if !value.is_empty() {
            cpu.insert(key.into(), json!(value));
        }
    }
    if !cpu.is_empty() {
        out.insert("cpu".into(), cpu.into());
    }
    let mut memory = Map::new();
    if resources.memory_limit_in_bytes != 0 {
        memory.insert("limit".into(), json!(resources.memory_limit_in_bytes));
    }
    if resources.memory_swap_limit_in_bytes != 0 {
        memory.insert("swap".into(), json!(resources.memory_swap_limit_in_bytes));
    }
    if !memory.is_empty() {
        out.insert("memory".into(), memory.into());
    }
    let huge: Vec<Value> = resources
        .hugepage_limits
        .iter()
        .filter(|limit| huge_sizes.contains(&limit.page_size))
        .map(|limit| json!({"pageSize": limit.page_size, "limit": limit.limit}))
        .collect();
    if !huge.is_empty() {
        out.insert("hugepageLimits".into(), huge.into());
    }
    if v2 && !resources.unified.is_empty() {
        out.insert("unified".into(), json!(resources.unified));
    }
    out.into()
}

/// Applies an update: zero and empty mean "keep" (`container.update.zero-keeps`).
pub fn merge(old: &LinuxContainerResources, new: &LinuxContainerResources) -> LinuxContainerResources {
    let keep = |old: i64, new: i64| if new == 0 { old } else { new };
    let keep_text = |old: &String, new: &String| if new.is_empty() { old.clone() } else { new.clone() };
    let mut unified = old.unified.clone();
    unified.extend(new.unified.clone());
    LinuxContainerResources {
        cpu_period: keep(old.cpu_period, new.cpu_period),
        cpu_quota: keep(old.cpu_quota, new.cpu_quota),
        cpu_shares: keep(old.cpu_shares, new.cpu_shares),
        memory_limit_in_bytes: keep(old.memory_limit_in_bytes, new.memory_limit_in_bytes),
        oom_score_adj: keep(old.oom_score_adj, new.oom_score_adj),
        cpuset_cpus: keep_text(&old.cpuset_cpus, &new.cpuset_cpus),
        cpuset_mems: keep_text(&old.cpuset_mems, &new.cpuset_mems),
        hugepage_limits: if new.hugepage_limits.is_empty() {
            old.hugepage_limits.clone()
        } else {
            new.hugepage_limits.clone()
        },
        unified,
        memory_swap_limit_in_bytes: keep(old.memory_swap_limit_in_bytes, new.memory_swap_limit_in_bytes),
    }
}

/// Page sizes that this host's hugetlb controller knows, such as `2MB`.
pub fn huge_page_sizes() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/sys/kernel/mm/hugepages") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let kib: u64 =
                entry.file_name().to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            Some(if kib >= 1 << 20 {
                format!("{}GB", kib >> 20)
            } else if kib >= 1 << 10 {
                format!("{}MB", kib >> 10)
            } else {
                format!("{kib}KB")
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_keeps_and_is_left_out() {
        let old =
            LinuxContainerResources { cpu_shares: 512, memory_limit_in_bytes: 1 << 20, ..Default::default() };
        let merged = merge(&old, &LinuxContainerResources { cpu_quota: 1000, ..Default::default() });
        assert_eq!((merged.cpu_shares, merged.cpu_quota), (512, 1000));
        let oci = to_oci(&merged, true, &[]);
        assert_eq!(oci, json!({"cpu": {"shares": 512, "quota": 1000}, "memory": {"limit": 1 << 20}}));
        assert!(
            check(&LinuxContainerResources {
                memory_limit_in_bytes: 10,
                memory_swap_limit_in_bytes: 5,
                ..Default::default()
            })
            .is_err()
        );
    }
}
