//! Against an earlier run: has a ratio to the same baseline target got worse?
//!
//! Raw times of different days are not comparable, not even on one host. The ratio of a candidate to a baseline that
//! ran interleaved with it is; so each run's ratio, with the interval that its confidence sequence gives, is compared
//! with the other's. Two intervals that do not overlap (with the margin between them) show a change.

use crate::error::BenchError;
use crate::metric::Profile;
use crate::result::{BenchRun, Comparison, MetricVerdict};
use plimsoll_bench_stats::gate::Direction;
use serde::{Deserialize, Serialize};

/// A metric of a candidate in two runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// The scenario.
    pub scenario: String,
    /// The candidate.
    pub candidate: String,
    /// The metric.
    pub metric: String,
    /// Median ratio to the baseline target in the earlier run, with its interval.
    pub then: (f64, f64, f64),
    /// The same now.
    pub now: (f64, f64, f64),
    /// Whether it got worse beyond both intervals and the margin.
    pub worse: bool,
}

/// Compares all metrics that both runs judged. The runs must be comparable, and their baseline targets the same
/// program; candidates may be other versions, that is the point.
pub fn against(then: &BenchRun, now: &BenchRun) -> Result<Vec<Drift>, BenchError> {
    let mut differences = then.key.differences(&now.key);
    match (then.targets.first(), now.targets.first()) {
        (Some(a), Some(b)) if a.digest == b.digest && a.target.name() == b.target.name() => {}
        (Some(a), Some(b)) => differences.push(format!(
            "baseline target: `{}` ({}) there, `{}` ({}) here",
            a.target.name(),
            a.version,
            b.target.name(),
            b.version
        )),
        _ => differences.push("one of the runs has no target".into()),
    }
    if then.void.is_some() {
        differences.push("the earlier run is void".into());
    }
    if !differences.is_empty() {
        return Err(BenchError::NotComparable { differences });
    }
    let mut out = Vec::new();
    for scenario in &now.scenarios {
        let Some(before) = then.scenario(&scenario.name) else { continue };
        for c in scenario.comparisons.iter().filter(|c| !c.sentinel) {
            let Some(old) = before.comparisons.iter().find(|o| o.candidate == c.candidate) else { continue };
            out.extend(drifts(&scenario.name, old, c, &now.profile));
        }
    }
    Ok(out)
}

fn drifts(scenario: &str, then: &Comparison, now: &Comparison, profile: &Profile) -> Vec<Drift> {
    let of = |m: &MetricVerdict| {
        let r = &m.report;
        Some((r.ratio?, r.interval.low?, r.interval.high?))
    };
    now.metrics
        .iter()
        .filter_map(|m| {
            let old = then.metrics.iter().find(|o| o.metric == m.metric)?;
            let (then, now_) = (of(old)?, of(m)?);
            let config = crate::metric::find(&m.metric).and_then(|known| profile.gate(known));
            let config = config.unwrap_or(plimsoll_bench_stats::gate::GateConfig {
                direction: Direction::LargerIsBetter,
                ..profile.wall
            });
            // The report's ratios already say "worse" upwards for both directions.
            let worse = now_.1 > then.2 * (1.0 + config.delta_lo);
            Some(Drift {
                scenario: scenario.to_owned(),
                candidate: now.candidate.clone(),
                metric: m.metric.clone(),
                then,
                now: now_,
                worse,
            })
        })
        .collect()
}
