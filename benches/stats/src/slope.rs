//! Slopes: does something grow with time, with cycles, or with the number of live containers?
//!
//! Theil and Sen's estimate is the median of all pairwise slopes: a tenth of wild points does not move it.
//! Its interval comes from a moving-block bootstrap of the residuals, because neighbouring batches
//! resemble each other; Sen's own interval (by Kendall's statistic) is given beside it.

use crate::bootstrap::{block_indices, interval_of};
use crate::quantile::{median_mut, sorted};
use crate::rng::Rng;
use crate::special::normal_quantile;
use crate::{Interval, StatsError, open_interval};
use serde::{Deserialize, Serialize};

/// A fitted line with the intervals of its slope. The unit of the slope is y per x.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Slope {
    /// Median of the pairwise slopes.
    pub slope: f64,
    /// `median(y) - slope · median(x)`.
    pub intercept: f64,
    /// Interval of the slope by moving-block bootstrap of the residuals.
    pub interval: Interval,
    /// Sen's interval of the slope, which assumes independent residuals.
    pub sen_interval: Interval,
    /// Points used.
    pub n: usize,
}

impl Slope {
    /// Whether growth is shown: the whole interval lies above `tolerance`.
    pub fn grows(&self, tolerance: f64) -> bool {
        self.interval.low.is_some_and(|low| low > tolerance)
    }
}

/// How the interval is computed.
#[derive(Debug, Clone, Copy)]
pub struct SlopeConfig {
    /// Confidence of the intervals.
    pub level: f64,
    /// Block length in points; 1 resamples residuals independently.
    pub block: usize,
    /// Number of resamples.
    pub resamples: usize,
}

impl Default for SlopeConfig {
    fn default() -> Self {
        Self { level: 0.95, block: 3, resamples: 400 }
    }
}

/// More points than this are thinned evenly first: the cost is quadratic in the number of points.
const MAX_POINTS: usize = 300;

/// Fits `y` on `x`.
pub fn theil_sen(x: &[f64], y: &[f64], config: SlopeConfig, rng: &mut Rng) -> Result<Slope, StatsError> {
    open_interval("slope", config.level, 0.0, 1.0, "0 < level < 1")?;
    if x.len() != y.len() {
        return Err(StatsError::LengthMismatch { what: "slope", left: x.len(), right: y.len() });
    }
    if x.len() < 3 {
        return Err(StatsError::TooFew { what: "slope", need: 3, got: x.len() });
    }
    sorted("slope", x)?;
    sorted("slope", y)?;
    let (x, y) = (thin(x), thin(y));
    let mut slopes = pairwise(&x, &y);
    if slopes.is_empty() {
        return Err(StatsError::Degenerate { what: "slope", why: "all x are equal" });
    }
    let slope = median_mut(&mut slopes);
    let intercept = median_mut(&mut y.clone()) - slope * median_mut(&mut x.clone());
    let sen_interval = sen(&mut slopes, &x, &y, config.level);
    let residuals: Vec<f64> = x.iter().zip(&y).map(|(x, y)| y - intercept - slope * x).collect();
    let mut draws = Vec::with_capacity(config.resamples);
    let mut y_star = vec![0.0; y.len()];
    for _ in 0..config.resamples.max(100) {
        for (slot, i) in block_indices(y.len(), config.block, rng).into_iter().enumerate() {
            y_star[slot] = slope * x[slot] + residuals[i];
        }
        draws.push(median_mut(&mut pairwise(&x, &y_star)));
    }
    Ok(Slope { slope, intercept, interval: interval_of(&draws, config.level)?, sen_interval, n: x.len() })
}

fn thin(values: &[f64]) -> Vec<f64> {
    let n = values.len();
    if n <= MAX_POINTS {
        return values.to_vec();
    }
    (0..MAX_POINTS).map(|i| values[i * (n - 1) / (MAX_POINTS - 1)]).collect()
}

/// Slopes between all points with different x.
fn pairwise(x: &[f64], y: &[f64]) -> Vec<f64> {
    let mut out = Vec::with_capacity(x.len() * (x.len() - 1) / 2);
    for i in 0..x.len() {
        for j in i + 1..x.len() {
            let dx = x[j] - x[i];
            if dx.abs() > 0.0 {
                out.push((y[j] - y[i]) / dx);
            }
        }
    }
    out
}

/// Sen 1968: order statistics of the slopes at the ranks given by the variance of Kendall's statistic.
fn sen(slopes: &mut [f64], x: &[f64], y: &[f64], level: f64) -> Interval {
    slopes.sort_by(f64::total_cmp);
    let n = x.len() as f64;
    let ties = |values: &[f64]| -> f64 {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        values
            .chunk_by(|a, b| (a - b).abs() <= 0.0)
            .map(|group| {
                let size = group.len() as f64;
                size * (size - 1.0) * (2.0 * size + 5.0)
            })
            .sum()
    };
    let variance = (n * (n - 1.0) * (2.0 * n + 5.0) - ties(x) - ties(y)) / 18.0;
    let half = normal_quantile(f64::midpoint(1.0, level)) * variance.max(0.0).sqrt();
    let count = slopes.len() as f64;
    let upper = (f64::midpoint(count, half).round() as usize).min(slopes.len() - 1);
    let lower = (((count - half) / 2.0).round() - 1.0).max(0.0) as usize;
    Interval::closed(slopes[lower], slopes[upper])
}

#[cfg(test)]
mod tests {
    use super::*;

    const Y: [f64; 12] = [2.0, 2.3, 2.1, 3.9, 2.6, 3.4, 3.1, 3.6, 4.4, 4.1, 9.0, 4.9];

    fn x(n: u32) -> Vec<f64> {
        (0..n).map(f64::from).collect()
    }

    fn fit(y: &[f64]) -> Slope {
        theil_sen(&x(y.len() as u32), y, SlopeConfig::default(), &mut Rng::new(1)).unwrap()
    }

    #[test]
    fn agrees_with_scipy() {
        // scipy.stats.theilslopes(y, x, 0.95): slope, intercept, low_slope, high_slope.
        let tied = [1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 4.0, 5.0, 5.0];
        for (y, want) in [
            (
                Y,
                [
                    0.292_857_142_857_142_7,
                    1.889_285_714_285_715,
                    0.183_333_333_333_333_35,
                    0.433_333_333_333_333_3,
                ],
            ),
            (tied, [0.3875, 0.868_75, 0.333_333_333_333_333_3, 0.5]),
        ] {
            let got = fit(&y);
            let sen = (got.sen_interval.low.unwrap(), got.sen_interval.high.unwrap());
            for (got, want) in [got.slope, got.intercept, sen.0, sen.1].iter().zip(want) {
                assert!((got - want).abs() < 1e-12, "{got} instead of {want}");
            }
        }
    }

    #[test]
    fn a_leak_shows_and_noise_does_not() {
        let mut rng = Rng::new(31);
        let mut false_alarms = 0;
        for _ in 0..100 {
            let mut weather = 0.0;
            let noise: Vec<f64> = (0..40)
                .map(|_| {
                    weather = 0.5 * weather + rng.normal();
                    100.0 + weather
                })
                .collect();
            false_alarms += usize::from(fit(&noise).grows(0.0));
            let leaking: Vec<f64> = noise.iter().zip(x(40)).map(|(v, i)| v + 0.5 * i).collect();
            assert!(fit(&leaking).grows(0.0));
        }
        assert!(false_alarms <= 12, "{false_alarms} of 100 at a one-sided 2.5 %");
    }

    #[test]
    fn exact_growth_is_exact() {
        let line: Vec<f64> = x(10).iter().map(|v| 3.0 + 2.0 * v).collect();
        let got = fit(&line);
        assert!((got.slope - 2.0).abs() < 1e-12 && got.grows(1.99));
        let flat = fit(&[7.0; 10]);
        assert!(flat.slope.abs() < 1e-12 && !flat.grows(0.0));
    }

    #[test]
    fn unusable_series_are_refused() {
        let mut rng = Rng::new(1);
        let config = SlopeConfig::default();
        assert!(theil_sen(&[1.0, 2.0], &[1.0, 2.0], config, &mut rng).is_err());
        assert!(theil_sen(&[1.0; 5], &[1.0, 2.0, 3.0, 4.0, 5.0], config, &mut rng).is_err());
        assert!(theil_sen(&x(3), &[1.0, f64::NAN, 2.0], config, &mut rng).is_err());
        assert!(theil_sen(&x(3), &[1.0], config, &mut rng).is_err());
    }

    #[test]
    fn long_series_are_thinned_not_refused() {
        let y: Vec<f64> = x(5_000).iter().map(|v| 0.25 * v).collect();
        assert!((fit(&y).slope - 0.25).abs() < 1e-9);
    }
}
