//! Benchmark results as the reports read them: the parts of `plimsoll-bench/1` that are shown or gate.
//!
//! The benchmark writes more than this; what is not known here is left alone, and what is missing is taken as absent,
//! so that an older or newer minor version still reads.

use serde::Deserialize;
use serde_json::Value;

/// The major version of the format that is understood.
pub const SCHEMA: &str = "plimsoll-bench/1";

/// A benchmark run.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct BenchRun {
    /// Name and version of the format.
    pub schema: String,
    /// Length, seconds.
    pub seconds: f64,
    /// Seed of every random choice.
    pub seed: u64,
    /// What must be equal for numbers to be comparable.
    pub key: Key,
    /// The runtimes; the first is the baseline.
    pub targets: Vec<Target>,
    /// What was measured.
    pub scenarios: Vec<Scenario>,
    /// Why the whole must not be used, if so.
    pub void: Option<String>,
    /// Things a reader should know.
    pub notes: Vec<String>,
}

/// The comparability key.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Key {
    /// Field name to value.
    pub fields: std::collections::BTreeMap<String, String>,
}

/// A runtime as it was measured.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Target {
    /// Short name.
    pub name: String,
    /// First line of its version text.
    pub version: String,
    /// SHA-256 of the executable.
    pub digest: String,
}

/// One scenario.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Scenario {
    /// Stable name.
    pub name: String,
    /// Title.
    pub title: String,
    /// Blocks done.
    pub blocks: u64,
    /// One per target.
    pub arms: Vec<Arm>,
    /// Candidates against the baseline.
    pub comparisons: Vec<Comparison>,
    /// Curves.
    pub curves: Vec<Curve>,
    /// Why it ended before its gates decided.
    pub cut_short: Option<String>,
}

/// One target's numbers.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Arm {
    /// The target's name.
    pub target: String,
    /// Lifecycles tried.
    pub attempts: u64,
    /// How many failed.
    pub failed: u64,
    /// One per metric.
    pub series: Vec<Series>,
}

/// One metric, block by block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Series {
    /// The metric's name.
    pub metric: String,
    /// Its unit.
    pub unit: String,
    /// Which way it gets worse: `smaller-is-better` or `larger-is-better`.
    pub direction: String,
    /// One value per block; absent where the lifecycle failed.
    pub samples: Vec<Option<f64>>,
    /// Summary of the values.
    pub summary: Option<Summary>,
}

/// The usual numbers.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// Observations.
    pub n: u64,
    /// Smallest.
    pub min: f64,
    /// Median.
    pub p50: f64,
    /// 95 % interval of the median.
    pub p50_interval: Interval,
    /// 90 % quantile.
    pub p90: f64,
    /// 99 % quantile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

/// An interval; an absent end is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Interval {
    /// Lower end.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
}

/// A candidate against the baseline.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Comparison {
    /// The baseline's name.
    pub baseline: String,
    /// The candidate's name.
    pub candidate: String,
    /// Whether the candidate is the copy of the baseline that watches over the run.
    pub sentinel: bool,
    /// The deciding metrics.
    pub metrics: Vec<MetricVerdict>,
    /// `pass`, `warn`, `fail` or `inconclusive`.
    pub verdict: String,
    /// One sentence for it.
    pub says: String,
}

/// One deciding metric.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct MetricVerdict {
    /// The metric's name.
    pub metric: String,
    /// The gate's report.
    pub report: GateReport,
    /// Whether the candidate's tail is heavier.
    pub tail_alarm: bool,
}

/// What a gate found.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct GateReport {
    /// `pass`, `warn`, `fail` or `inconclusive`.
    pub verdict: String,
    /// Pairs.
    pub n: u64,
    /// Median ratio candidate ÷ baseline.
    pub ratio: Option<f64>,
    /// Confidence sequence for it.
    pub interval: Interval,
    /// Smallest slowdown that so many pairs would show at this noise.
    pub visible_change: Option<f64>,
    /// Evidence for "slower".
    pub slower: Option<Evidence>,
}

/// An e-process: how often the candidate was slower, of how many pairs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Evidence {
    /// Pairs in which it was.
    pub hits: u64,
    /// Pairs that counted.
    pub trials: u64,
}

/// A curve of one target.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Curve {
    /// The target's name.
    pub target: String,
    /// Stable name.
    pub name: String,
    /// What x is.
    pub x: String,
    /// What y is, with its unit.
    pub y: String,
    /// The points.
    pub points: Vec<(f64, f64)>,
    /// What the curve says.
    pub says: String,
    /// A leak or another shown defect.
    pub alarm: bool,
}

/// What a benchmark means for the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// Nothing got worse beyond noise, or nothing was compared.
    Fine,
    /// It cannot tell.
    CannotTell,
    /// A regression beyond noise, or a shown defect such as a leak.
    Regression,
}

impl BenchRun {
    /// Reads a result; `None` for another format.
    pub fn read(result: &Value) -> Option<Self> {
        let schema = result.get("schema")?.as_str()?;
        if schema != SCHEMA && !schema.starts_with(&format!("{SCHEMA}.")) {
            return None;
        }
        serde_json::from_value(result.clone()).ok()
    }

    /// Whether what got worse did so against another product: then nothing regressed, one product is slower than the
    /// other. A regression is one version of a product against another.
    pub fn compares_products(&self) -> bool {
        let mut worse = self
            .scenarios
            .iter()
            .flat_map(|s| &s.comparisons)
            .filter(|c| !c.sentinel && c.verdict == "fail")
            .peekable();
        let alarm = self.scenarios.iter().flat_map(|s| &s.curves).any(|c| c.alarm);
        worse.peek().is_some() && !alarm && worse.all(|c| self.are_other_products(c))
    }

    /// Whether the two are different products, by what they say of their versions; where one says nothing, they are
    /// taken for one.
    pub fn are_other_products(&self, c: &Comparison) -> bool {
        let product = |name: &str| {
            let version = &self.targets.iter().find(|t| t.name == name)?.version;
            version.split_whitespace().next().map(str::to_lowercase)
        };
        matches!((product(&c.baseline), product(&c.candidate)), (Some(a), Some(b)) if a != b)
    }

    /// The gravest finding. The sentinel compares the baseline with itself and never counts as a regression.
    pub fn finding(&self) -> Finding {
        if self.void.is_some() {
            return Finding::CannotTell;
        }
        let compared = self.scenarios.iter().flat_map(|s| &s.comparisons).filter(|c| !c.sentinel);
        let verdicts = compared.map(|c| match c.verdict.as_str() {
            "fail" => Finding::Regression,
            "inconclusive" => Finding::CannotTell,
            _ => Finding::Fine,
        });
        let alarms = self.scenarios.iter().flat_map(|s| &s.curves).filter(|c| c.alarm);
        verdicts.chain(alarms.map(|_| Finding::Regression)).max().unwrap_or(Finding::Fine)
    }
}
