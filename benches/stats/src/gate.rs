//! The sequential gate: PASS, WARN, FAIL or INCONCLUSIVE from interleaved pairs.
//!
//! For each pair `d = ln(B/A)`. One e-process counts `d > ln(1+δ_lo)` and tests "the median slowdown is at
//! most `δ_lo`"; the mirrored one counts `d < ln(1+δ_hi)` and tests "the median slowdown is at least `δ_hi`".
//! The first to reject decides; both rejecting is WARN: a real change, smaller than what fails a gate.
//! Neither at `n_max` is INCONCLUSIVE: at this noise nobody can tell.

use crate::evalue::EProcess;
use crate::pairs::Pair;
use crate::rng::Rng;
use crate::{Interval, StatsError, confseq, describe, open_interval, plan, quantile};
use serde::{Deserialize, Serialize};

/// What a gate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The change is shown to be smaller than the upper margin.
    Pass,
    /// The change is shown to lie between the margins.
    Warn,
    /// The change is shown to be larger than the lower margin.
    Fail,
    /// The pairs do not decide.
    Inconclusive,
}

impl Verdict {
    /// The word used in reports.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
            Self::Inconclusive => "INCONCLUSIVE",
        }
    }
}

/// Which way a metric gets worse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Times, bytes, counts.
    #[default]
    SmallerIsBetter,
    /// Rates.
    LargerIsBetter,
}

/// Margins, error rates and bounds of one gate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GateConfig {
    /// Slowdown up to which FAIL must not be said, as a fraction (0.02 = 2 %).
    pub delta_lo: f64,
    /// Slowdown from which PASS must not be said, as a fraction.
    pub delta_hi: f64,
    /// Bound on the chance of a false FAIL.
    pub alpha: f64,
    /// Bound on the chance of a false PASS.
    pub beta: f64,
    /// No decision before so many pairs.
    pub n_min: u64,
    /// At most so many pairs in this run; earlier runs' pairs do not count against it.
    pub n_max: u64,
    /// Differences below this, in the metric's unit, never count as worse.
    pub absolute_floor: f64,
    /// Which way the metric gets worse.
    pub direction: Direction,
}

impl GateConfig {
    /// For CPU time and counters: 1 % / 5 %.
    pub const fn cpu() -> Self {
        Self::with_margins(0.01, 0.05)
    }

    /// For wall time: 2 % / 10 %.
    pub const fn wall() -> Self {
        Self::with_margins(0.02, 0.10)
    }

    /// For memory: 1 % / 5 %.
    pub const fn memory() -> Self {
        Self::with_margins(0.01, 0.05)
    }

    /// The common error rates (α = 1 %, β = 5 %), 10 to 400 pairs, with these margins.
    pub const fn with_margins(delta_lo: f64, delta_hi: f64) -> Self {
        Self {
            delta_lo,
            delta_hi,
            alpha: 0.01,
            beta: 0.05,
            n_min: 10,
            n_max: 400,
            absolute_floor: 0.0,
            direction: Direction::SmallerIsBetter,
        }
    }

    fn check(&self) -> Result<(), StatsError> {
        open_interval("gate alpha", self.alpha, 0.0, 1.0, "0 < alpha < 1")?;
        open_interval("gate beta", self.beta, 0.0, 1.0, "0 < beta < 1")?;
        open_interval("gate delta_lo", self.delta_lo, -1.0, f64::INFINITY, "more than -100 %")?;
        open_interval("gate delta_hi", self.delta_hi, self.delta_lo, f64::INFINITY, "more than delta_lo")?;
        open_interval("gate absolute floor", self.absolute_floor, -1e-300, f64::INFINITY, "not negative")?;
        if self.n_min > self.n_max {
            let value = self.n_min as f64;
            return Err(StatsError::Domain { what: "gate n_min", value, domain: "at most n_max" });
        }
        Ok(())
    }
}

/// What a later run needs to go on: the counts and the pairs themselves.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GateCounts {
    /// Evidence that the candidate is slower than `delta_lo`.
    pub slower: EProcess,
    /// Evidence that the candidate is not slower than `delta_hi`.
    pub bounded: EProcess,
    /// The log ratios so far, in the sense "positive is worse".
    pub log_ratios: Vec<f64>,
    /// The number of pairs at which the gate first decided.
    pub decided_at: Option<u64>,
}

/// The state machine: push pairs until [`Gate::finished`], then read [`Gate::report`].
#[derive(Debug, Clone)]
pub struct Gate {
    config: GateConfig,
    counts: GateCounts,
    coin: Rng,
    here: u64,
}

impl Gate {
    /// A fresh gate; `seed` feeds only the coin that splits ties.
    pub fn new(config: GateConfig, seed: u64) -> Result<Self, StatsError> {
        Self::resume(config, seed, GateCounts::default())
    }

    /// Goes on from an earlier run's counts. The caller answers for both runs measuring the same thing
    /// (same comparability key, same margins): the counts are taken as they are.
    pub fn resume(config: GateConfig, seed: u64, counts: GateCounts) -> Result<Self, StatsError> {
        config.check()?;
        let n = counts.log_ratios.len() as u64;
        if counts.slower.trials != n || counts.bounded.trials != n {
            return Err(StatsError::LengthMismatch {
                what: "gate counts of the earlier run",
                left: counts.log_ratios.len(),
                right: counts.slower.trials as usize,
            });
        }
        // A fresh stream for each continuation, or the same coins would be tossed again.
        let coin = Rng::for_purpose(seed.wrapping_add(n), "gate-ties");
        Ok(Self { config, counts, coin, here: 0 })
    }

    /// Takes one pair.
    pub fn push(&mut self, pair: Pair) {
        let (d, better) = match self.config.direction {
            Direction::SmallerIsBetter => (pair.log_ratio(), pair.baseline),
            Direction::LargerIsBetter => {
                let turned = Pair { baseline: pair.candidate, candidate: pair.baseline };
                (turned.log_ratio(), turned.baseline)
            }
        };
        // A difference below the absolute floor is nothing to act upon, however large as a ratio.
        let floor = if better > 0.0 { (self.config.absolute_floor / better).ln_1p() } else { 0.0 };
        let low = self.config.delta_lo.ln_1p().max(floor);
        let high = self.config.delta_hi.ln_1p().max(floor);
        let over = self.beats(d, low);
        let under = self.beats(high, d);
        self.counts.slower.push(over);
        self.counts.bounded.push(under);
        self.counts.log_ratios.push(d);
        self.here += 1;
        if self.counts.decided_at.is_none() && self.verdict() != Verdict::Inconclusive {
            self.counts.decided_at = Some(self.counts.log_ratios.len() as u64);
        }
    }

    /// `x > y`, a tie split by the coin.
    fn beats(&mut self, x: f64, y: f64) -> bool {
        match x.partial_cmp(&y) {
            Some(std::cmp::Ordering::Greater) => true,
            Some(std::cmp::Ordering::Equal) => self.coin.coin(),
            _ => false,
        }
    }

    /// The verdict as of now.
    pub fn verdict(&self) -> Verdict {
        if (self.counts.log_ratios.len() as u64) < self.config.n_min {
            return Verdict::Inconclusive;
        }
        let slower = self.counts.slower.rejects(self.config.alpha);
        let bounded = self.counts.bounded.rejects(self.config.beta);
        match (slower, bounded) {
            (true, true) => Verdict::Warn,
            (true, false) => Verdict::Fail,
            (false, true) => Verdict::Pass,
            (false, false) => Verdict::Inconclusive,
        }
    }

    /// Whether the gate can stop: it has decided, or this run's pairs are used up.
    pub fn finished(&self) -> bool {
        self.verdict() != Verdict::Inconclusive || self.here >= self.config.n_max
    }

    /// The configuration.
    pub const fn config(&self) -> &GateConfig {
        &self.config
    }

    /// The counts, to be kept for a later run.
    pub const fn counts(&self) -> &GateCounts {
        &self.counts
    }

    /// Everything a report shows about this gate.
    pub fn report(&self) -> Result<GateReport, StatsError> {
        let d = &self.counts.log_ratios;
        let finite: Vec<f64> = d.iter().copied().filter(|x| x.is_finite()).collect();
        let n = d.len() as u64;
        let sigma = describe::robust_sigma(&finite);
        Ok(GateReport {
            verdict: self.verdict(),
            n,
            n_earlier: n - self.here,
            decided_at: self.counts.decided_at,
            ratio: quantile::median(&finite).ok().map(f64::exp),
            hodges_lehmann: quantile::hodges_lehmann(&finite).ok().map(f64::exp),
            interval: confseq::median_interval(d, self.config.beta)?.map(f64::exp),
            slower: self.counts.slower,
            bounded: self.counts.bounded,
            sigma,
            autocorrelation: describe::autocorrelation(&finite, 1),
            visible_change: plan::visible_change(sigma, n, self.config.delta_lo, self.config.alpha, 0.05),
            config: self.config,
        })
    }
}

/// One gate's result. Ratios are "worse is above 1" whatever the metric's direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateReport {
    /// The verdict.
    pub verdict: Verdict,
    /// Pairs in all.
    pub n: u64,
    /// Of these, pairs taken over from earlier runs.
    pub n_earlier: u64,
    /// The number of pairs at which the gate first decided; more may follow for other metrics' sake.
    pub decided_at: Option<u64>,
    /// Median ratio; absent without pairs.
    pub ratio: Option<f64>,
    /// Hodges-Lehmann ratio, to be shown beside the median.
    pub hodges_lehmann: Option<f64>,
    /// Confidence sequence for the median ratio at level 1 - beta.
    pub interval: Interval,
    /// Evidence for "slower than `delta_lo`".
    pub slower: EProcess,
    /// Evidence for "not slower than `delta_hi`".
    pub bounded: EProcess,
    /// Robust spread of the log ratios.
    pub sigma: f64,
    /// Correlation of neighbouring log ratios: near 0 when the pairing has whitened the noise.
    pub autocorrelation: f64,
    /// Smallest slowdown (fraction) that so many pairs would show at this noise; absent when none would.
    pub visible_change: Option<f64>,
    /// The gate's settings.
    pub config: GateConfig,
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
