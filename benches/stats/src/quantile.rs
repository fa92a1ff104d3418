//! Quantiles (Hyndman and Fan type 7), their distribution-free intervals, and the empirical distribution.

use crate::{Interval, StatsError, binomial, open_interval};
use serde::{Deserialize, Serialize};

/// A sorted copy of the values; refuses NaN and infinities.
pub fn sorted(what: &'static str, values: &[f64]) -> Result<Vec<f64>, StatsError> {
    if let Some(&value) = values.iter().find(|v| !v.is_finite()) {
        return Err(StatsError::Domain { what, value, domain: "finite numbers" });
    }
    let mut out = values.to_vec();
    out.sort_by(f64::total_cmp);
    Ok(out)
}

/// The type 7 quantile of already sorted, finite values; `None` when there are none.
pub fn quantile_sorted(sorted: &[f64], p: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let h = p.clamp(0.0, 1.0) * last as f64;
    let below = h.floor() as usize;
    let low = sorted[below];
    let high = sorted[(below + 1).min(last)];
    Some(low + (h - below as f64) * (high - low))
}

/// The type 7 quantile, as `numpy.quantile` and R compute it by default.
pub fn quantile(values: &[f64], p: f64) -> Result<f64, StatsError> {
    let sorted = sorted("quantile", values)?;
    quantile_sorted(&sorted, p).ok_or(StatsError::TooFew { what: "quantile", need: 1, got: 0 })
}

/// The median.
pub fn median(values: &[f64]) -> Result<f64, StatsError> {
    quantile(values, 0.5)
}

/// A distribution-free interval for the `p` quantile: two order statistics with coverage >= `level`.
///
/// An end is absent when the sample is too small to bound that side: the p99 of 100 values has no upper
/// end at 95 %, and that must be shown rather than the maximum in its place.
pub fn quantile_interval(values: &[f64], p: f64, level: f64) -> Result<Interval, StatsError> {
    open_interval("quantile interval", p, 0.0, 1.0, "0 < p < 1")?;
    open_interval("quantile interval", level, 0.0, 1.0, "0 < level < 1")?;
    let sorted = sorted("quantile interval", values)?;
    let n = sorted.len() as u64;
    let tail = (1.0 - level) / 2.0;
    // With S = number of values below the quantile ~ Bin(n, p): x_(l) is a lower bound while
    // P(S < l) <= tail, x_(u) an upper bound while P(S >= u) <= tail.
    let low = (1..=n).take_while(|&l| binomial::cdf(l - 1, n, p) <= tail).last();
    let high = (1..=n).rev().take_while(|&u| 1.0 - binomial::cdf(u - 1, n, p) <= tail).last();
    let at = |rank: u64| sorted[rank as usize - 1];
    Ok(Interval { low: low.map(at), high: high.map(at) })
}

/// The Hodges-Lehmann estimate: the median of all Walsh averages, efficient and robust.
///
/// Beyond 2,000 values the averages are taken over an even thinning of the sorted values, so that the
/// cost stays bounded.
pub fn hodges_lehmann(values: &[f64]) -> Result<f64, StatsError> {
    let sorted = sorted("Hodges-Lehmann", values)?;
    if sorted.is_empty() {
        return Err(StatsError::TooFew { what: "Hodges-Lehmann", need: 1, got: 0 });
    }
    let x = thin(&sorted, 2_000);
    let mut averages = Vec::with_capacity(x.len() * (x.len() + 1) / 2);
    for (i, a) in x.iter().enumerate() {
        averages.extend(x[i..].iter().map(|b| f64::midpoint(*a, *b)));
    }
    Ok(median_mut(&mut averages))
}

/// The median by selection, in linear time; the values are reordered. NaN when empty.
pub(crate) fn median_mut(values: &mut [f64]) -> f64 {
    let n = values.len();
    if n == 0 {
        return f64::NAN;
    }
    let (below, &mut upper, _) = values.select_nth_unstable_by(n / 2, f64::total_cmp);
    if n % 2 == 1 {
        return upper;
    }
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    f64::midpoint(lower, upper)
}

/// At most `limit` values, evenly spaced in rank, with both ends kept.
fn thin(sorted: &[f64], limit: usize) -> Vec<f64> {
    if sorted.len() <= limit || limit < 2 {
        return sorted.to_vec();
    }
    (0..limit).map(|i| sorted[i * (sorted.len() - 1) / (limit - 1)]).collect()
}

/// One step of an empirical distribution function: the share of values `<= x`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EcdfPoint {
    /// The value.
    pub x: f64,
    /// Share of observations not above it, 0..=1.
    pub share: f64,
}

/// The empirical distribution function, thinned to at most `max_points` steps (both ends kept).
pub fn ecdf(values: &[f64], max_points: usize) -> Result<Vec<EcdfPoint>, StatsError> {
    let sorted = sorted("ecdf", values)?;
    let n = sorted.len();
    let keep = max_points.max(2);
    let step = |rank: usize| EcdfPoint { x: sorted[rank - 1], share: rank as f64 / n as f64 };
    if n <= keep {
        return Ok((1..=n).map(step).collect());
    }
    Ok((0..keep).map(|i| step(1 + i * (n - 1) / (keep - 1))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const X: [f64; 10] = [3.1, 1.4, 4.7, 1.5, 9.2, 2.6, 5.3, 5.8, 9.7, 3.2];

    #[test]
    fn type_seven_agrees_with_numpy() {
        // numpy.quantile(X, p), NumPy's default method ("linear").
        for (p, want) in
            [(0.0, 1.4), (0.05, 1.445), (0.25, 2.725), (0.5, 3.95), (0.9, 9.25), (0.99, 9.655), (1.0, 9.7)]
        {
            assert!((quantile(&X, p).unwrap() - want).abs() < 1e-12, "p = {p}");
        }
    }

    #[test]
    fn interval_ranks_agree_with_scipy() {
        // Ranks: l = binom.ppf(0.025, n, p), u = binom.ppf(0.975, n, p) + 1, from scipy.stats.
        let values = |n: u32| (1..=n).map(f64::from).collect::<Vec<_>>();
        let ci = |n, p| quantile_interval(&values(n), p, 0.95).unwrap();
        assert_eq!(ci(100, 0.5), Interval::closed(40.0, 61.0));
        assert_eq!(ci(20, 0.5), Interval::closed(6.0, 15.0));
        assert_eq!(ci(500, 0.99), Interval::closed(490.0, 500.0));
        assert_eq!(ci(100, 0.99), Interval { low: Some(97.0), high: None });
        assert_eq!(ci(3, 0.5), Interval::unbounded());
    }

    #[test]
    fn hodges_lehmann_agrees_with_numpy() {
        // numpy.median of all (x_i + x_j)/2, i <= j.
        assert!((hodges_lehmann(&X).unwrap() - 4.25).abs() < 1e-12);
        let many: Vec<f64> = (0..5_000).map(f64::from).collect();
        assert!((hodges_lehmann(&many).unwrap() - 2_499.5).abs() < 2.0);
    }

    #[test]
    fn nothing_and_nan_are_refused() {
        assert!(matches!(median(&[]), Err(StatsError::TooFew { .. })));
        assert!(matches!(median(&[1.0, f64::NAN]), Err(StatsError::Domain { .. })));
        assert!(quantile_interval(&X, 1.0, 0.95).is_err());
    }

    #[test]
    fn ecdf_keeps_its_ends() {
        let values: Vec<f64> = (0..1_000).map(f64::from).collect();
        let points = ecdf(&values, 50).unwrap();
        assert_eq!(points.len(), 50);
        assert_eq!(points[49], EcdfPoint { x: 999.0, share: 1.0 });
        assert_eq!(points[0], EcdfPoint { x: 0.0, share: 0.001 });
        assert!(ecdf(&[], 10).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn quantiles_are_monotone_and_inside(
            mut values in prop::collection::vec(-1e6..1e6_f64, 1..60), p in 0.0..1.0_f64, q in 0.0..1.0_f64,
        ) {
            let (low, high) = (quantile(&values, p.min(q)).unwrap(), quantile(&values, p.max(q)).unwrap());
            prop_assert!(low <= high);
            let want = median(&values).unwrap();
            prop_assert!((median_mut(&mut values) - want).abs() < 1e-9);
            values.sort_by(f64::total_cmp);
            prop_assert!(values[0] <= low && high <= values[values.len() - 1]);
        }
    }
}
