//! Closure: do the parts sum to the whole?
//!
//! Phases that leave a gap hide where the time goes; memory parts that do not sum to what the host lost
//! hide a consumer. A closure outside its tolerance is reported, never scaled away.

use crate::StatsError;
use serde::{Deserialize, Serialize};

/// The result of one check.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Closure {
    /// Sum of the parts.
    pub parts: f64,
    /// The whole, measured on its own.
    pub whole: f64,
    /// `parts / whole`; 1 is perfect.
    pub ratio: f64,
    /// Allowed deviation of the ratio from 1, as a fraction.
    pub tolerance: f64,
    /// Whether the deviation is within the tolerance.
    pub closes: bool,
}

/// Checks that `parts` sum to `whole` within `tolerance` (a fraction of the whole).
pub fn check(parts: &[f64], whole: f64, tolerance: f64) -> Result<Closure, StatsError> {
    if let Some(&value) = parts.iter().find(|v| !v.is_finite()) {
        return Err(StatsError::Domain { what: "closure part", value, domain: "finite numbers" });
    }
    if !whole.is_finite() || whole.abs() <= 0.0 {
        return Err(StatsError::Domain { what: "closure whole", value: whole, domain: "finite, not 0" });
    }
    let sum: f64 = parts.iter().sum();
    let ratio = sum / whole;
    Ok(Closure { parts: sum, whole, ratio, tolerance, closes: (ratio - 1.0).abs() <= tolerance })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closes_within_its_tolerance_only() {
        assert!(check(&[3.0, 4.0, 2.95], 10.0, 0.01).unwrap().closes);
        assert!(!check(&[3.0, 4.0, 2.8], 10.0, 0.01).unwrap().closes);
        assert!(check(&[1.0], 0.0, 0.01).is_err() && check(&[f64::NAN], 1.0, 0.01).is_err());
    }
}
