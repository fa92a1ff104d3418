//! The lines of a run file: one header, events, one footer. Each line is one JSON object with an `event` member.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

use crate::case::{CaseId, PlannedCase};
use crate::expectation::Judgement;
use crate::outcome::{Outcome, OutcomeKind};
use crate::requirement::Requirement;
use crate::target::TargetSpec;
use crate::version::SpecVersion;

/// The name and version of the run file's format.
pub const RUN_FORMAT: &str = "plimsoll-run/1";

/// One line of a run file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The first line.
    Header(Box<Header>),
    /// An attempt began.
    CaseStarted {
        /// Label of the target.
        target: String,
        /// The case.
        case: CaseId,
        /// 1-based.
        attempt: u32,
    },
    /// An attempt ended.
    CaseFinished(Box<CaseRecord>),
    /// A benchmark's result, in the shape of the benchmark's own schema.
    Bench {
        /// Name of the scenario or of the whole benchmark.
        name: String,
        /// The result.
        result: Value,
    },
    /// Something that the reader should know, for example leftovers of an earlier run.
    Note {
        /// The text.
        text: String,
    },
    /// The last line. A run file without it is incomplete.
    Footer(Footer),
}

impl Event {
    /// Reads a line of a run file.
    ///
    /// # Errors
    /// When it is no event.
    pub fn from_line(line: &[u8]) -> serde_json::Result<Self> {
        // Nearly every line is one of these two, and their member `event` stands in front: read as what they are, they
        // need not be taken apart into values first, as it is done where the member may stand anywhere.
        let direct = if line.starts_with(br#"{"event":"case-finished","#) {
            serde_json::from_slice(line).map(Self::CaseFinished)
        } else if line.starts_with(br#"{"event":"header","#) {
            serde_json::from_slice(line).map(Self::Header)
        } else {
            return serde_json::from_slice(line);
        };
        // The other way decides what is wrong with a line, so that its message does not depend on this one.
        direct.or_else(|_| serde_json::from_slice(line))
    }
}

/// What is known before anything runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Header {
    /// Always [`RUN_FORMAT`].
    pub format: String,
    /// Id of the run; unique on the host.
    pub run_id: String,
    /// `plimsoll` and its version.
    pub tool: String,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// Seed of everything random in the run.
    pub seed: u64,
    /// The command line that reproduces the run, without the program name.
    pub command: Vec<String>,
    /// Profile that selected the cases.
    pub profile: String,
    /// Filters given by the user; empty when the whole profile ran.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<String>,
    /// `slice:1/3`, `hash:1/3` or `balanced-DIGEST:1/3`, when only a part of the plan ran here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// SHA-256 over the unpartitioned plan (case ids and target labels): shards of one run share it.
    pub plan_digest: String,
    /// A certifier's nonce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<String>,
    /// The host.
    pub host: HostFacts,
    /// The targets, in the order given.
    pub targets: Vec<TargetInfo>,
    /// The cases that this run (or shard) plans, per target all the same.
    pub plan: Vec<PlannedCase>,
    /// Of a shard: the place (0-based) of each of its cases in the whole plan, in the order of `plan`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<u32>,
    /// The catalogue of the suites in the plan.
    pub requirements: Vec<Requirement>,
    /// Requirements that no case covers on purpose: id and reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub waivers: BTreeMap<String, String>,
}

/// What the host is and can show.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostFacts {
    /// `uname -r`.
    pub kernel: String,
    /// `uname -m`.
    pub machine: String,
    /// `PRETTY_NAME` of os-release.
    pub os: String,
    /// `v1`, `hybrid` or `v2`.
    pub cgroups: String,
    /// Controllers by hierarchy: `v1` and `v2`.
    pub controllers: BTreeMap<String, Vec<String>>,
    /// Active Linux security modules.
    pub lsm: Vec<String>,
    /// Capabilities that the harness lacks.
    pub missing_capabilities: Vec<String>,
    /// Online processors.
    pub cpus: u32,
    /// Total memory in KiB.
    pub memory_kib: u64,
    /// Further facts, found by `doctor`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, Value>,
}

/// A target as found before the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TargetInfo {
    /// The column's name; unique in the run.
    pub label: String,
    /// The target as given.
    pub spec: TargetSpec,
    /// First line of what it says of its version.
    pub version: String,
    /// Specification version that it declares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec_version: Option<SpecVersion>,
    /// SHA-256 of the executable; absent for endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// What it declares: the features document, or the endpoint's status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<Value>,
    /// Further facts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, Value>,
    /// Why no case can run on it; absent when it is fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfit: Option<String>,
}

/// One call of the runtime, as evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandRecord {
    /// Arguments with container ids as `C1`, ... and the work directory as `W`.
    pub argv: Vec<String>,
    /// `exit 0`, `signal 9`, `deadline`.
    pub status: String,
    /// Wall time in milliseconds.
    pub ms: f64,
    /// Standard output, shortened.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stdout: String,
    /// Standard error, shortened.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stderr: String,
}

/// The result of one attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CaseRecord {
    /// Label of the target.
    pub target: String,
    /// The case.
    pub case: CaseId,
    /// 1-based.
    pub attempt: u32,
    /// Whether a later attempt follows; only the last one counts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub superseded: bool,
    /// What was observed.
    pub outcome: Outcome,
    /// How that compares with what was expected.
    pub judgement: Judgement,
    /// Wall time in milliseconds.
    pub duration_ms: f64,
    /// MAY-level behaviour and other facts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, Value>,
    /// Calls of the runtime; kept for every outcome but `Pass`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<CommandRecord>,
    /// The last configuration that was written; kept for every outcome but `Pass`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
}

/// How the run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunStatus {
    /// All that was planned was decided.
    Complete,
    /// Stopped by a signal or by `--fail-fast`.
    Cancelled,
}

/// The last line of a run file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Footer {
    /// How the run ended.
    pub status: RunStatus,
    /// Wall time in milliseconds.
    pub duration_ms: f64,
    /// Cases planned: cases of the plan times targets.
    pub planned: u64,
    /// Outcomes per target label; they sum up to `planned`.
    pub counts: BTreeMap<String, BTreeMap<OutcomeKind, u64>>,
    /// Labels of targets whose executable was another one when the run ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<String>,
    /// The exit code of the process.
    pub exit_code: u8,
}
