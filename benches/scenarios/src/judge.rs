//! Judging a paired scenario while it runs: one gate per deciding metric and candidate.

use crate::metric::{self, Profile};
use crate::result::{Comparison, MetricVerdict};
use crate::slot::{Failure, Sample};
use plimsoll_bench_stats::evalue::EProcess;
use plimsoll_bench_stats::gate::{Gate, Verdict};
use plimsoll_bench_stats::pairs::Pair;
use plimsoll_bench_stats::tail::RelativeTail;
use plimsoll_bench_stats::{StatsError, ebh, plan};

/// All gates of one candidate.
pub struct Judge {
    baseline: String,
    candidate: String,
    sentinel: bool,
    gates: Vec<(&'static str, Gate, RelativeTail)>,
    failures: EProcess,
    fdr: f64,
    /// Deciding metrics of the whole run: what a FAIL's evidence has to be measured by.
    questions: usize,
    max_pairs: u64,
    pairs: u64,
}

impl Judge {
    /// Gates for the metrics in `decides`, taking up the counts of an earlier comparison if there is one.
    pub fn new(
        names: (&str, &str),
        sentinel: bool,
        decides: &[&'static str],
        profile: &Profile,
        seed: u64,
        questions: usize,
        earlier: Option<&Comparison>,
    ) -> Result<Self, StatsError> {
        let mut gates = Vec::new();
        for name in decides {
            let Some(config) = metric::find(name).and_then(|m| profile.gate(m)) else { continue };
            let before = earlier.and_then(|c| c.metrics.iter().find(|m| m.metric == *name));
            let counts = before.map(|m| m.counts.clone()).unwrap_or_default();
            let gate = Gate::resume(config, seed ^ gates.len() as u64, counts)?;
            let tail = match before {
                Some(m) => m.tail.clone(),
                None => RelativeTail::new(0.95, config.delta_hi, 20)?,
            };
            gates.push((*name, gate, tail));
        }
        Ok(Self {
            baseline: names.0.to_owned(),
            candidate: names.1.to_owned(),
            sentinel,
            gates,
            failures: earlier.map_or_else(EProcess::new, |c| c.failures),
            fdr: profile.fdr,
            questions: questions.max(decides.len()),
            max_pairs: profile.max_pairs(),
            pairs: 0,
        })
    }

    /// Takes one block.
    pub fn push(&mut self, baseline: &Result<Sample, Failure>, candidate: &Result<Sample, Failure>) {
        self.pairs += 1;
        if baseline.is_ok() != candidate.is_ok() {
            self.failures.push(candidate.is_err());
        }
        let (Ok(a), Ok(b)) = (baseline, candidate) else { return };
        for (name, gate, tail) in &mut self.gates {
            let pair = a.get(name).zip(b.get(name)).and_then(|(a, b)| Pair::new(a.max(0.0), b.max(0.0)).ok());
            if let Some(pair) = pair {
                gate.push(pair);
                tail.push(pair.log_ratio());
            }
        }
    }

    /// Whether nothing more can be learned within the bounds: all gates are done, each FAIL is strong
    /// enough for the number of questions asked, and no suspicion of more failures is open; or the pairs are used up.
    pub fn finished(&self) -> bool {
        let proven = self.failures.rejects(self.fdr);
        // Where most lifecycles fail, times would take for ever.
        if self.pairs >= self.max_pairs || proven && 2 * self.failures.hits > self.pairs {
            return true;
        }
        (proven || !suspects(self.failures))
            && self.gates.iter().all(|(_, gate, _)| settled(gate, self.questions, self.fdr))
    }

    /// What the noise seen so far lets the longest possible run show, metric by metric.
    pub fn forecast(&self) -> Result<Vec<String>, StatsError> {
        let percent = |x: f64| format!("{:.1} %", x * 100.0);
        self.gates
            .iter()
            .map(|(name, gate, _)| {
                let (report, config) = (gate.report()?, gate.config());
                let most = report.n_earlier + config.n_max;
                let visible = plan::visible_change(report.sigma, most, config.delta_lo, config.alpha, 0.05);
                let needed = plan::pairs_needed(report.sigma, 0.10, config.delta_lo, config.alpha, 0.05);
                Ok(format!(
                    "{name}: {most} pairs show a slowdown of {} or more; +10 % needs about {} pairs",
                    visible.map_or_else(|| "no size".into(), percent),
                    needed.map_or_else(|| "infinitely many".into(), |n| n.to_string())
                ))
            })
            .collect()
    }

    /// Pairs taken in this run.
    pub const fn pairs(&self) -> u64 {
        self.pairs
    }

    /// The names and verdicts so far, for a progress line.
    pub fn so_far(&self) -> Vec<(&'static str, Verdict)> {
        self.gates.iter().map(|(name, gate, _)| (*name, gate.verdict())).collect()
    }

    /// The result; the discoveries and the verdict are filled in by [`conclude`].
    pub fn finish(self) -> Result<Comparison, StatsError> {
        let metrics = self
            .gates
            .into_iter()
            .map(|(name, gate, tail)| {
                Ok(MetricVerdict {
                    metric: name.to_owned(),
                    report: gate.report()?,
                    discovery: false,
                    tail_alarm: tail.evidence().rejects(self.fdr),
                    tail,
                    counts: gate.counts().clone(),
                })
            })
            .collect::<Result<_, StatsError>>()?;
        Ok(Comparison {
            baseline: self.baseline,
            candidate: self.candidate,
            sentinel: self.sentinel,
            metrics,
            failures: self.failures,
            verdict: Verdict::Inconclusive,
            says: String::new(),
        })
    }
}

/// Whether the candidate alone failed more often than the baseline alone: no proof, but no PASS either.
const fn suspects(failures: EProcess) -> bool {
    2 * failures.hits > failures.trials
}

/// Whether a gate needs no more pairs: it has decided, and a FAIL holds among so many questions.
pub(crate) fn settled(gate: &Gate, questions: usize, fdr: f64) -> bool {
    let enough = (questions.max(1) as f64 / fdr).ln();
    gate.finished() && (gate.verdict() != Verdict::Fail || gate.counts().slower.ln_e() >= enough)
}

/// Corrects for the number of metrics over all comparisons of a run, and says each comparison's verdict.
pub fn conclude(comparisons: &mut [&mut Comparison], fdr: f64) -> Result<(), StatsError> {
    let real = |c: &Comparison| !c.sentinel;
    let ln_e: Vec<f64> = comparisons
        .iter()
        .filter(|c| real(c))
        .flat_map(|c| c.metrics.iter().map(|m| m.report.slower.ln_e()))
        .collect();
    let mut found = ebh::reject(&ln_e, fdr)?.into_iter();
    for comparison in comparisons {
        if real(comparison) {
            for m in &mut comparison.metrics {
                m.discovery = found.next().unwrap_or(false);
            }
        }
        let (verdict, says) = verdict_of(comparison, fdr);
        comparison.verdict = verdict;
        comparison.says = says;
    }
    Ok(())
}

/// The verdict of one comparison: failures first, then the metrics.
fn verdict_of(c: &Comparison, fdr: f64) -> (Verdict, String) {
    let of = |v: Verdict| c.metrics.iter().filter(move |m| m.report.verdict == v);
    let change = |m: &MetricVerdict| {
        let percent = |r: f64| format!("{:+.1} %", (r - 1.0) * 100.0);
        let interval = match (m.report.interval.low, m.report.interval.high) {
            (Some(low), Some(high)) => format!(" ({} to {})", percent(low), percent(high)),
            _ => String::new(),
        };
        format!("{} {}{interval}", m.metric, m.report.ratio.map_or_else(|| "?".into(), percent))
    };
    let list = |items: Vec<&MetricVerdict>| items.into_iter().map(change).collect::<Vec<_>>().join(", ");
    if c.failures.rejects(fdr) {
        let text =
            format!("fails more often: {} of {} discordant blocks", c.failures.hits, c.failures.trials);
        return (Verdict::Fail, text);
    }
    let failed: Vec<_> = of(Verdict::Fail).collect();
    // The sentinel is one question asked on purpose; the correction is for the others.
    let (shown, weak): (Vec<_>, Vec<_>) = failed.into_iter().partition(|m| m.discovery || c.sentinel);
    let tails: Vec<&str> = c.metrics.iter().filter(|m| m.tail_alarm).map(|m| m.metric.as_str()).collect();
    if !shown.is_empty() {
        return (Verdict::Fail, format!("slower: {}", list(shown)));
    }
    if !tails.is_empty() {
        return (Verdict::Fail, format!("heavier tail: {}", tails.join(", ")));
    }
    let undecided: Vec<_> = of(Verdict::Inconclusive).collect();
    if c.metrics.is_empty() || !undecided.is_empty() {
        let names: Vec<&str> = undecided.iter().map(|m| m.metric.as_str()).collect();
        return (Verdict::Inconclusive, format!("cannot tell: {}", names.join(", ")));
    }
    if suspects(c.failures) {
        let text = format!(
            "failed where the baseline did not, too seldom to prove more: {} of {} discordant blocks",
            c.failures.hits, c.failures.trials
        );
        return (Verdict::Warn, text);
    }
    let mild: Vec<_> = of(Verdict::Warn).chain(weak).collect();
    if !mild.is_empty() {
        return (Verdict::Warn, format!("slower, within the margins or short of proof: {}", list(mild)));
    }
    (Verdict::Pass, "no slowdown beyond the margins".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_bench_stats::Rng;

    const DECIDES: &[&str] = &["start.entrypoint", "cpu.lifecycle"];

    fn judge() -> Judge {
        let profile = Profile::named("release").unwrap();
        Judge::new(("a", "b"), false, DECIDES, &profile, 1, 0, None).unwrap()
    }

    #[allow(clippy::unnecessary_wraps)] // the arms of a block are results
    fn sample(wall: f64, cpu: f64) -> Result<Sample, Failure> {
        let mut s = Sample::default();
        s.set("start.entrypoint", wall);
        s.set("cpu.lifecycle", cpu);
        Ok(s)
    }

    fn drive(
        mut judge: Judge,
        mut block: impl FnMut(&mut Rng) -> [Result<Sample, Failure>; 2],
    ) -> Comparison {
        let mut rng = Rng::new(4);
        while !judge.finished() {
            let [a, b] = block(&mut rng);
            judge.push(&a, &b);
        }
        let mut c = judge.finish().unwrap();
        conclude(&mut [&mut c], 0.01).unwrap();
        c
    }

    #[test]
    fn a_slowdown_fails_on_its_metric() {
        let noise = |rng: &mut Rng| (0.02 * rng.normal()).exp();
        let c = drive(judge(), |r| {
            [sample(10.0 * noise(r), 5.0 * noise(r)), sample(10.0 * noise(r), 6.0 * noise(r))]
        });
        assert_eq!(c.verdict, Verdict::Fail, "{}", c.says);
        assert!(c.says.contains("cpu.lifecycle") && !c.says.contains("start.entrypoint"), "{}", c.says);
        assert!(c.metrics.iter().find(|m| m.metric == "cpu.lifecycle").unwrap().discovery);
    }

    #[test]
    fn equal_arms_pass() {
        let noise = |rng: &mut Rng| (0.02 * rng.normal()).exp();
        let c = drive(judge(), |r| {
            [sample(10.0 * noise(r), 5.0 * noise(r)), sample(10.0 * noise(r), 5.0 * noise(r))]
        });
        assert_eq!(c.verdict, Verdict::Pass, "{}", c.says);
    }

    #[test]
    fn failing_starts_fail_and_never_enter_the_times() {
        let c = drive(judge(), |r| {
            let broken = r.uniform() < 0.3;
            let b = if broken { Err(Failure::new("create", "no")) } else { sample(10.0, 5.0) };
            [sample(10.0 + r.uniform(), 5.0), b]
        });
        assert_eq!(c.verdict, Verdict::Fail, "the gate goes on until failures are decided: {}", c.says);
        assert!(c.says.starts_with("fails more often"), "{}", c.says);
        assert!(c.metrics.iter().all(|m| m.report.ratio.is_none_or(|r| r < 1.1)));
    }

    #[test]
    fn one_failure_is_a_warning_and_the_baselines_own_is_none() {
        let once = |candidate_fails: bool| {
            let mut block = 0;
            drive(judge(), move |_| {
                block += 1;
                let failed = || Err(Failure::new("create", "no"));
                match (block, candidate_fails) {
                    (3, true) => [sample(10.0, 5.0), failed()],
                    (3, false) => [failed(), sample(10.0, 5.0)],
                    _ => [sample(10.0, 5.0), sample(10.0, 5.0)],
                }
            })
        };
        let c = once(true);
        assert_eq!((c.verdict, c.failures.hits), (Verdict::Warn, 1), "{}", c.says);
        assert_eq!(once(false).verdict, Verdict::Pass);
    }

    #[test]
    fn only_failures_cannot_pass() {
        let c = drive(judge(), |_| [sample(1.0, 1.0), Err(Failure::new("create", "no"))]);
        assert_eq!(c.verdict, Verdict::Fail, "{}", c.says);
    }

    #[test]
    fn an_earlier_run_is_continued() {
        let mut first = judge();
        for _ in 0..15 {
            first.push(&sample(10.0, 5.0), &sample(10.0, 5.0));
        }
        let before = first.finish().unwrap();
        let profile = Profile::named("release").unwrap();
        let second = Judge::new(("a", "b"), false, DECIDES, &profile, 1, 0, Some(&before)).unwrap();
        let after = second.finish().unwrap();
        assert_eq!(after.metrics[0].report.n_earlier, 15);
    }
}
