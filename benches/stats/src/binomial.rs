//! The binomial law and exact (Clopper-Pearson) intervals for a rate.

use crate::special::beta_inc;
use crate::{Interval, StatsError, open_interval};

/// `P(X <= k)` for `X ~ Bin(n, p)`.
pub fn cdf(k: u64, n: u64, p: f64) -> f64 {
    if k >= n {
        return 1.0;
    }
    beta_inc((n - k) as f64, k as f64 + 1.0, 1.0 - p)
}

/// The exact two-sided interval for a rate after `k` successes in `n` trials (Clopper and Pearson).
pub fn exact_interval(k: u64, n: u64, level: f64) -> Result<Interval, StatsError> {
    open_interval("exact interval", level, 0.0, 1.0, "0 < level < 1")?;
    if n == 0 || k > n {
        return Err(StatsError::TooFew { what: "exact interval", need: k.max(1) as usize, got: n as usize });
    }
    let tail = (1.0 - level) / 2.0;
    // Both ends are roots of monotone functions of p.
    let low = if k == 0 { 0.0 } else { bisect(|p| 1.0 - cdf(k - 1, n, p) < tail) };
    let high = if k == n { 1.0 } else { bisect(|p| cdf(k, n, p) > tail) };
    Ok(Interval::closed(low, high))
}

/// The point in 0..1 where `below` turns from true to false.
fn bisect(below: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..80 {
        let mid = f64::midpoint(low, high);
        if below(mid) {
            low = mid;
        } else {
            high = mid;
        }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distribution_agrees_with_scipy() {
        // scipy.stats.binom.cdf
        for (k, n, p, want) in [
            (0, 20, 0.1, 0.121_576_654_590_569_25),
            (7, 20, 0.5, 0.131_587_982_177_734_38),
            (490, 500, 0.99, 0.031_102_106_648_488_143),
            (260, 500, 0.5, 0.826_167_910_343_492_6),
            (20, 20, 0.3, 1.0),
        ] {
            assert!((cdf(k, n, p) - want).abs() < 1e-11, "{k} {n} {p}");
        }
    }

    #[test]
    fn exact_interval_agrees_with_scipy() {
        // scipy.stats.binomtest(k, n).proportion_ci(0.95, "exact")
        for (k, n, low, high) in [
            (0, 20, 0.0, 0.168_433_470_983_085_48),
            (3, 300, 0.002_067_007_235_092_313_7, 0.028_944_511_255_692_713),
            (48, 50, 0.862_862_374_396_031_3, 0.995_118_566_573_863_8),
            (50, 50, 0.928_878_263_525_795_4, 1.0),
        ] {
            let got = exact_interval(k, n, 0.95).unwrap();
            assert!((got.low.unwrap() - low).abs() < 1e-10 && (got.high.unwrap() - high).abs() < 1e-10);
        }
        assert!(exact_interval(3, 2, 0.95).is_err() && exact_interval(0, 0, 0.95).is_err());
    }
}
