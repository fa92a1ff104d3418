//! A confidence sequence for the median: an interval that holds at every number of pairs at once.
//!
//! It inverts the two one-sided e-processes at `α/2` each. With `k*` the smallest count that rejects, a
//! value `m` is excluded from below when at least `k*` observations exceed it, so the interval is the pair
//! of order statistics `[d_(n-k*+1), d_(k*)]`. It covers under continuous looking, unlike a bootstrap.

use crate::evalue::critical_count;
use crate::{Interval, StatsError, open_interval};

/// The interval for the median after these observations, at confidence `1 - alpha`; open where the
/// observations are still too few.
pub fn median_interval(values: &[f64], alpha: f64) -> Result<Interval, StatsError> {
    open_interval("confidence sequence", alpha, 0.0, 1.0, "0 < alpha < 1")?;
    // Infinite log ratios (one arm read zero) are legal here: they have a rank.
    if let Some(&value) = values.iter().find(|v| v.is_nan()) {
        return Err(StatsError::Domain { what: "confidence sequence", value, domain: "numbers" });
    }
    let mut x = values.to_vec();
    x.sort_by(f64::total_cmp);
    let n = x.len();
    Ok(match critical_count(n as u64, (2.0 / alpha).ln()) {
        Some(k) if k >= 1 => Interval::closed(x[n - k as usize], x[k as usize - 1]),
        _ => Interval::unbounded(),
    })
}

/// The sequence of such intervals for every prefix, each intersected with those before it: how a report
/// draws the interval closing. Cost is quadratic; meant for at most a few thousand pairs.
pub fn running(values: &[f64], alpha: f64) -> Result<Vec<Interval>, StatsError> {
    let mut out: Vec<Interval> = Vec::with_capacity(values.len());
    let mut low: Option<f64> = None;
    let mut high: Option<f64> = None;
    for n in 1..=values.len() {
        let now = median_interval(&values[..n], alpha)?;
        low = tightest(low, now.low, f64::max);
        high = tightest(high, now.high, f64::min);
        out.push(Interval { low, high });
    }
    Ok(out)
}

fn tightest(a: Option<f64>, b: Option<f64>, pick: impl Fn(f64, f64) -> f64) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(pick(a, b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evalue::ln_e;
    use crate::rng::Rng;

    #[test]
    fn ends_are_the_rejected_order_statistics() {
        let x: Vec<f64> = (1..=40).map(f64::from).collect();
        let got = median_interval(&x, 0.05).unwrap();
        let k = critical_count(40, 40_f64.ln()).unwrap();
        assert_eq!(got, Interval::closed(f64::from(41 - k as u32), f64::from(k as u32)));
        // Below the lower end at least k* values exceed: rejected. At the end itself: not.
        assert!(ln_e(k, 40) >= 40_f64.ln() && ln_e(k - 1, 40) < 40_f64.ln());
        assert!(got.contains(20.5));
    }

    #[test]
    fn too_few_values_bound_nothing() {
        assert_eq!(median_interval(&[1.0, 2.0], 0.05).unwrap(), Interval::unbounded());
        assert!(median_interval(&[1.0], 1.5).is_err() && median_interval(&[f64::NAN], 0.05).is_err());
    }

    #[test]
    fn covers_at_all_times() {
        // 300 series of 200 normal values: the running interval may miss the true median in <= 5 %.
        let mut rng = Rng::new(77);
        let misses = (0..300)
            .filter(|_| {
                let x: Vec<f64> = (0..200).map(|_| rng.normal()).collect();
                running(&x, 0.05).unwrap().iter().any(|ci| !ci.contains(0.0))
            })
            .count();
        assert!(misses <= 15, "{misses} of 300 missed");
    }

    #[test]
    fn running_intervals_only_shrink() {
        let mut rng = Rng::new(78);
        let x: Vec<f64> = (0..100).map(|_| rng.normal()).collect();
        let seq = running(&x, 0.05).unwrap();
        for pair in seq.windows(2) {
            assert!(pair[1].low >= pair[0].low && (pair[0].high.is_none() || pair[1].high <= pair[0].high));
        }
    }
}
