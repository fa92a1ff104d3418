//! What the process may use: resource limits, scheduling, CPU and memory placement.
use crate::bytes::{bit_list, number};
use crate::names;
use crate::prelude::*;

pub fn rlimits(_: &mut Cx, _: &Step) -> Answer {
    let mut map = Map::new();
    for (resource, name) in names::RLIMITS.iter().enumerate() {
        let mut limit = [0; 16];
        let got = sc!(SYS_prlimit64, 0, resource, 0, &mut limit);
        let limit = Reader(&limit);
        let pair = got.map_or(Value::Null, |_| json!({ "cur": limit.u64(0), "max": limit.u64(8) }));
        map.insert((*name).to_owned(), pair);
    }
    Ok(Value::Object(map))
}

pub fn oom_score_adj(_: &mut Cx, _: &Step) -> Answer {
    let read = |path: &str| sys::file::slurp(path).map(|bytes| number::<i64>(&bytes));
    Ok(
        json!({ "oom_score_adj": read("/proc/self/oom_score_adj")?, "oom_score": read("/proc/self/oom_score")? }),
    )
}

/// sched(7) policies by number.
const POLICIES: [&str; 8] = [
    "SCHED_OTHER",
    "SCHED_FIFO",
    "SCHED_RR",
    "SCHED_BATCH",
    "SCHED_ISO",
    "SCHED_IDLE",
    "SCHED_DEADLINE",
    "SCHED_EXT",
];

/// `SCHED_FLAG_*` of `sched_setattr(2)`.
const SCHED_FLAGS: &[names::Flag] = &[
    ("SCHED_FLAG_RESET_ON_FORK", 1),
    ("SCHED_FLAG_RECLAIM", 2),
    ("SCHED_FLAG_DL_OVERRUN", 4),
    ("SCHED_FLAG_KEEP_POLICY", 8),
    ("SCHED_FLAG_KEEP_PARAMS", 16),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 32),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 64),
];

fn policy_name(policy: u32) -> String {
    POLICIES.get(policy as usize).map_or_else(|| policy.to_string(), |name| (*name).to_owned())
}

/// Where the kernel has no `sched_getattr`: what the older calls know.
fn old_scheduler() -> Answer {
    let policy = sc!(SYS_sched_getscheduler, 0).what("sched_getscheduler")? as u32;
    let mut param = [0; 4];
    let priority = sc!(SYS_sched_getparam, 0, &mut param).ok().map(|_| i32::from_ne_bytes(param));
    // The system call gives 20 - nice, so that it is never negative.
    let nice = sc!(SYS_getpriority, libc::PRIO_PROCESS, 0).ok().map(|value| 20 - value);
    Ok(json!({ "policy": policy_name(policy), "policy_number": policy, "nice": nice, "priority": priority }))
}

pub fn scheduler(_: &mut Cx, _: &Step) -> Answer {
    let mut attr = [0; 56];
    let size = attr.len();
    match sc!(SYS_sched_getattr, 0, &mut attr, size, 0) {
        Err(libc::ENOSYS) => return old_scheduler(),
        other => other.what("sched_getattr")?,
    };
    let attr = Reader(&attr);
    let (policy, flags) = (attr.u32(4), attr.u64(8));
    Ok(json!({
        "policy": policy_name(policy), "policy_number": policy, "flags": names::flag_names(flags, SCHED_FLAGS), "flags_number": flags,
        "nice": attr.i32(16), "priority": attr.u32(20),
        "runtime": attr.u64(24), "deadline": attr.u64(32), "period": attr.u64(40),
        "util_min": attr.u32(48), "util_max": attr.u32(52),
    }))
}

pub fn ioprio(_: &mut Cx, _: &Step) -> Answer {
    // 1 = IOPRIO_WHO_PROCESS, 0 = the caller.
    let value = sc!(SYS_ioprio_get, 1, 0).what("ioprio_get")?;
    let class = value >> 13;
    let name = match class {
        0 => "IOPRIO_CLASS_NONE",
        1 => "IOPRIO_CLASS_RT",
        2 => "IOPRIO_CLASS_BE",
        3 => "IOPRIO_CLASS_IDLE",
        _ => "unknown",
    };
    Ok(json!({ "class": name, "class_number": class, "data": value & 0x1fff, "value": value }))
}

pub fn affinity(_: &mut Cx, _: &Step) -> Answer {
    let mut mask = vec![0; 8192];
    let length = sc!(SYS_sched_getaffinity, 0, 8192, mask.as_mut_slice()).what("sched_getaffinity")?;
    mask.truncate(length as usize);
    Ok(json!({ "cpus": bit_list(&mask) }))
}

pub fn personality(_: &mut Cx, _: &Step) -> Answer {
    let value = sc!(SYS_personality, 0xffff_ffff_u32).what("personality")?;
    Ok(json!({ "personality": format!("{value:#x}"), "number": value }))
}

/// `set_mempolicy(2)` modes by number.
const MEM_MODES: [&str; 7] = [
    "MPOL_DEFAULT",
    "MPOL_PREFERRED",
    "MPOL_BIND",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];

const MEM_FLAGS: &[names::Flag] = &[
    ("MPOL_F_STATIC_NODES", 1 << 15),
    ("MPOL_F_RELATIVE_NODES", 1 << 14),
    ("MPOL_F_NUMA_BALANCING", 1 << 13),
];

pub fn mempolicy(_: &mut Cx, _: &Step) -> Answer {
    let (mut mode, mut nodes) = ([0; 4], vec![0; 512]);
    sc!(SYS_get_mempolicy, &mut mode, nodes.as_mut_slice(), 4096, 0, 0).what("get_mempolicy")?;
    let number = u64::from(u32::from_ne_bytes(mode));
    let base = number & 0x1fff;
    let name = MEM_MODES.get(base as usize).map_or_else(|| base.to_string(), |name| (*name).to_owned());
    Ok(json!({
        "mode": name, "mode_number": number, "flags": names::flag_names(number, MEM_FLAGS), "nodes": bit_list(&nodes),
    }))
}

pub fn umask(_: &mut Cx, _: &Step) -> Answer {
    let mask = sc!(SYS_umask, 0).what("umask")?;
    sc!(SYS_umask, mask).what("umask")?;
    Ok(json!({ "umask": mask, "octal": format!("{mask:04o}") }))
}

/// Whether this much memory may be locked (`RLIMIT_MEMLOCK`, `CAP_IPC_LOCK`).
pub fn mlock(_: &mut Cx, step: &Step) -> Answer {
    let bytes = step.size_or("bytes", 4096, 1 << 30)?;
    let mapping = sys::memory::Mapping::anonymous(bytes).what(format_args!("mmap {bytes} bytes"))?;
    mapping.lock().what(format_args!("mlock {bytes} bytes"))?;
    Ok(json!({ "bytes": bytes }))
}
