//! The scenarios, as data: what one lifecycle is, what is prepared around it, which metrics decide.

use crate::place::Step;
use crate::plan::Interface;

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

/// A paired scenario.
#[derive(Debug, Clone, Copy)]
pub struct Paired {
    /// The timed lifecycle.
    pub step: Step,
    /// For whom it works in a container (or pod) that stays: made for each arm before the first block, and anew
    /// every [`Self::renew_every`] blocks.
    pub resident: &'static [Interface],
    /// Blocks between two residents: a lucky layout must not last for a whole run.
    pub renew_every: u64,
    /// Whether each block has a floor arm.
    pub floor: bool,
    /// The metrics that may decide for OCI runtimes; others are shown. Empty: not for them.
    pub oci: &'static [&'static str],
    /// The same for CRI endpoints.
    pub cri: &'static [&'static str],
}

impl Paired {
    /// The metrics that may decide for targets that are driven so.
    pub const fn decides(&self, interface: Interface) -> &'static [&'static str] {
        match interface {
            Interface::Oci => self.oci,
            Interface::Cri => self.cri,
        }
    }
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

impl Scenario {
    /// Whether targets that are driven so have this scenario.
    pub fn is_for(&self, interface: Interface) -> bool {
        match self.kind {
            Kind::Paired(paired) => !paired.decides(interface).is_empty(),
            _ => true,
        }
    }
}

const fn paired(step: Step, oci: &'static [&'static str], cri: &'static [&'static str]) -> Paired {
    Paired { step, resident: &[], renew_every: u64::MAX, floor: false, oci, cri }
}

const fn resident(renew_every: u64, paired: Paired) -> Kind {
    Kind::Paired(Paired { resident: &[Interface::Oci, Interface::Cri], renew_every, ..paired })
}

const INSIDE: &[&str] = &["inside.syscall", "inside.file", "inside.pipe", "inside.loopback", "inside.fork"];

/// All scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "cold-start",
        title: "Cold start",
        about: "From the request to the first instruction of the entrypoint, by the guest's own clock; every phase apart",
        kind: Kind::Paired(Paired {
            floor: true,
            ..paired(
                Step::ColdStart,
                &["start.entrypoint", "lifecycle.wall", "phase.delete", "cpu.lifecycle", "faults.minor"],
                &["start.entrypoint", "lifecycle.wall", "phase.sandbox-stop", "cpu.lifecycle"],
            )
        }),
    },
    Scenario {
        name: "warm-start",
        title: "Warm start",
        about: "Starting a container that is created already",
        kind: Kind::Paired(paired(Step::ColdStart, &["start.warm"], &["start.warm"])),
    },
    Scenario {
        name: "cold-cache",
        title: "Cold cache",
        about: "Cold start after only the runtime's own files were evicted from the page cache",
        kind: Kind::Paired(paired(Step::ColdCache, &["start.entrypoint"], &[])),
    },
    Scenario {
        name: "lifecycle",
        title: "Lifecycle of one container",
        about: "OCI: `run` in the foreground. CRI: a container in a pod that is there already",
        kind: Kind::Paired(Paired {
            // A second container of an OCI runtime would share the slot's cgroup.
            resident: &[Interface::Cri],
            renew_every: 25,
            ..paired(
                Step::Once,
                &["run.wall", "cpu.lifecycle", "faults.minor"],
                &["run.wall", "start.entrypoint", "cpu.lifecycle"],
            )
        }),
    },
    Scenario {
        name: "exec",
        title: "Exec",
        about: "A process in a running container: request to its first instruction",
        kind: resident(
            25,
            paired(
                Step::Exec,
                &["exec.entrypoint", "cpu.lifecycle", "faults.minor"],
                &["exec.entrypoint", "exec.api", "cpu.lifecycle"],
            ),
        ),
    },
    Scenario {
        name: "exec-stream",
        title: "Exec, streaming",
        about: "The same through the streaming server: Exec, upgrade, output, end",
        kind: resident(25, paired(Step::ExecStream, &[], &["exec.entrypoint", "exec.api", "cpu.lifecycle"])),
    },
    Scenario {
        name: "stop",
        title: "Stop and exit detection",
        about: "A stop request to the end of the process, and from the end of a process until the runtime says so",
        kind: Kind::Paired(paired(
            Step::Stop,
            &["stop.latency", "exit.detect", "cpu.lifecycle"],
            &["stop.latency", "exit.detect", "cpu.lifecycle"],
        )),
    },
    Scenario {
        name: "network",
        title: "Pod network",
        about: "A pod with a network of its own beside one on the host's: what setting it up and down costs",
        kind: Kind::Paired(paired(Step::Network, &[], &["phase.sandbox", "phase.sandbox-stop"])),
    },
    Scenario {
        name: "pull",
        title: "Image pull and unpack",
        about: "A fresh image from the registry in this process; the same layers again; the first start; removal",
        kind: Kind::Paired(paired(Step::Pull, &[], &["image.pull", "image.first-start", "image.remove"])),
    },
    Scenario {
        name: "log",
        title: "Log throughput",
        about: "Numbered lines through the CRI log: complete, in order, and how fast",
        kind: resident(10, paired(Step::Log, &[], &["log.wall", "cpu.lifecycle"])),
    },
    Scenario {
        name: "inside",
        title: "Overhead inside",
        about: "System call, file, pipe, loopback and fork in the container, beside the same natively",
        kind: resident(10, paired(Step::Inside, INSIDE, INSIDE)),
    },
    Scenario {
        name: "throughput",
        title: "Throughput, closed loop",
        about: "Verified containers (OCI) or pods (CRI) per second with K workers, and the fit of the scalability law",
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{self, Role};

    #[test]
    fn every_deciding_metric_exists_and_may_decide() {
        for scenario in SCENARIOS {
            assert_eq!(find(scenario.name).map(|s| s.title), Some(scenario.title));
            if let Kind::Paired(paired) = scenario.kind {
                assert!(scenario.is_for(Interface::Oci) || scenario.is_for(Interface::Cri));
                assert!(paired.renew_every > 0);
                for name in paired.oci.iter().chain(paired.cri) {
                    let m = metric::find(name).unwrap_or_else(|| panic!("{name} in {}", scenario.name));
                    assert_ne!(m.role, Role::Shown, "{name}");
                }
            }
        }
    }
}
