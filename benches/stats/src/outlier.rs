//! Outliers: counted and named, never dropped.
//!
//! The slow runs are what a user meets; leaving them out makes a benchmark pretty and false.

use crate::StatsError;
use crate::quantile::{quantile_sorted, sorted};
use serde::{Deserialize, Serialize};

/// Counts by Tukey's fences: 1.5 and 3 interquartile ranges beyond the quartiles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Outliers {
    /// Below the outer lower fence.
    pub low_severe: usize,
    /// Between the lower fences.
    pub low_mild: usize,
    /// Between the upper fences.
    pub high_mild: usize,
    /// Above the outer upper fence.
    pub high_severe: usize,
    /// All observations.
    pub n: usize,
    /// The inner fences themselves, in the series' unit.
    pub inner: (f64, f64),
    /// The outer fences.
    pub outer: (f64, f64),
}

/// Classifies a series.
pub fn classify(values: &[f64]) -> Result<Outliers, StatsError> {
    let x = sorted("outliers", values)?;
    let (Some(q1), Some(q3)) = (quantile_sorted(&x, 0.25), quantile_sorted(&x, 0.75)) else {
        return Err(StatsError::TooFew { what: "outliers", need: 1, got: 0 });
    };
    let range = q3 - q1;
    let inner = (q1 - 1.5 * range, q3 + 1.5 * range);
    let outer = (q1 - 3.0 * range, q3 + 3.0 * range);
    let mut out = Outliers { n: x.len(), inner, outer, ..Outliers::default() };
    for v in x {
        if v < outer.0 {
            out.low_severe += 1;
        } else if v < inner.0 {
            out.low_mild += 1;
        } else if v > outer.1 {
            out.high_severe += 1;
        } else if v > inner.1 {
            out.high_mild += 1;
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fences_are_tukeys() {
        // Quartiles by numpy.quantile of the first ten: 2.725 and 5.675, range 2.95.
        let base = [3.1, 1.4, 4.7, 1.5, 9.2, 2.6, 5.3, 5.8, 9.7, 3.2];
        let got = classify(&base).unwrap();
        assert!((got.inner.1 - 10.1).abs() < 1e-12 && (got.outer.1 - 14.525).abs() < 1e-12);
        assert_eq!((got.high_mild, got.high_severe, got.n), (0, 0, 10));
        let mut wild: Vec<f64> = (0..100).map(f64::from).collect();
        wild.extend([190.0, 1_000.0, -80.0, -1_000.0]);
        let got = classify(&wild).unwrap();
        assert_eq!((got.high_mild, got.high_severe, got.low_mild, got.low_severe), (1, 1, 1, 1));
        assert!(classify(&[]).is_err());
    }
}
