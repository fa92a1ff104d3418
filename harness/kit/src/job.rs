//! What the engine hands to a worker process and what it gets back, as one JSON document each.

use plimsoll_model::{CommandRecord, HostFacts, Outcome, SpecVersion};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Which cgroup layout the worker shows to the runtime, in its own mount namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CgroupLayout {
    /// As the host has it.
    Host,
    /// Version 1 hierarchies only: the unified mount is taken away.
    Legacy,
    /// A version 2 hierarchy only.
    V2,
}

/// An OCI runtime, ready to be called.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OciTarget {
    /// Absolute path of the executable.
    pub program: PathBuf,
    /// Arguments before all others: the verb of a multi-call executable, then the user's `arg` parameters.
    pub args: Vec<String>,
    /// Environment on top of the harness's own small one.
    pub env: Vec<(String, String)>,
    /// The cgroup layout to show.
    pub cgroups: CgroupLayout,
}

/// A CRI endpoint, ready to be called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CriTarget {
    /// `unix:///path` of the runtime service.
    pub endpoint: String,
    /// `unix:///path` of the image service.
    pub image_endpoint: String,
    /// Runtime handler; empty for the endpoint's default.
    pub handler: String,
}

/// What a worker drives.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// An OCI runtime executable.
    Oci(OciTarget),
    /// A CRI endpoint.
    Cri(CriTarget),
}

/// Bounds of everything, in one place. All times are already scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// One call of the runtime, in milliseconds.
    pub call_ms: u64,
    /// One wait for a condition, in milliseconds.
    pub wait_ms: u64,
    /// The whole case, in milliseconds.
    pub case_ms: u64,
    /// What is kept of each output stream of a call, in bytes, from its head and from its tail.
    pub capture_bytes: u64,
    /// Size of the case's work directory, in bytes: an output flood ends there.
    pub work_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            call_ms: 10_000,
            wait_ms: 10_000,
            case_ms: 60_000,
            capture_bytes: 64 << 10,
            work_bytes: 64 << 20,
        }
    }
}

impl Limits {
    /// Multiplies every time by `factor`.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        let scale = |ms: u64| (ms as f64 * factor) as u64;
        Self {
            call_ms: scale(self.call_ms),
            wait_ms: scale(self.wait_ms),
            case_ms: scale(self.case_ms),
            ..self
        }
    }

    /// The bound of one call.
    pub fn call(&self) -> Duration {
        Duration::from_millis(self.call_ms)
    }

    /// The bound of one wait.
    pub fn wait(&self) -> Duration {
        Duration::from_millis(self.wait_ms)
    }
}

/// One attempt of one case.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// Full case id.
    pub case: String,
    /// Short random text that every name made by this attempt carries.
    pub tag: String,
    /// An empty directory of the attempt's own.
    pub dir: PathBuf,
    /// The cgroup below which everything of this attempt lives, absolute below each hierarchy's mount.
    pub cgroup: String,
    /// What is driven.
    pub target: Target,
    /// Specification version that the target declares.
    pub spec_version: Option<SpecVersion>,
    /// What the target declares of itself.
    pub features: Option<Value>,
    /// Facts found when the target was probed.
    pub target_facts: BTreeMap<String, Value>,
    /// The host.
    pub host: HostFacts,
    /// The version that the case writes as `ociVersion` unless it says otherwise.
    pub oci_version: SpecVersion,
    /// Bounds.
    pub limits: Limits,
    /// Seed of the attempt.
    pub seed: u64,
    /// Whether to leave the work directory's content behind, as evidence.
    pub keep: Option<PathBuf>,
}

/// What a worker says at its end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobResult {
    /// The outcome, with violations already attributed.
    pub outcome: Outcome,
    /// Recorded facts.
    pub facts: BTreeMap<String, Value>,
    /// Calls, normalised.
    pub commands: Vec<CommandRecord>,
    /// The last configuration written.
    pub config: Option<Value>,
    /// Time spent inside calls of the runtime, in milliseconds.
    pub calls_ms: f64,
}
