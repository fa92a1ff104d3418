//! Usage of containers and pods from cgroups v1 and v2, `/proc` and the file system.

pub mod metrics;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::api::{
    ContainerAttributes, ContainerStats, CpuUsage, FilesystemIdentifier, FilesystemUsage, IoUsage,
    LinuxPodSandboxStats, MemoryUsage, NetworkInterfaceUsage, NetworkUsage, PodSandboxAttributes,
    PodSandboxStats, ProcessUsage, PsiData, PsiStats, SwapUsage, UInt64Value,
};
use crate::monitor::container::cgroup_pids;
use crate::pods::cgroup::Layout;
use crate::pods::{Container, Daemon, Pod, State, lock, sandbox};
use crate::util::now_ns;

/// Last cpu sample per cgroup: time and usage, both in nanoseconds.
#[derive(Default)]
pub struct Rates(Mutex<HashMap<String, (i64, u64, u64)>>);

impl Rates {
    /// Nanoseconds of cpu per second since the last sample; the last known rate if it is very fresh.
    fn rate(&self, id: &str, at: i64, usage: u64) -> Option<u64> {
        let mut map = lock(&self.0);
        if map.len() > 20_000 {
            map.clear();
        }
        let Some(&(then, before, rate)) = map.get(id) else {
            map.insert(id.to_owned(), (at, usage, 0));
            return None;
        };
        if at - then < 100_000_000 {
            return Some(rate);
        }
        let rate = (u128::from(usage.saturating_sub(before)) * 1_000_000_000 / (at - then) as u128) as u64;
        map.insert(id.to_owned(), (at, usage, rate));
        Some(rate)
    }
}

#[allow(clippy::unnecessary_wraps, reason = "every use is an optional field of a message")]
fn value(value: u64) -> Option<UInt64Value> {
    Some(UInt64Value { value })
}

fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// `key value` lines.
fn keyed(path: &Path) -> HashMap<String, u64> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|l| l.split_once(' '))
        .filter_map(|(k, v)| Some((k.to_owned(), v.trim().parse().ok()?)))
        .collect()
}

/// Figures of one cgroup.
#[derive(Debug, Default, Clone)]
pub struct Sample {
    /// Nanoseconds since 1970.
    pub at: i64,
    /// Cpu time in nanoseconds.
    pub cpu: u64,
    /// Cpu time in user mode.
    pub cpu_user: u64,
    /// Cpu time in the kernel.
    pub cpu_system: u64,
    /// Bytes of memory.
    pub usage: u64,
    /// Bytes without inactive file pages.
    pub working_set: u64,
    /// Anonymous bytes.
    pub rss: u64,
    /// Page cache.
    pub cache: u64,
    /// Faults.
    pub faults: u64,
    /// Faults that needed I/O.
    pub major_faults: u64,
    /// Memory limit; `None` is none.
    pub limit: Option<u64>,
    /// Swap in use.
    pub swap: u64,
    /// Swap limit.
    pub swap_limit: Option<u64>,
    /// Failures to stay below the limit.
    pub fail_count: u64,
    /// Processes.
    pub processes: u64,
}

/// Reads a cgroup; `None` when it is not there.
pub fn sample(layout: Layout, path: &str) -> Option<Sample> {
    let mut out = if layout.v2 { sample_v2(layout, path)? } else { sample_v1(layout, path)? };
    out.at = now_ns();
    out.processes = cgroup_pids(&layout.processes(path), 0).len() as u64;
    Some(out)
}

fn sample_v1(layout: Layout, path: &str) -> Option<Sample> {
    let cpu = layout.dir("cpuacct", path);
    let memory = layout.dir("memory", path);
    let stat = keyed(&memory.join("memory.stat"));
    let get = |key: &str| stat.get(key).copied().unwrap_or(0);
    let usage = number(&memory.join("memory.usage_in_bytes"))?;
    let ticks = keyed(&cpu.join("cpuacct.stat"));
    let tick = |key: &str| ticks.get(key).copied().unwrap_or(0) * 10_000_000;
    let limit = number(&memory.join("memory.limit_in_bytes")).filter(|l| *l < 1 << 60);
    let both = number(&memory.join("memory.memsw.usage_in_bytes")).unwrap_or(usage);
    let both_limit = number(&memory.join("memory.memsw.limit_in_bytes")).filter(|l| *l < 1 << 60);
    Some(Sample {
        cpu: number(&cpu.join("cpuacct.usage"))?,
        cpu_user: tick("user"),
        cpu_system: tick("system"),
        usage,
        working_set: usage.saturating_sub(get("total_inactive_file")),
        rss: get("total_rss"),
        cache: get("total_cache"),
        faults: get("total_pgfault"),
        major_faults: get("total_pgmajfault"),
        limit,
        swap: both.saturating_sub(usage),
        swap_limit: both_limit.zip(limit).map(|(both, memory)| both.saturating_sub(memory)),
        fail_count: number(&memory.join("memory.failcnt")).unwrap_or(0),
        ..Sample::default()
    })
}

fn sample_v2(layout: Layout, path: &str) -> Option<Sample> {
    let dir = layout.dir("", path);
    let cpu = keyed(&dir.join("cpu.stat"));
    let time = |key: &str| cpu.get(key).copied().unwrap_or(0) * 1000;
    let stat = keyed(&dir.join("memory.stat"));
    let get = |key: &str| stat.get(key).copied().unwrap_or(0);
    let usage = number(&dir.join("memory.current")).unwrap_or(0);
    cpu.get("usage_usec")?;
    Some(Sample {
        cpu: time("usage_usec"),
        cpu_user: time("user_usec"),
        cpu_system: time("system_usec"),
        usage,
        working_set: usage.saturating_sub(get("inactive_file")),
        rss: get("anon"),
        cache: get("file"),
        faults: get("pgfault"),
        major_faults: get("pgmajfault"),
        limit: number(&dir.join("memory.max")),
        swap: number(&dir.join("memory.swap.current")).unwrap_or(0),
        swap_limit: number(&dir.join("memory.swap.max")),
        fail_count: keyed(&dir.join("memory.events")).get("max").copied().unwrap_or(0),
        ..Sample::default()
    })
}

/// Pressure of one resource, where the kernel measures it per cgroup (v2 only). The kernel counts
/// microseconds, the interface nanoseconds (`stats.container.psi`).
fn pressure(layout: Layout, path: &str, resource: &str) -> Option<PsiStats> {
    if !layout.v2 {
        return None;
    }
    let text = std::fs::read_to_string(layout.dir("", path).join(format!("{resource}.pressure"))).ok()?;
    let line = |kind: &str| {
        let fields = text.lines().find_map(|l| l.strip_prefix(kind))?;
        let get = |key: &str| fields.split_whitespace().find_map(|f| f.strip_prefix(key)?.strip_prefix('='));
        let average = |key: &str| get(key).and_then(|v| v.parse().ok()).unwrap_or(0.0);
        let total: u64 = get("total").and_then(|v| v.parse().ok()).unwrap_or(0);
        Some(PsiData {
            total: total * 1000,
            avg10: average("avg10"),
            avg60: average("avg60"),
            avg300: average("avg300"),
        })
    };
    Some(PsiStats { full: line("full"), some: line("some") })
}

fn cpu_usage(sample: &Sample, rate: Option<u64>, psi: Option<PsiStats>) -> CpuUsage {
    CpuUsage {
        timestamp: sample.at,
        usage_core_nano_seconds: value(sample.cpu),
        usage_nano_cores: rate.and_then(value),
        psi,
    }
}

fn memory_usage(sample: &Sample, psi: Option<PsiStats>) -> MemoryUsage {
    MemoryUsage {
        timestamp: sample.at,
        working_set_bytes: value(sample.working_set),
        available_bytes: sample.limit.and_then(|l| value(l.saturating_sub(sample.working_set))),
        usage_bytes: value(sample.usage),
        rss_bytes: value(sample.rss),
        page_faults: value(sample.faults),
        major_page_faults: value(sample.major_faults),
        psi,
    }
}

/// Bytes and inodes below a directory.
pub fn disk_usage(dir: &Path) -> (u64, u64) {
    let mut total = (0, 0);
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            total.0 += std::os::unix::fs::MetadataExt::blocks(&meta) * 512;
            total.1 += 1;
            if meta.is_dir() {
                todo.push(entry.path());
            }
        }
    }
    total
}

impl Daemon {
    /// Usage of a container; zeroes when it does not run.
    pub fn container_stats(&self, container: &Container) -> ContainerStats {
        let cgroup = lock(&container.record).cgroup.clone();
        let running = container.state() == State::Running;
        let sample = if running { sample(self.cgroups, &cgroup) } else { None };
        let sample = sample.unwrap_or_else(|| Sample { at: now_ns(), ..Sample::default() });
        let rate = if running { self.rates.rate(&container.id, sample.at, sample.cpu) } else { Some(0) };
        let (used, inodes) = disk_usage(&self.layer_dir(&container.id).join("upper"));
        let psi = |resource: &str| pressure(self.cgroups, &cgroup, resource).filter(|_| running);
        ContainerStats {
            attributes: Some(ContainerAttributes {
                id: container.id.clone(),
                metadata: container.config.metadata.clone(),
                labels: container.config.labels.clone(),
                annotations: container.config.annotations.clone(),
            }),
            cpu: Some(cpu_usage(&sample, rate, psi("cpu"))),
            memory: Some(memory_usage(&sample, psi("memory"))),
            writable_layer: Some(FilesystemUsage {
                timestamp: sample.at,
                fs_id: Some(FilesystemIdentifier { mountpoint: self.config.root.display().to_string() }),
                used_bytes: value(used),
                inodes_used: value(inodes),
            }),
            swap: Some(SwapUsage {
                timestamp: sample.at,
                swap_available_bytes: value(sample.swap_limit.unwrap_or(0).saturating_sub(sample.swap)),
                swap_usage_bytes: value(sample.swap),
            }),
            io: psi("io").map(|psi| IoUsage { timestamp: sample.at, psi: Some(psi) }),
        }
    }

    /// Usage of a pod: its containers, the sandbox process and its interfaces.
    pub fn pod_stats(&self, pod: &Pod) -> PodSandboxStats {
        let containers: Vec<Arc<Container>> =
            self.containers_of(&pod.id).into_iter().filter(|c| c.state() == State::Running).collect();
        let record = lock(&pod.record).clone();
        let mut total = sample(self.cgroups, &record.cgroup).unwrap_or_default();
        for container in &containers {
            let cgroup = lock(&container.record).cgroup.clone();
            if let Some(one) = sample(self.cgroups, &cgroup) {
                total.cpu += one.cpu;
                total.usage += one.usage;
                total.working_set += one.working_set;
                total.rss += one.rss;
                total.faults += one.faults;
                total.major_faults += one.major_faults;
                total.processes += one.processes;
            }
        }
        total.at = now_ns();
        let stats: Vec<ContainerStats> = containers.iter().map(|c| self.container_stats(c)).collect();
        // The sum was read before the parts: what grew in between must not make it smaller than they are.
        let sum = |part: fn(&ContainerStats) -> Option<u64>| stats.iter().filter_map(part).sum::<u64>();
        total.cpu = total.cpu.max(sum(|s| Some(s.cpu.as_ref()?.usage_core_nano_seconds?.value)));
        total.usage = total.usage.max(sum(|s| Some(s.memory.as_ref()?.usage_bytes?.value)));
        total.working_set = total.working_set.max(sum(|s| Some(s.memory.as_ref()?.working_set_bytes?.value)));
        let rate = self.rates.rate(&pod.id, total.at, total.cpu);
        let psi = |resource: &str| pressure(self.cgroups, &record.cgroup_parent, resource);
        let node_network = sandbox::options(&pod.config).network == crate::api::NamespaceMode::Node as i32;
        PodSandboxStats {
            attributes: Some(PodSandboxAttributes {
                id: pod.id.clone(),
                metadata: pod.config.metadata.clone(),
                labels: pod.config.labels.clone(),
                annotations: pod.config.annotations.clone(),
            }),
            linux: Some(LinuxPodSandboxStats {
                cpu: Some(cpu_usage(&total, rate, psi("cpu"))),
                memory: Some(memory_usage(&total, psi("memory"))),
                network: if node_network { None } else { network_usage(record.pause) },
                process: Some(ProcessUsage { timestamp: total.at, process_count: value(total.processes) }),
                containers: stats,
                io: psi("io").map(|psi| IoUsage { timestamp: total.at, psi: Some(psi) }),
            }),
            windows: None,
        }
    }
}

/// Counters of the interfaces that a process sees, without loopback.
pub fn interfaces(pid: i32) -> Vec<(String, [u64; 16])> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    text.lines()
        .skip(2)
        .filter_map(|line| {
            let (name, rest) = line.split_once(':')?;
            let mut fields = [0; 16];
            for (slot, field) in fields.iter_mut().zip(rest.split_whitespace()) {
                *slot = field.parse().ok()?;
            }
            Some((name.trim().to_owned(), fields))
        })
        .filter(|(name, _)| name != "lo")
        .collect()
}

fn network_usage(pid: i32) -> Option<NetworkUsage> {
    let mut all = interfaces(pid).into_iter().map(|(name, f)| NetworkInterfaceUsage {
        name,
        rx_bytes: value(f[0]),
        rx_errors: value(f[2]),
        tx_bytes: value(f[8]),
        tx_errors: value(f[10]),
    });
    let default_interface = all.next();
    default_interface.is_some().then(|| NetworkUsage {
        timestamp: now_ns(),
        default_interface,
        interfaces: all.collect(),
    })
}
