//! Prometheus-like metrics of pods and containers, each with a descriptor (`metrics.*`).

use super::{Sample, disk_usage, interfaces, sample};
use crate::api::{ContainerMetrics, Metric, MetricDescriptor, MetricType, PodSandboxMetrics, UInt64Value};
use crate::pods::{Container, Daemon, Pod, State, lock};

const CONTAINER_LABELS: [&str; 6] = ["id", "name", "image", "container", "pod", "namespace"];
const POD_LABELS: [&str; 4] = ["id", "pod", "namespace", "interface"];

/// Name, help, kind and how to read it.
type ContainerMetric = (&'static str, &'static str, MetricType, fn(&Sample) -> u64);

const FROM_CGROUP: [ContainerMetric; 14] = [
    ("container_cpu_usage_seconds_total", "Cpu time used, in whole seconds.", MetricType::Counter, |s| {
        s.cpu / 1_000_000_000
    }),
    (
        "container_cpu_user_seconds_total",
        "Cpu time used in user mode, in whole seconds.",
        MetricType::Counter,
        |s| s.cpu_user / 1_000_000_000,
    ),
    (
        "container_cpu_system_seconds_total",
        "Cpu time used by the kernel, in whole seconds.",
        MetricType::Counter,
        |s| s.cpu_system / 1_000_000_000,
    ),
    ("container_memory_usage_bytes", "Memory in use, page cache included.", MetricType::Gauge, |s| s.usage),
    (
        "container_memory_working_set_bytes",
        "Memory in use without inactive file pages.",
        MetricType::Gauge,
        |s| s.working_set,
    ),
    ("container_memory_rss", "Anonymous memory.", MetricType::Gauge, |s| s.rss),
    ("container_memory_cache", "Page cache.", MetricType::Gauge, |s| s.cache),
    ("container_memory_swap", "Swap in use.", MetricType::Gauge, |s| s.swap),
    ("container_memory_failcnt", "How often the memory limit was hit.", MetricType::Counter, |s| {
        s.fail_count
    }),
    ("container_memory_failures_total", "Page faults.", MetricType::Counter, |s| s.faults),
    ("container_memory_major_faults_total", "Page faults that needed I/O.", MetricType::Counter, |s| {
        s.major_faults
    }),
    ("container_processes", "Processes.", MetricType::Gauge, |s| s.processes),
    ("container_spec_memory_limit_bytes", "Memory limit; 0 is none.", MetricType::Gauge, |s| {
        s.limit.unwrap_or(0)
    }),
    ("container_spec_memory_swap_limit_bytes", "Swap limit; 0 is none.", MetricType::Gauge, |s| {
        s.swap_limit.unwrap_or(0)
    }),
];

const FROM_ELSEWHERE: [(&str, &str, MetricType); 4] = [
    (
        "container_start_time_seconds",
        "When the container was started, in seconds since 1970.",
        MetricType::Gauge,
    ),
    ("container_last_seen", "When the container was last seen, in seconds since 1970.", MetricType::Gauge),
    ("container_fs_usage_bytes", "Bytes of the writable layer.", MetricType::Gauge),
    ("container_fs_inodes_total", "Inodes of the writable layer.", MetricType::Gauge),
];

const FROM_NETWORK: [(&str, &str, usize); 8] = [
    ("container_network_receive_bytes_total", "Bytes received.", 0),
    ("container_network_receive_packets_total", "Packets received.", 1),
    ("container_network_receive_errors_total", "Errors while receiving.", 2),
    ("container_network_receive_packets_dropped_total", "Packets dropped while receiving.", 3),
    ("container_network_transmit_bytes_total", "Bytes sent.", 8),
    ("container_network_transmit_packets_total", "Packets sent.", 9),
    ("container_network_transmit_errors_total", "Errors while sending.", 10),
    ("container_network_transmit_packets_dropped_total", "Packets dropped while sending.", 11),
];

/// All descriptors; the same over time.
pub fn descriptors() -> Vec<MetricDescriptor> {
    let one = |name: &str, help: &str, keys: &[&str]| MetricDescriptor {
        name: name.to_owned(),
        help: help.to_owned(),
        label_keys: keys.iter().map(|k| (*k).to_owned()).collect(),
    };
    let cgroup = FROM_CGROUP.iter().map(|(name, help, _, _)| one(name, help, &CONTAINER_LABELS));
    let other = FROM_ELSEWHERE.iter().map(|(name, help, _)| one(name, help, &CONTAINER_LABELS));
    let network = FROM_NETWORK.iter().map(|(name, help, _)| one(name, help, &POD_LABELS));
    cgroup.chain(other).chain(network).collect()
}

impl Daemon {
    /// Live metrics of a pod and of its running containers.
    pub fn pod_metrics(&self, pod: &Pod) -> PodSandboxMetrics {
        let metadata = pod.config.metadata.clone().unwrap_or_default();
        let mut metrics = Vec::new();
        for (interface, fields) in interfaces(pod.pause()) {
            for (name, _, at) in FROM_NETWORK {
                let labels = vec![
                    pod.id.clone(),
                    metadata.name.clone(),
                    metadata.namespace.clone(),
                    interface.clone(),
                ];
                metrics.push(metric(name, MetricType::Counter, labels, fields[at]));
            }
        }
        let running = self.containers_of(&pod.id).into_iter().filter(|c| c.state() == State::Running);
        let container_metrics = running
            .map(|c| ContainerMetrics {
                container_id: c.id.clone(),
                metrics: self.container_metrics(&c, &metadata.name, &metadata.namespace),
            })
            .collect();
        PodSandboxMetrics { pod_sandbox_id: pod.id.clone(), metrics, container_metrics }
    }

    fn container_metrics(&self, container: &Container, pod: &str, namespace: &str) -> Vec<Metric> {
        let record = lock(&container.record).clone();
        let sample = sample(self.cgroups, &record.cgroup).unwrap_or_default();
        let name = container.config.metadata.as_ref().map_or(String::new(), |m| m.name.clone());
        let image = container.config.image.as_ref().map_or(String::new(), |i| i.image.clone());
        let labels = || {
            vec![
                container.id.clone(),
                container.id.clone(),
                image.clone(),
                name.clone(),
                pod.to_owned(),
                namespace.to_owned(),
            ]
        };
        let mut out: Vec<Metric> = FROM_CGROUP
            .iter()
            .map(|(name, _, kind, read)| metric(name, *kind, labels(), read(&sample)))
            .collect();
        let (bytes, inodes) = disk_usage(&self.layer_dir(&container.id).join("upper"));
        let second = |ns: i64| (ns / 1_000_000_000) as u64;
        for ((name, _, kind), value) in FROM_ELSEWHERE.iter().zip([
            second(record.started_at),
            second(crate::util::now_ns()),
            bytes,
            inodes,
        ]) {
            out.push(metric(name, *kind, labels(), value));
        }
        out
    }
}

fn metric(name: &str, kind: MetricType, label_values: Vec<String>, value: u64) -> Metric {
    Metric {
        name: name.to_owned(),
        timestamp: 0,
        metric_type: kind as i32,
        label_values,
        value: Some(UInt64Value { value }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_valid() {
        let all = descriptors();
        let names: std::collections::BTreeSet<_> = all.iter().map(|d| d.name.clone()).collect();
        assert_eq!(names.len(), all.len());
        assert!(
            names
                .iter()
                .all(|n| n.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'))
        );
    }
}
