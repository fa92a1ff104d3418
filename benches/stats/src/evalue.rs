//! The e-process of a one-sided sign test.
//!
//! Let `k` of `n` fair-or-worse coins have come up. Under the null hypothesis each shows with
//! probability at most one half. With a uniform prior on the alternative `θ in (1/2, 1)`
//!
//! `E(k, n) = 2^(n+1) · ∫ θ^k (1-θ)^(n-k) dθ = 2^(n+1) · B(k+1, n-k+1) · [1 - I_{1/2}(k+1, n-k+1)]`
//!
//! is a test supermartingale: by Ville's inequality it ever reaches `1/α` with probability at most `α`,
//! so one may look after every coin, stop at any time, and go on counting in a later run.

use crate::special::{ln_beta, ln_beta_inc};
use serde::{Deserialize, Serialize};

/// `ln E(k, n)`; `k` is cut to `n`.
pub fn ln_e(k: u64, n: u64) -> f64 {
    let (k, rest) = (k.min(n) as f64, n.saturating_sub(k) as f64);
    // 1 - I_½(k+1, rest+1) = I_½(rest+1, k+1), which keeps its precision when it is tiny.
    (n as f64 + 1.0) * std::f64::consts::LN_2
        + ln_beta(k + 1.0, rest + 1.0)
        + ln_beta_inc(rest + 1.0, k + 1.0, 0.5)
}

/// The smallest `k` with `ln E(k, n) >= ln_threshold`, or `None` when even `k = n` falls short.
pub fn critical_count(n: u64, ln_threshold: f64) -> Option<u64> {
    if ln_e(n, n) < ln_threshold {
        return None;
    }
    // E grows with k: more coins shown is more evidence.
    let (mut low, mut high) = (0, n);
    while low < high {
        let mid = low + (high - low) / 2;
        if ln_e(mid, n) >= ln_threshold {
            high = mid;
        } else {
            low = mid + 1;
        }
    }
    Some(low)
}

/// Running counts of a one-sided sign test and the strongest evidence seen so far.
///
/// It serialises: a continued run takes up the counts, and the bound on false alarms still holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct EProcess {
    /// Coins that came up against the null hypothesis.
    pub hits: u64,
    /// All coins.
    pub trials: u64,
    /// Largest `ln E` seen; what Ville's inequality speaks about.
    pub peak_ln_e: f64,
}

impl EProcess {
    /// No evidence yet (`E = 1`).
    pub const fn new() -> Self {
        Self { hits: 0, trials: 0, peak_ln_e: 0.0 }
    }

    /// Counts one coin.
    pub fn push(&mut self, hit: bool) {
        self.trials += 1;
        self.hits += u64::from(hit);
        self.peak_ln_e = self.peak_ln_e.max(self.ln_e());
    }

    /// `ln E` now.
    pub fn ln_e(&self) -> f64 {
        ln_e(self.hits, self.trials)
    }

    /// `E` now, infinite where a double cannot hold it.
    pub fn e(&self) -> f64 {
        self.ln_e().exp()
    }

    /// Whether the null hypothesis was rejected at level `alpha` at any time so far.
    pub fn rejects(&self, alpha: f64) -> bool {
        self.peak_ln_e >= -alpha.ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use proptest::prelude::*;

    #[test]
    fn agrees_with_scipy() {
        // (n+1)·ln 2 + scipy.special.betaln(k+1, n-k+1) + ln(scipy.special.betainc(n-k+1, k+1, 0.5)),
        // checked against scipy.integrate.quad of the defining integral.
        for (k, n, want) in [
            (0, 0, 0.0),
            (1, 1, 0.405_465_108_108_164_4),
            (9, 9, 4.627_909_672_957_58),
            (8, 10, 1.386_799_284_129_860_6),
            (20, 30, 0.799_349_348_980_984_3),
            (50, 100, -2.084_244_112_864_154),
            (70, 100, 6.750_621_413_021_213),
            (30, 100, -3.744_680_645_378_613_4),
            (230, 400, 2.425_658_587_943_023_5),
            (0, 20, -3.044_522_437_723_422_6),
        ] {
            let got = ln_e(k, n);
            assert!((got - want).abs() < 1e-9, "E({k}, {n}): got {got}, want {want}");
        }
    }

    #[test]
    fn nine_of_nine_is_enough_at_one_percent_and_eight_of_eight_is_not() {
        let threshold = 100_f64.ln();
        assert_eq!(critical_count(9, threshold), Some(9));
        assert_eq!(critical_count(8, threshold), None);
        let k = critical_count(400, threshold).unwrap();
        assert!(ln_e(k, 400) >= threshold && ln_e(k - 1, 400) < threshold);
    }

    #[test]
    fn very_long_series_neither_overflow_nor_stall() {
        let strong = ln_e(1_000_000, 1_000_000);
        assert!(strong > 6e5 && strong.is_finite());
        assert!(ln_e(500_000, 1_000_000) < 0.0);
    }

    #[test]
    fn fair_coins_reject_seldom_whenever_one_looks() {
        // 2,000 walks of 500 coins, looked at after each: at most 1 % may ever reach 100.
        let mut rng = Rng::new(41);
        let alarms = (0..2_000)
            .filter(|_| {
                let mut e = EProcess::new();
                (0..500).any(|_| {
                    e.push(rng.coin());
                    e.rejects(0.01)
                })
            })
            .count();
        assert!(alarms <= 20, "{alarms} of 2000");
        assert!(alarms > 0, "a bound never approached would mean a useless test");
    }

    proptest! {
        #[test]
        fn it_is_a_fair_game_under_the_null(n in 0_u64..400, share in 0.0..1.0_f64) {
            // The mean over the next fair coin equals the value now or is below it (supermartingale);
            // with the mixture confined to θ > 1/2 the likelihood ratio makes it exactly equal.
            let k = (share * n as f64) as u64;
            let now = ln_e(k, n).exp();
            let next = 0.5 * (ln_e(k, n + 1).exp() + ln_e(k + 1, n + 1).exp());
            prop_assert!((next - now).abs() <= 1e-7 * now, "{now} then {next}");
        }

        #[test]
        fn more_hits_are_more_evidence(n in 1_u64..2_000, share in 0.0..1.0_f64) {
            let k = (share * (n - 1) as f64) as u64;
            prop_assert!(ln_e(k, n) < ln_e(k + 1, n));
        }
    }
}
