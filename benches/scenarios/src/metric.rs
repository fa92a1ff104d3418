//! The metrics: name, unit, which way they get worse, and how they are gated. Data, read by everything else.

use plimsoll_bench_stats::gate::{Direction, GateConfig};
use serde::{Deserialize, Serialize};

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Milliseconds.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Microseconds.
    #[serde(rename = "us")]
    Microseconds,
    /// A plain count.
    #[serde(rename = "count")]
    Count,
    /// Kibibytes.
    #[serde(rename = "KiB")]
    Kibibytes,
    /// Containers per second.
    #[serde(rename = "1/s")]
    PerSecond,
    /// Megabytes (10^6) per second.
    #[serde(rename = "MB/s")]
    MegabytesPerSecond,
    /// A ratio.
    #[serde(rename = "x")]
    Times,
}

impl Unit {
    /// The symbol written behind a number.
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Microseconds => "µs",
            Self::Count => "",
            Self::Kibibytes => "KiB",
            Self::PerSecond => "/s",
            Self::MegabytesPerSecond => "MB/s",
            Self::Times => "×",
        }
    }
}

/// How a metric takes part in a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Decides, with the margins for CPU time and counters.
    Cpu,
    /// Decides, with the margins for wall time.
    Wall,
    /// Shown, never decides.
    Shown,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its stable name.
    pub name: &'static str,
    /// Its unit.
    pub unit: Unit,
    /// Which way it gets worse.
    pub direction: Direction,
    /// Whether and how it decides.
    pub role: Role,
    /// What it means, in one phrase.
    pub about: &'static str,
}

const fn metric(name: &'static str, unit: Unit, role: Role, about: &'static str) -> Metric {
    Metric { name, unit, direction: Direction::SmallerIsBetter, role, about }
}

const fn larger(name: &'static str, unit: Unit, about: &'static str) -> Metric {
    Metric { name, unit, direction: Direction::LargerIsBetter, role: Role::Shown, about }
}

/// All metrics of paired scenarios.
pub const METRICS: &[Metric] = &[
    metric(
        "start.entrypoint",
        Unit::Milliseconds,
        Role::Wall,
        "request to first instruction of the entrypoint",
    ),
    metric("start.api", Unit::Milliseconds, Role::Shown, "request to the return of `start`"),
    metric(
        "start.gap",
        Unit::Milliseconds,
        Role::Shown,
        "entrypoint minus API return; negative: the API returned later",
    ),
    metric(
        "start.first-output",
        Unit::Milliseconds,
        Role::Shown,
        "request to the first byte of output, seen by the host",
    ),
    metric(
        "start.warm",
        Unit::Milliseconds,
        Role::Wall,
        "`start` of a created container to its first instruction",
    ),
    metric(
        "start.floor",
        Unit::Milliseconds,
        Role::Shown,
        "the same block's bare clone3 to first instruction",
    ),
    metric(
        "start.x-floor",
        Unit::Times,
        Role::Shown,
        "start.entrypoint as a multiple of the same block's floor",
    ),
    metric("phase.create", Unit::Milliseconds, Role::Shown, "`create` from request to return"),
    metric("phase.start", Unit::Milliseconds, Role::Shown, "`start` from request to return"),
    metric(
        "phase.exit",
        Unit::Milliseconds,
        Role::Shown,
        "return of `start` to the end of the container's process",
    ),
    metric("phase.delete", Unit::Milliseconds, Role::Wall, "`delete` from request to return"),
    metric("phase.sandbox", Unit::Milliseconds, Role::Wall, "`RunPodSandbox` from request to return"),
    metric("phase.sandbox-stop", Unit::Milliseconds, Role::Wall, "`StopPodSandbox` from request to return"),
    metric(
        "phase.sandbox-remove",
        Unit::Milliseconds,
        Role::Shown,
        "`RemovePodSandbox` from request to return",
    ),
    metric("lifecycle.wall", Unit::Milliseconds, Role::Wall, "first request to return of the last removal"),
    metric(
        "cpu.lifecycle",
        Unit::Milliseconds,
        Role::Cpu,
        "CPU time of every process of the lifecycle; with an endpoint, of its daemon's cgroup and the pods'",
    ),
    metric(
        "faults.minor",
        Unit::Count,
        Role::Cpu,
        "page faults without I/O of every process of the lifecycle",
    ),
    metric("faults.major", Unit::Count, Role::Shown, "page faults with I/O"),
    metric("switches.voluntary", Unit::Count, Role::Shown, "context switches by waiting"),
    metric(
        "switches.involuntary",
        Unit::Count,
        Role::Shown,
        "context switches by preemption: noise of the host",
    ),
    metric(
        "harness.gap",
        Unit::Milliseconds,
        Role::Shown,
        "time of the harness itself inside start.entrypoint",
    ),
    metric("run.wall", Unit::Milliseconds, Role::Wall, "`run` from request to return"),
    metric(
        "exec.entrypoint",
        Unit::Milliseconds,
        Role::Wall,
        "`exec` request to first instruction of the process",
    ),
    metric("exec.api", Unit::Milliseconds, Role::Wall, "`exec` from request to the end of all output"),
    metric("stream.open", Unit::Milliseconds, Role::Shown, "`Exec` request to an open streaming session"),
    metric(
        "stop.latency",
        Unit::Milliseconds,
        Role::Wall,
        "the stop request to the end of the container's process",
    ),
    metric("stop.api", Unit::Milliseconds, Role::Shown, "`StopContainer` from request to return"),
    metric(
        "exit.detect",
        Unit::Milliseconds,
        Role::Wall,
        "end of the process to the runtime saying so when asked",
    ),
    metric("event.lag", Unit::Milliseconds, Role::Shown, "end of the process to the arrival of its event"),
    metric(
        "net.setup",
        Unit::Milliseconds,
        Role::Shown,
        "starting a pod with its own network minus one on the host's",
    ),
    metric("net.teardown", Unit::Milliseconds, Role::Shown, "stopping the one minus stopping the other"),
    metric("log.wall", Unit::Milliseconds, Role::Wall, "start request to the last line in the log"),
    larger("log.rate", Unit::MegabytesPerSecond, "output that went through the log, by log.wall"),
    metric("log.lag", Unit::Milliseconds, Role::Shown, "first instruction to the first byte in the log"),
    metric("image.pull", Unit::Milliseconds, Role::Wall, "`PullImage` of a fresh image, unpacking included"),
    larger("image.rate", Unit::MegabytesPerSecond, "content of the layer, by image.pull"),
    metric("image.again", Unit::Milliseconds, Role::Shown, "`PullImage` of another image of the same layers"),
    metric(
        "image.first-start",
        Unit::Milliseconds,
        Role::Wall,
        "request for a pod to the entrypoint, first container of a fresh image",
    ),
    metric("image.remove", Unit::Milliseconds, Role::Wall, "`RemoveImage` of both images"),
    metric("inside.syscall", Unit::Microseconds, Role::Wall, "a trivial system call in the container"),
    metric("inside.syscall.x", Unit::Times, Role::Shown, "the same as a multiple of native"),
    metric(
        "inside.file",
        Unit::Microseconds,
        Role::Wall,
        "create, write 4 KiB, read back and remove a file in the container",
    ),
    metric("inside.file.x", Unit::Times, Role::Shown, "the same as a multiple of native"),
    metric(
        "inside.pipe",
        Unit::Microseconds,
        Role::Wall,
        "one byte to another thread and back through pipes",
    ),
    metric("inside.pipe.x", Unit::Times, Role::Shown, "the same as a multiple of native"),
    metric("inside.loopback", Unit::Microseconds, Role::Wall, "one byte over TCP on 127.0.0.1 and back"),
    metric("inside.loopback.x", Unit::Times, Role::Shown, "the same as a multiple of native"),
    metric("inside.fork", Unit::Microseconds, Role::Wall, "starting and awaiting a process in the container"),
    metric("inside.fork.x", Unit::Times, Role::Shown, "the same as a multiple of native"),
];

/// Looks a metric up by name.
pub fn find(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|m| m.name == name)
}

/// Margins, error rates and bounds of a run's gates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// For CPU time and counters.
    pub cpu: GateConfig,
    /// For wall time.
    pub wall: GateConfig,
    /// Rate of false discoveries over all deciding metrics of a run.
    pub fdr: f64,
}

impl Profile {
    /// Named profiles of the command line: `release` (the default), `strict`, `smoke`.
    pub fn named(name: &str) -> Option<Self> {
        let release = Self {
            cpu: GateConfig { absolute_floor: 0.05, ..GateConfig::cpu() },
            wall: GateConfig { absolute_floor: 0.2, ..GateConfig::wall() },
            fdr: 0.01,
        };
        match name {
            "release" => Some(release),
            "strict" => Some(Self {
                cpu: GateConfig { delta_lo: 0.0, delta_hi: 0.03, n_max: 1_000, ..release.cpu },
                wall: GateConfig { delta_lo: 0.0, delta_hi: 0.05, n_max: 1_000, ..release.wall },
                ..release
            }),
            "smoke" => Some(Self {
                cpu: GateConfig { delta_lo: 0.10, delta_hi: 0.50, n_max: 40, ..release.cpu },
                wall: GateConfig { delta_lo: 0.20, delta_hi: 1.0, n_max: 40, ..release.wall },
                ..release
            }),
            _ => None,
        }
    }

    /// The gate for a metric, or `None` when it only is shown. The absolute floor is a time: it does not
    /// apply to counts.
    pub fn gate(&self, metric: &Metric) -> Option<GateConfig> {
        let base = match metric.role {
            Role::Cpu => self.cpu,
            Role::Wall => self.wall,
            Role::Shown => return None,
        };
        let absolute_floor = if metric.unit == Unit::Milliseconds { base.absolute_floor } else { 0.0 };
        Some(GateConfig { direction: metric.direction, absolute_floor, ..base })
    }

    /// The longest a gate may run, in pairs.
    pub fn max_pairs(&self) -> u64 {
        self.cpu.n_max.max(self.wall.n_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for (i, m) in METRICS.iter().enumerate() {
            assert_eq!(METRICS.iter().position(|o| o.name == m.name), Some(i), "{}", m.name);
            assert_eq!(find(m.name).map(|f| f.about), Some(m.about));
        }
        assert!(find("start.nonsense").is_none());
    }

    #[test]
    fn profiles_gate_what_decides_and_only_that() {
        let p = Profile::named("release").unwrap();
        assert!(p.gate(find("start.api").unwrap()).is_none());
        let wall = p.gate(find("start.entrypoint").unwrap()).unwrap();
        assert!((wall.delta_hi - 0.10).abs() < 1e-12 && wall.absolute_floor > 0.0);
        let faults = p.gate(find("faults.minor").unwrap()).unwrap();
        assert!(faults.absolute_floor.abs() < 1e-12);
        assert!(Profile::named("nonsense").is_none());
        assert!(Profile::named("strict").is_some() && Profile::named("smoke").is_some());
    }
}
