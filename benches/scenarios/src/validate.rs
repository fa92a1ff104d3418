//! Validation of the gate on the host at hand: the same comparison many times, and how often each verdict fell.
//!
//! With two copies of one runtime it counts false alarms; with an injected change it measures the power.
//! The rates come with exact binomial intervals: "0 of 50" is not "never".

use crate::error::BenchError;
use crate::plan::BenchPlan;
use crate::{Progress, run};
use plimsoll_bench_stats::binomial::exact_interval;
use plimsoll_bench_stats::gate::Verdict;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;

/// How the gates of one metric fell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GateTally {
    /// PASS, WARN, FAIL, INCONCLUSIVE.
    pub verdicts: [u64; 4],
    /// FAILs that survived the correction for many metrics.
    pub discoveries: u64,
    /// Alarms of the tail test.
    pub tails: u64,
    /// Pairs at which each gate decided, or all it had.
    pub pairs: Vec<f64>,
    /// Median ratio that each gate estimated.
    pub ratios: Vec<f64>,
}

/// All tallies, by scenario and metric.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Runs done.
    pub runs: u64,
    /// Key: `scenario candidate metric`.
    pub gates: BTreeMap<String, GateTally>,
    /// Verdicts of whole comparisons.
    pub comparisons: [u64; 4],
}

/// Runs the plan `times` times with seeds of their own.
pub fn repeat(
    plan: &BenchPlan,
    times: u64,
    progress: &mut dyn FnMut(Progress),
) -> Result<Validation, BenchError> {
    let mut out = Validation::default();
    for i in 0..times {
        let mut once = plan.clone();
        once.seed = plan.seed.wrapping_add(i);
        let result = run(&once, &mut |_| {})?;
        out.runs += 1;
        for scenario in &result.scenarios {
            for c in scenario.comparisons.iter().filter(|c| !c.sentinel) {
                out.comparisons[c.verdict as usize] += 1;
                for m in &c.metrics {
                    let key = format!("{} {} {}", scenario.name, c.candidate, m.metric);
                    let tally = out.gates.entry(key).or_default();
                    tally.verdicts[m.report.verdict as usize] += 1;
                    tally.discoveries += u64::from(m.discovery);
                    tally.tails += u64::from(m.tail_alarm);
                    tally.pairs.push(m.report.decided_at.unwrap_or(m.report.n) as f64);
                    tally.ratios.extend(m.report.ratio);
                }
            }
        }
        progress(Progress::Note(format!("run {} of {times}: {}", i + 1, summary(&out))));
    }
    Ok(out)
}

fn summary(v: &Validation) -> String {
    let fails: u64 = v.gates.values().map(|t| t.verdicts[Verdict::Fail as usize]).sum();
    let gates: u64 = v.gates.values().map(|t| t.verdicts.iter().sum::<u64>()).sum();
    format!("{fails} FAIL in {gates} gates")
}

/// The table in Markdown.
pub fn markdown(v: &Validation) -> String {
    let mut out = String::from(
        "| scenario, candidate, metric | gates | PASS | WARN | FAIL | cannot tell | FAIL rate (95 %) | pairs to decide: median, p95 | median change |\n|---|---:|---:|---:|---:|---:|---|---:|---:|\n",
    );
    let mut total = [0_u64; 4];
    for (key, tally) in &v.gates {
        let [pass, warn, fail, unclear] = tally.verdicts;
        for (sum, count) in total.iter_mut().zip(tally.verdicts) {
            *sum += count;
        }
        let pairs = |p| plimsoll_bench_stats::quantile(&tally.pairs, p).unwrap_or(0.0);
        let ratio = plimsoll_bench_stats::median(&tally.ratios).unwrap_or(f64::NAN);
        let _ = writeln!(
            out,
            "| {key} | {} | {pass} | {warn} | {fail} | {unclear} | {} | {:.0}, {:.0} | {:+.1} % |",
            tally.verdicts.iter().sum::<u64>(),
            rate(fail, tally.verdicts.iter().sum()),
            pairs(0.5),
            pairs(0.95),
            (ratio - 1.0) * 100.0
        );
    }
    let n = total.iter().sum();
    let _ = writeln!(
        out,
        "| **all** | {n} | {} | {} | {} | {} | {} | | |",
        total[0],
        total[1],
        total[2],
        total[3],
        rate(total[2], n)
    );
    out
}

/// `1.3 % (0.2 to 4.6)`.
fn rate(k: u64, n: u64) -> String {
    let Ok(interval) = exact_interval(k, n, 0.95) else { return "-".into() };
    let percent = |x: f64| format!("{:.1}", x * 100.0);
    let ends = interval
        .low
        .zip(interval.high)
        .map_or_else(String::new, |(low, high)| format!(" ({} to {})", percent(low), percent(high)));
    format!("{} %{ends}", percent(k as f64 / n as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_carry_their_uncertainty() {
        // scipy.stats.binomtest(3, 300).proportion_ci(0.95, "exact"): 0.00207 to 0.02894
        assert_eq!(rate(3, 300), "1.0 % (0.2 to 2.9)");
        assert_eq!(rate(0, 0), "-");
    }

    #[test]
    fn the_table_sums_up() {
        let mut v = Validation::default();
        for (key, verdicts) in [("a b c", [5, 0, 1, 0]), ("a b d", [6, 0, 0, 0])] {
            let tally = GateTally { verdicts, pairs: vec![10.0], ratios: vec![1.1], ..GateTally::default() };
            v.gates.insert(key.into(), tally);
        }
        let text = markdown(&v);
        assert!(text.contains("| **all** | 12 | 11 | 0 | 1 | 0 |"), "{text}");
        assert!(text.contains("+10.0 %"));
    }
}
