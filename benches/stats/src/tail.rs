//! Tails: does the candidate exceed a high threshold more often than the baseline?
//!
//! In each block either both arms exceed the threshold, or none, or exactly one. Under "no change" the
//! discordant blocks are fair coins (the test of `McNemar`), so the same e-process judges them. The threshold for a
//! block is the pooled quantile of the blocks *before* it, which keeps the test valid under looking after
//! every block: a coin's fairness may depend on the past, never on its own outcome.
//!
//! Two scales. [`TailExceedance`] looks at the values themselves: "more starts beyond 30 ms". Where the
//! machine's own weather fills the tail, [`RelativeTail`] sees far more: it compares how often the candidate
//! is *unusually much* slower than its partner with how often it is unusually much faster.

use crate::evalue::EProcess;
use crate::pairs::Pair;
use crate::{StatsError, open_interval};
use serde::{Deserialize, Serialize};

/// The running test of one tail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TailExceedance {
    /// Which quantile of the pooled past is the threshold.
    p: f64,
    /// The candidate must exceed the threshold by this factor to count (1 + margin).
    factor: f64,
    /// Pairs used only to set the first threshold.
    warm_up: u64,
    /// Pooled values of all pairs so far, sorted.
    pooled: Vec<f64>,
    /// Discordant blocks: a hit is "only the candidate exceeds".
    evidence: EProcess,
}

impl TailExceedance {
    /// Tests the tail above the pooled `p` quantile; the candidate must pass it by `margin` (a fraction).
    /// The first `warm_up` pairs only set the threshold.
    pub fn new(p: f64, margin: f64, warm_up: u64) -> Result<Self, StatsError> {
        open_interval("tail quantile", p, 0.0, 1.0, "0 < p < 1")?;
        open_interval("tail margin", margin, -1e-300, f64::INFINITY, "not negative")?;
        Ok(Self {
            p,
            factor: 1.0 + margin,
            warm_up: warm_up.max(5),
            pooled: Vec::new(),
            evidence: EProcess::new(),
        })
    }

    /// Takes one pair.
    pub fn push(&mut self, pair: Pair) {
        if self.pooled.len() as u64 >= 2 * self.warm_up
            && let Some(threshold) = crate::quantile::quantile_sorted(&self.pooled, self.p)
        {
            let baseline = pair.baseline > threshold;
            let candidate = pair.candidate > threshold * self.factor;
            if baseline != candidate {
                self.evidence.push(candidate);
            }
        }
        for value in [pair.baseline, pair.candidate] {
            let at = self.pooled.partition_point(|x| *x <= value);
            self.pooled.insert(at, value);
        }
    }

    /// The evidence so far.
    pub const fn evidence(&self) -> EProcess {
        self.evidence
    }

    /// The threshold that the next pair will meet; absent while warming up.
    pub fn threshold(&self) -> Option<f64> {
        if (self.pooled.len() as u64) < 2 * self.warm_up {
            return None;
        }
        crate::quantile::quantile_sorted(&self.pooled, self.p)
    }
}

/// The running test of the tail of the log ratios, centred so that a plain shift does not set it off.
///
/// With `m` the median and `T` the `p` quantile of `|d - m|` of the pairs before this one, a hit is
/// `d - m > T + ln(1 + margin)` and the opposite is `d - m < -T`. The margin makes up for `m` being an
/// estimate, so that equal tails alarm less often than the level allows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RelativeTail {
    p: f64,
    margin: f64,
    warm_up: usize,
    /// Log ratios so far, sorted.
    past: Vec<f64>,
    evidence: EProcess,
}

impl RelativeTail {
    /// Tests beyond the `p` quantile of the deviations; the first `warm_up` pairs only set it.
    pub fn new(p: f64, margin: f64, warm_up: usize) -> Result<Self, StatsError> {
        open_interval("tail quantile", p, 0.0, 1.0, "0 < p < 1")?;
        open_interval("tail margin", margin, -1e-300, f64::INFINITY, "not negative")?;
        let warm_up = warm_up.max(10);
        Ok(Self { p, margin: margin.ln_1p(), warm_up, past: Vec::new(), evidence: EProcess::new() })
    }

    /// Takes one log ratio; one of [`crate::pairs::BEYOND`] (an arm read zero) is beyond every threshold.
    pub fn push(&mut self, log_ratio: f64) {
        if log_ratio.is_nan() {
            return;
        }
        if self.past.len() >= self.warm_up {
            let centre = crate::quantile::quantile_sorted(&self.past, 0.5).unwrap_or(0.0);
            let mut deviations: Vec<f64> = self.past.iter().map(|d| (d - centre).abs()).collect();
            let rank = (self.p * (deviations.len() - 1) as f64).round() as usize;
            let (_, &mut threshold, _) = deviations.select_nth_unstable_by(rank, f64::total_cmp);
            let slower = log_ratio - centre > threshold + self.margin;
            let faster = log_ratio - centre < -threshold;
            if slower || faster {
                self.evidence.push(slower);
            }
        }
        let at = self.past.partition_point(|x| *x <= log_ratio);
        self.past.insert(at, log_ratio);
    }

    /// The evidence so far.
    pub const fn evidence(&self) -> EProcess {
        self.evidence
    }
}

/// The two-sample counterpart for events such as failures: a hit is "only the candidate failed".
pub fn discordant(events: impl IntoIterator<Item = (bool, bool)>) -> EProcess {
    let mut evidence = EProcess::new();
    for (baseline, candidate) in events {
        if baseline != candidate {
            evidence.push(candidate);
        }
    }
    evidence
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Pairs in one weather; a share of the candidate's lifecycles is slower by `factor`.
    fn pair(rng: &mut Rng, share: f64, factor: f64) -> Pair {
        let weather = 0.1 * rng.normal();
        let slow = if rng.uniform() < share { factor } else { 1.0 };
        let a = (weather + 0.07 * rng.normal()).exp();
        Pair::new(a, (weather + 0.07 * rng.normal()).exp() * slow).unwrap()
    }

    fn pooled(rng: &mut Rng, pairs: usize, share: f64, factor: f64) -> bool {
        let mut tail = TailExceedance::new(0.98, 0.05, 20).unwrap();
        (0..pairs).for_each(|_| tail.push(pair(rng, share, factor)));
        tail.evidence().rejects(0.01)
    }

    fn relative(rng: &mut Rng, pairs: usize, share: f64, factor: f64, shift: f64) -> bool {
        let mut tail = RelativeTail::new(0.95, 0.05, 20).unwrap();
        (0..pairs).for_each(|_| tail.push(pair(rng, share, factor).log_ratio() + shift));
        tail.evidence().rejects(0.01)
    }

    #[test]
    fn pooled_tail_finds_a_very_slow_twentieth() {
        let mut rng = Rng::new(15);
        let found = (0..40).filter(|_| pooled(&mut rng, 1_000, 0.05, 2.5)).count();
        let false_alarms = (0..200).filter(|_| pooled(&mut rng, 300, 0.0, 1.0)).count();
        assert!(found >= 38, "{found} of 40");
        assert!(false_alarms <= 2, "{false_alarms} of 200");
    }

    #[test]
    fn relative_tail_finds_a_slow_twentieth_and_ignores_a_shift() {
        let mut rng = Rng::new(16);
        let found = (0..10).filter(|_| relative(&mut rng, 1_000, 0.05, 1.5, 0.0)).count();
        let doubled = (0..40).filter(|_| relative(&mut rng, 400, 0.05, 2.0, 0.0)).count();
        let false_alarms = (0..300).filter(|_| relative(&mut rng, 300, 0.0, 1.0, 0.0)).count();
        let shifted = (0..300).filter(|_| relative(&mut rng, 300, 0.0, 1.0, 0.2)).count();
        assert!(found >= 9 && doubled >= 28, "{found} of 10, {doubled} of 40");
        assert!(false_alarms <= 3 && shifted <= 3, "{false_alarms} and {shifted} of 300");
    }

    #[test]
    fn the_warm_up_counts_nothing() {
        let mut tail = TailExceedance::new(0.5, 0.0, 20).unwrap();
        for _ in 0..19 {
            tail.push(Pair::new(1.0, 100.0).unwrap());
        }
        assert_eq!(tail.evidence().trials, 0);
        assert_eq!(tail.threshold(), None);
        tail.push(Pair::new(1.0, 100.0).unwrap());
        assert!(tail.threshold().is_some());
        assert!(TailExceedance::new(1.0, 0.0, 5).is_err());
    }

    #[test]
    fn concordant_failures_say_nothing() {
        let e = discordant([(true, true), (false, false), (false, true), (false, true), (true, false)]);
        assert_eq!((e.hits, e.trials), (2, 3));
    }
}
