//! Planning: how many pairs a change needs, and what change so many pairs can show.
//!
//! A change `Δ` moves the share of pairs above the margin to `p = Φ((ln(1+Δ) - ln(1+δ))/σ)`; a sign test
//! then needs about `(z_{1-α} + z_{1-β})² / (4 (p - 1/2)²)` pairs. The sequential gate stops earlier when
//! it is lucky and needs somewhat more in the worst case; this is a forecast, printed before the run.

use crate::special::{normal_cdf, normal_quantile};

/// Pairs needed to show a slowdown of `change` above the margin `delta_lo` (both fractions) when the log
/// ratios have the spread `sigma`; `None` when it cannot be shown at all (`change <= delta_lo`).
pub fn pairs_needed(sigma: f64, change: f64, delta_lo: f64, alpha: f64, beta: f64) -> Option<u64> {
    let shift = change.ln_1p() - delta_lo.ln_1p();
    if shift.is_nan() || shift <= 0.0 || !sigma.is_finite() || sigma < 0.0 {
        return None;
    }
    let p = if sigma > 0.0 { normal_cdf(shift / sigma) } else { 1.0 };
    let z = normal_quantile(1.0 - alpha) + normal_quantile(1.0 - beta);
    let n = z * z / (4.0 * (p - 0.5).powi(2));
    n.is_finite().then(|| n.ceil() as u64)
}

/// The smallest slowdown (a fraction) that `n` pairs show with probability `1 - beta`; `None` when `n` is
/// too small for any.
pub fn visible_change(sigma: f64, n: u64, delta_lo: f64, alpha: f64, beta: f64) -> Option<f64> {
    if n == 0 || !sigma.is_finite() {
        return None;
    }
    let z = normal_quantile(1.0 - alpha) + normal_quantile(1.0 - beta);
    let p = 0.5 + z / (2.0 * (n as f64).sqrt());
    (p < 1.0).then(|| (delta_lo.ln_1p() + sigma * normal_quantile(p)).exp_m1())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_the_design() {
        // The formula evaluated with scipy.stats.norm: 110.594… and 28.906….
        assert_eq!(pairs_needed(0.17, 0.10, 0.02, 0.01, 0.10), Some(111));
        assert_eq!(pairs_needed(0.076, 0.10, 0.01, 0.01, 0.05), Some(29));
        assert_eq!(pairs_needed(0.17, 0.02, 0.02, 0.01, 0.10), None);
        assert_eq!(pairs_needed(f64::NAN, 0.1, 0.02, 0.01, 0.10), None);
    }

    #[test]
    fn the_two_questions_answer_each_other() {
        let n = pairs_needed(0.17, 0.10, 0.02, 0.01, 0.05).unwrap();
        let change = visible_change(0.17, n, 0.02, 0.01, 0.05).unwrap();
        assert!((change - 0.10).abs() < 0.002, "{change}");
        assert_eq!(visible_change(0.17, 3, 0.02, 0.01, 0.05), None);
        assert_eq!(visible_change(0.17, 0, 0.02, 0.01, 0.05), None);
    }
}
