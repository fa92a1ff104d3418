//! Descriptions of one series: location, spread, tail, and how far neighbours resemble each other.

use crate::quantile::{median_mut, quantile_interval, quantile_sorted, sorted};
use crate::{Interval, StatsError};
use serde::{Deserialize, Serialize};

/// The usual numbers of one series; units are the series' own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Number of observations.
    pub n: usize,
    /// Smallest.
    pub min: f64,
    /// Median with its 95 % order-statistic interval.
    pub p50: f64,
    /// 95 % interval of the median.
    pub p50_interval: Interval,
    /// 90 % quantile.
    pub p90: f64,
    /// 99 % quantile; read it together with [`Self::p99_interval`].
    pub p99: f64,
    /// 95 % interval of the p99; open at the top below about 370 observations.
    pub p99_interval: Interval,
    /// Largest.
    pub max: f64,
    /// Arithmetic mean: shown, never judged by.
    pub mean: f64,
    /// Standard deviation ÷ mean, or 0 where the mean is 0.
    pub cv: f64,
    /// Correlation of neighbours; near 0 when runs are independent.
    pub autocorrelation: f64,
}

/// Summarises a series.
pub fn summary(values: &[f64]) -> Result<Summary, StatsError> {
    let x = sorted("summary", values)?;
    let n = x.len();
    let (Some(&min), Some(&max)) = (x.first(), x.last()) else {
        return Err(StatsError::TooFew { what: "summary", need: 1, got: 0 });
    };
    let q = |p| quantile_sorted(&x, p).unwrap_or(f64::NAN);
    let mean = x.iter().sum::<f64>() / n as f64;
    let sd = standard_deviation(&x);
    Ok(Summary {
        n,
        min,
        p50: q(0.5),
        p50_interval: quantile_interval(&x, 0.5, 0.95)?,
        p90: q(0.9),
        p99: q(0.99),
        p99_interval: quantile_interval(&x, 0.99, 0.95)?,
        max,
        mean,
        cv: if mean.abs() > 0.0 { sd / mean.abs() } else { 0.0 },
        autocorrelation: autocorrelation(values, 1),
    })
}

/// Sample standard deviation (n - 1); 0 below two values.
pub fn standard_deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt()
}

/// Median absolute deviation from the median, unscaled; 0 when empty.
pub fn median_absolute_deviation(values: &[f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let mut work = values.to_vec();
    let centre = median_mut(&mut work);
    for v in &mut work {
        *v = (*v - centre).abs();
    }
    median_mut(&mut work)
}

/// Robust standard deviation: 1.4826 · MAD, which equals sigma for a normal law.
pub fn robust_sigma(values: &[f64]) -> f64 {
    1.482_602_218_505_602 * median_absolute_deviation(values)
}

/// Autocorrelation at `lag`; 0 for a constant or too short series.
pub fn autocorrelation(values: &[f64], lag: usize) -> f64 {
    if values.len() <= lag + 1 {
        return 0.0;
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let total: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    if total <= 0.0 {
        return 0.0;
    }
    values.iter().zip(&values[lag..]).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>() / total
}

/// Geometric mean of positive values.
pub fn geometric_mean(values: &[f64]) -> Result<f64, StatsError> {
    if values.is_empty() {
        return Err(StatsError::TooFew { what: "geometric mean", need: 1, got: 0 });
    }
    if let Some(&value) = values.iter().find(|v| **v <= 0.0 || !v.is_finite()) {
        return Err(StatsError::Domain { what: "geometric mean", value, domain: "positive numbers" });
    }
    Ok((values.iter().map(|v| v.ln()).sum::<f64>() / values.len() as f64).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: [f64; 10] = [3.1, 1.4, 4.7, 1.5, 9.2, 2.6, 5.3, 5.8, 9.7, 3.2];

    #[test]
    fn spread_agrees_with_scipy() {
        // scipy.stats.median_abs_deviation(X) = 1.6 ; numpy acf at lag 1 of D = -0.2996003996003997
        assert!((median_absolute_deviation(&X) - 1.6).abs() < 1e-12);
        let d = [0.05, 0.02, -0.01, 0.07, 0.03, 0.04, -0.02, 0.06, 0.08, 0.01];
        assert!((autocorrelation(&d, 1) + 0.299_600_399_600_399_7).abs() < 1e-12);
        assert!((geometric_mean(&[1.0, 4.0, 16.0]).unwrap() - 4.0).abs() < 1e-12);
    }

    #[test]
    fn summary_of_a_constant_series() {
        let s = summary(&[2.0; 5]).unwrap();
        assert_eq!((s.n, s.p50, s.p99, s.cv), (5, 2.0, 2.0, 0.0));
        assert!(s.autocorrelation.abs() < 1e-12);
        assert!(summary(&[]).is_err());
    }
}
