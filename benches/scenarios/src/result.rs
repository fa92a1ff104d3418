//! A finished run as data: raw samples, verdicts, curves, and what they were measured under.

use crate::environment::{Key, Noise};
use crate::history::Drift;
use crate::metric::Profile;
use crate::metric::Unit;
use crate::plan::{LoadPlan, Target};
use crate::slot::Failure;
use plimsoll_bench_stats::closure::Closure;
use plimsoll_bench_stats::describe::Summary;
use plimsoll_bench_stats::evalue::EProcess;
use plimsoll_bench_stats::gate::{Direction, GateCounts, GateReport, Verdict};
use plimsoll_bench_stats::outlier::Outliers;
use plimsoll_bench_stats::slope::Slope;
use plimsoll_bench_stats::tail::RelativeTail;
use plimsoll_bench_stats::usl::Usl;
use serde::{Deserialize, Serialize};

/// The format's name and version; readers refuse another major version.
pub const SCHEMA: &str = "plimsoll-bench/1";

/// A whole benchmark run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BenchRun {
    /// [`SCHEMA`].
    pub schema: String,
    /// Start, seconds since 1970.
    pub started_unix: u64,
    /// Length, seconds.
    pub seconds: f64,
    /// Seed of every random choice.
    pub seed: u64,
    /// The command line that does this run again, if the caller said it.
    pub replay: Option<String>,
    /// What must be equal for numbers to be comparable.
    pub key: Key,
    /// Loudness of the host before and after.
    pub noise: (Noise, Noise),
    /// Margins and error rates.
    pub profile: Profile,
    /// Bounds of the load scenarios.
    pub load: LoadPlan,
    /// The runtimes; the first is the baseline.
    pub targets: Vec<TargetInfo>,
    /// What was measured.
    pub scenarios: Vec<ScenarioResult>,
    /// Why the whole run must not be used, if so (the sentinel alarmed, it was cut short ...).
    pub void: Option<String>,
    /// Against an earlier run that serves as a standard, if one was given.
    #[serde(default)]
    pub drifts: Vec<Drift>,
    /// Things a reader should know.
    pub notes: Vec<String>,
}

/// A runtime as it was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetInfo {
    /// How it was called.
    #[serde(flatten)]
    pub target: Target,
    /// First line of `--version`.
    pub version: String,
    /// SHA-256 of the executable.
    pub digest: String,
    /// Size of the executable, bytes.
    pub bytes: u64,
    /// Whether the guest's stamps share the host's clock; otherwise arrivals at the host are used.
    pub guest_clock: bool,
}

/// One scenario's outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScenarioResult {
    /// Stable name.
    pub name: String,
    /// Title.
    pub title: String,
    /// Blocks done.
    pub blocks: u64,
    /// One per target, in the order of the run's targets (the sentinel is not among them).
    pub arms: Vec<ArmResult>,
    /// Each other target against the baseline.
    pub comparisons: Vec<Comparison>,
    /// Curves such as throughput against workers.
    pub curves: Vec<Curve>,
    /// Checks that parts sum to the whole: target, name, result.
    pub closures: Vec<(String, String, Closure)>,
    /// Why it ended before its gates decided, if so.
    pub cut_short: Option<String>,
}

/// One target's numbers in a scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmResult {
    /// The target's name.
    pub target: String,
    /// Lifecycles tried.
    pub attempts: u64,
    /// Those that failed, with the block; at most 100 are kept.
    pub failures: Vec<(u64, Failure)>,
    /// How many failed in all.
    pub failed: u64,
    /// One per metric.
    pub series: Vec<Series>,
}

/// The values of one metric, block by block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The metric's name.
    pub metric: String,
    /// Its unit.
    pub unit: Unit,
    /// Which way it gets worse.
    pub direction: Direction,
    /// One value per block; absent where the lifecycle failed.
    pub samples: Vec<Option<f64>>,
    /// Summary of the values that are there.
    pub summary: Option<Summary>,
    /// Outliers among them: counted, never dropped.
    pub outliers: Option<Outliers>,
}

/// A candidate against the baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The baseline's name.
    pub baseline: String,
    /// The candidate's name.
    pub candidate: String,
    /// Whether the candidate is the copy of the baseline that watches over the run.
    pub sentinel: bool,
    /// The deciding metrics.
    pub metrics: Vec<MetricVerdict>,
    /// Evidence for "the candidate fails more often".
    pub failures: EProcess,
    /// All together.
    pub verdict: Verdict,
    /// One sentence for it.
    pub says: String,
}

/// A gate's outcome for one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricVerdict {
    /// The metric's name.
    pub metric: String,
    /// The gate's report.
    pub report: GateReport,
    /// Whether a FAIL survives the correction for many metrics (e-BH over the whole run).
    pub discovery: bool,
    /// Whether the candidate's tail is heavier.
    pub tail_alarm: bool,
    /// The tail's evidence.
    pub tail: RelativeTail,
    /// What a later run continues.
    pub counts: GateCounts,
}

/// A curve of one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// The target's name.
    pub target: String,
    /// Stable name, such as `throughput.closed`.
    pub name: String,
    /// What x is.
    pub x: String,
    /// What y is, with its unit.
    pub y: String,
    /// The points.
    pub points: Vec<(f64, f64)>,
    /// Fit of the scalability law, for throughput.
    pub usl: Option<Usl>,
    /// Fitted slope, for growth.
    pub slope: Option<Slope>,
    /// What the curve says, with the cause of its end.
    pub says: String,
    /// A leak or another shown defect: closes the gate.
    pub alarm: bool,
}

impl BenchRun {
    /// The worst verdict of all comparisons and curves; `None` when nothing decides.
    pub fn verdict(&self) -> Option<Verdict> {
        let rank = |v: Verdict| match v {
            Verdict::Pass => 0,
            Verdict::Warn => 1,
            Verdict::Inconclusive => 2,
            Verdict::Fail => 3,
        };
        let compared =
            self.scenarios.iter().flat_map(|s| &s.comparisons).filter(|c| !c.sentinel).map(|c| c.verdict);
        let alarms = self.scenarios.iter().flat_map(|s| &s.curves).filter(|c| c.alarm).map(|_| Verdict::Fail);
        let drifts = self.drifts.iter().filter(|d| d.worse).map(|_| Verdict::Fail);
        compared.chain(alarms).chain(drifts).max_by_key(|v| rank(*v))
    }

    /// The harness's own time inside a measured start: the median over all lifecycles, microseconds.
    pub fn harness_gap_us(&self) -> Option<f64> {
        let values: Vec<f64> = self
            .scenarios
            .iter()
            .flat_map(|s| &s.arms)
            .filter_map(|a| a.series("harness.gap"))
            .flat_map(|s| s.samples.iter().flatten().copied())
            .collect();
        Some(plimsoll_bench_stats::median(&values).ok()? * 1e3)
    }

    /// A scenario by name.
    pub fn scenario(&self, name: &str) -> Option<&ScenarioResult> {
        self.scenarios.iter().find(|s| s.name == name)
    }
}

impl ArmResult {
    /// A metric's series by name.
    pub fn series(&self, metric: &str) -> Option<&Series> {
        self.series.iter().find(|s| s.metric == metric)
    }

    /// The median of a metric.
    pub fn median(&self, metric: &str) -> Option<f64> {
        Some(self.series(metric)?.summary.as_ref()?.p50)
    }
}
