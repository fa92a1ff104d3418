//! Pairs: the two arms' values of one block, and their log ratio.

use crate::StatsError;
use serde::{Deserialize, Serialize};

/// Baseline and candidate of one block, in the same unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// The baseline's value (arm A).
    pub baseline: f64,
    /// The candidate's value (arm B).
    pub candidate: f64,
}

impl Pair {
    /// A pair of non-negative, finite values.
    pub fn new(baseline: f64, candidate: f64) -> Result<Self, StatsError> {
        for value in [baseline, candidate] {
            if !value.is_finite() || value < 0.0 {
                return Err(StatsError::Domain { what: "pair", value, domain: "finite, not negative" });
            }
        }
        Ok(Self { baseline, candidate })
    }

    /// `ln(B/A)`: 0 when both are 0, and [`BEYOND`] with its sign when only one is: a rank is all that the
    /// tests need, and an infinity would not survive being written as JSON.
    pub fn log_ratio(&self) -> f64 {
        if self.baseline <= 0.0 && self.candidate <= 0.0 {
            0.0
        } else {
            (self.candidate / self.baseline).ln().clamp(-BEYOND, BEYOND)
        }
    }
}

/// Stands for the log ratio to zero: larger than any that is measured, and finite.
pub const BEYOND: f64 = 700.0;

/// The log ratios of two equally long series, block by block.
pub fn log_ratios(baseline: &[f64], candidate: &[f64]) -> Result<Vec<f64>, StatsError> {
    if baseline.len() != candidate.len() {
        return Err(StatsError::LengthMismatch {
            what: "log ratios",
            left: baseline.len(),
            right: candidate.len(),
        });
    }
    baseline.iter().zip(candidate).map(|(&a, &b)| Pair::new(a, b).map(|p| p.log_ratio())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_and_zeroes() {
        let d = log_ratios(&[2.0, 0.0, 0.0], &[4.0, 0.0, 3.0]).unwrap();
        assert!((d[0] - std::f64::consts::LN_2).abs() < 1e-15);
        assert!(d[1].abs() < 1e-300 && d[2] >= BEYOND);
        assert!(log_ratios(&[1.0], &[]).is_err());
        assert!(Pair::new(-1.0, 1.0).is_err() && Pair::new(1.0, f64::NAN).is_err());
    }
}
