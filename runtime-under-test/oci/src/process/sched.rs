//! Scheduler, I/O priority, CPU affinity, execution domain and memory policy: names to kernel numbers.

use crate::bail;
use crate::config::{IoPriority, MemoryPolicy, Personality, Scheduler};
use crate::error::{Context, Error, Result};
use crate::sys;

const POLICIES: [(&str, u32); 6] = [
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", 1),
    ("SCHED_RR", 2),
    ("SCHED_BATCH", 3),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", 6),
];

const SCHED_FLAGS: [(&str, u64); 8] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
    ("SCHED_FLAG_UTIL_CLAMP", 0x60),
];

const IO_CLASSES: [(&str, u32); 3] =
    [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];

/// Memory policy modes by name.
pub const MEMORY_MODES: [(&str, u32); 7] = [
    ("MPOL_DEFAULT", 0),
    ("MPOL_PREFERRED", 1),
    ("MPOL_BIND", 2),
    ("MPOL_INTERLEAVE", 3),
    ("MPOL_LOCAL", 4),
    ("MPOL_PREFERRED_MANY", 5),
    ("MPOL_WEIGHTED_INTERLEAVE", 6),
];

/// Memory policy flags by name.
pub const MEMORY_FLAGS: [(&str, u32); 3] = [
    ("MPOL_F_NUMA_BALANCING", 1 << 13),
    ("MPOL_F_RELATIVE_NODES", 1 << 14),
    ("MPOL_F_STATIC_NODES", 1 << 15),
];

fn lookup<T: Copy>(table: &[(&str, T)], name: &str, what: &str) -> Result<T> {
    table
        .iter()
        .find(|(n, _)| *n == name)
        .map(|(_, v)| *v)
        .ok_or_else(|| Error::new(format!("unknown or unsupported {what} {name:?}")))
}

/// config.md "scheduler": policy is REQUIRED, the rest defaults to zero.
pub fn scheduler(s: &Scheduler) -> Result<sys::SchedAttr> {
    let Some(policy) = s.policy.as_ref() else { bail!("policy is missing") };
    let policy = lookup(&POLICIES, policy, "policy")?;
    let mut flags = 0;
    for flag in &s.flags {
        flags |= lookup(&SCHED_FLAGS, flag, "flag")?;
    }
    if !(-20..=19).contains(&s.nice) {
        bail!("nice {} is outside -20 to 19", s.nice);
    }
    if !(0..=99).contains(&s.priority) {
        bail!("priority {} is outside 0 to 99", s.priority);
    }
    let real_time = matches!(policy, 1 | 2);
    if real_time != (s.priority > 0) {
        bail!(
            "priority {} does not fit the policy (real-time policies take 1 to 99, the others 0)",
            s.priority
        );
    }
    let (runtime, deadline, period) = (s.runtime, s.deadline, s.period);
    if policy != 6 && (runtime, deadline, period) != (0, 0, 0) {
        bail!("runtime, deadline and period belong to SCHED_DEADLINE");
    }
    if policy == 6 && (runtime == 0 || runtime > deadline || (period != 0 && deadline > period)) {
        bail!("SCHED_DEADLINE needs 0 < runtime <= deadline <= period");
    }
    Ok(sys::SchedAttr {
        size: 0,
        policy,
        flags,
        nice: s.nice,
        priority: s.priority as u32,
        runtime,
        deadline,
        period,
    })
}

/// config.md "ioPriority": the value of `ioprio_set(2)`.
pub fn io_priority(io: &IoPriority) -> Result<u32> {
    let class = lookup(&IO_CLASSES, &io.class, "class")?;
    if !(0..=7).contains(&io.priority) {
        bail!("priority {} is outside 0 to 7", io.priority);
    }
    Ok(class << 13 | io.priority as u32)
}

/// A list such as `0-3,7` as a bit mask. Bounded to 8192 bits, the kernel's largest.
pub fn bit_list(list: &str) -> Result<Vec<u64>> {
    let mut mask: Vec<u64> = Vec::new();
    for part in list.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |s: &str| {
            s.trim().parse::<usize>().map_err(|_| Error::new(format!("{list:?} is not a list such as 0-3,7")))
        };
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last >= 8192 {
            bail!("{list:?}: bad range {part}");
        }
        for bit in first..=last {
            if mask.len() <= bit / 64 {
                mask.resize(bit / 64 + 1, 0);
            }
            mask[bit / 64] |= 1 << (bit % 64);
        }
    }
    Ok(mask)
}

/// config-linux.md "Personality": the domain; no flag is defined, so any flag is an error.
pub fn persona(p: &Personality) -> Result<u64> {
    if let Some(flag) = p.flags.first() {
        bail!("flag {flag:?} is not supported");
    }
    lookup(&[("LINUX", 0), ("LINUX32", 8)], &p.domain, "domain")
}

/// config-linux.md "Memory policy": mode with flags, and node mask.
pub fn memory_policy(p: &MemoryPolicy) -> Result<(u32, Vec<u64>)> {
    let mode = lookup(&MEMORY_MODES, &p.mode, "mode")?;
    let mut flags = 0;
    for flag in &p.flags {
        flags |= lookup(&MEMORY_FLAGS, flag, "flag")?;
    }
    let exclusive = MEMORY_FLAGS[1].1 | MEMORY_FLAGS[2].1;
    if flags & exclusive == exclusive {
        bail!("MPOL_F_RELATIVE_NODES and MPOL_F_STATIC_NODES exclude each other");
    }
    let nodes = match p.nodes.as_ref().filter(|n| !n.is_empty()) {
        Some(list) => bit_list(list).context("nodes")?,
        None => Vec::new(),
    };
    let takes_nodes = !matches!(mode, 0 | 4);
    if !takes_nodes && !nodes.is_empty() {
        bail!("mode {} takes no nodes", p.mode);
    }
    // MPOL_PREFERRED without nodes means the local node.
    if takes_nodes && mode != 1 && nodes.is_empty() {
        bail!("mode {} needs nodes", p.mode);
    }
    Ok((mode | flags, nodes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_become_masks() {
        assert_eq!(bit_list("0-1,65").unwrap(), [3, 2]);
        for bad in ["", "a", "3-1", "0-99999999", "1,"] {
            assert!(bit_list(bad).is_err(), "{bad}");
        }
    }
}
