//! The scenarios, as data: what one lifecycle is, what is prepared around it, which metrics decide.

use crate::slot::{Failure, Sample, Slot};

/// How a scenario is driven.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Interleaved blocks of one lifecycle per arm, judged by sequential gates.
    Paired(Paired),
    /// Closed loop: so many workers, each starting the next container when the last is gone.
    Throughput,
    /// Open loop: arrivals that do not wait, and the highest rate borne.
    OpenLoop,
    /// As many live containers as fit.
    Density,
    /// Many cycles, and what they leave behind.
    Churn,
}

/// One timed lifecycle.
pub type Lifecycle = fn(&mut Slot) -> Result<Sample, Failure>;
/// What is done around lifecycles, untimed.
pub type Prepare = fn(&mut Slot) -> Result<(), Failure>;

/// A paired scenario.
#[derive(Debug, Clone, Copy)]
pub struct Paired {
    /// One timed lifecycle.
    pub lifecycle: Lifecycle,
    /// Done for each arm before the first block and again every [`Self::renew_every`] blocks.
    pub prepare: Option<Prepare>,
    /// Blocks between two preparations: a lucky layout must not last for a whole run.
    pub renew_every: u64,
    /// Whether each block has a floor arm.
    pub floor: bool,
    /// The metrics that may decide; others are shown.
    pub decides: &'static [&'static str],
}

/// A scenario.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Stable name.
    pub name: &'static str,
    /// Title.
    pub title: &'static str,
    /// What it asks.
    pub about: &'static str,
    /// How it is driven.
    pub kind: Kind,
}

const fn paired(lifecycle: Lifecycle, decides: &'static [&'static str]) -> Paired {
    Paired { lifecycle, prepare: None, renew_every: u64::MAX, floor: false, decides }
}

/// All scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "cold-start",
        title: "Cold start",
        about: "From the request to the first instruction of the entrypoint, by the guest's own clock; create, start and delete apart",
        kind: Kind::Paired(Paired {
            floor: true,
            ..paired(
                Slot::cold_start,
                &["start.entrypoint", "lifecycle.wall", "phase.delete", "cpu.lifecycle", "faults.minor"],
            )
        }),
    },
    Scenario {
        name: "warm-start",
        title: "Warm start",
        about: "`start` of a container that is created already",
        kind: Kind::Paired(paired(Slot::cold_start, &["start.warm"])),
    },
    Scenario {
        name: "cold-cache",
        title: "Cold cache",
        about: "Cold start after only the runtime's own files were evicted from the page cache",
        kind: Kind::Paired(paired(Slot::cold_cache_start, &["start.entrypoint"])),
    },
    Scenario {
        name: "lifecycle",
        title: "Lifecycle in one command",
        about: "`run` in the foreground, from request to return",
        kind: Kind::Paired(paired(Slot::run_once, &["run.wall", "cpu.lifecycle", "faults.minor"])),
    },
    Scenario {
        name: "exec",
        title: "Exec",
        about: "A process in a running container: request to its first instruction",
        kind: Kind::Paired(Paired {
            prepare: Some(renew_resident),
            renew_every: 25,
            ..paired(Slot::exec_once, &["exec.entrypoint", "cpu.lifecycle", "faults.minor"])
        }),
    },
    Scenario {
        name: "stop",
        title: "Stop and exit detection",
        about: "SIGTERM to the end of the process, and from there until the runtime says stopped",
        kind: Kind::Paired(paired(Slot::stop_once, &["stop.latency", "exit.detect", "cpu.lifecycle"])),
    },
    Scenario {
        name: "inside",
        title: "Overhead inside",
        about: "System call, file, pipe, loopback and fork in the container, beside the same natively",
        kind: Kind::Paired(Paired {
            prepare: Some(renew_resident),
            renew_every: 10,
            ..paired(
                Slot::inside_once,
                &["inside.syscall", "inside.file", "inside.pipe", "inside.loopback", "inside.fork"],
            )
        }),
    },
    Scenario {
        name: "throughput",
        title: "Throughput, closed loop",
        about: "Verified containers per second with K workers, and the fit of the scalability law",
        kind: Kind::Throughput,
    },
    Scenario {
        name: "open-loop",
        title: "Throughput, open loop",
        about: "The highest arrival rate within the latency objective; latency counts from the intended start",
        kind: Kind::OpenLoop,
    },
    Scenario {
        name: "density",
        title: "Density",
        about: "Live containers in a capped cgroup: start and list latency, memory per container, the cause of the end",
        kind: Kind::Density,
    },
    Scenario {
        name: "churn",
        title: "Churn",
        about: "What many cycles leave behind: processes, mounts, cgroups, files, bytes",
        kind: Kind::Churn,
    },
];

/// Looks a scenario up by name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|s| s.name == name)
}

fn renew_resident(slot: &mut Slot) -> Result<(), Failure> {
    slot.dismiss()?;
    slot.settle().map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{self, Role};

    #[test]
    fn every_deciding_metric_exists_and_may_decide() {
        for scenario in SCENARIOS {
            assert_eq!(find(scenario.name).map(|s| s.title), Some(scenario.title));
            if let Kind::Paired(paired) = scenario.kind {
                assert!(!paired.decides.is_empty() && paired.renew_every > 0);
                for name in paired.decides {
                    let m = metric::find(name).unwrap_or_else(|| panic!("{name} in {}", scenario.name));
                    assert_ne!(m.role, Role::Shown, "{name}");
                }
            }
        }
    }
}
