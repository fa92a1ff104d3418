//! Bootstrap intervals, seeded and bounded.

use crate::quantile::{quantile_sorted, sorted};
use crate::rng::Rng;
use crate::{Interval, StatsError, open_interval};

/// The percentile interval of a statistic from `resamples` resamples with replacement.
pub fn percentile_interval(
    values: &[f64],
    statistic: impl Fn(&[f64]) -> f64,
    level: f64,
    resamples: usize,
    rng: &mut Rng,
) -> Result<Interval, StatsError> {
    open_interval("bootstrap", level, 0.0, 1.0, "0 < level < 1")?;
    if values.len() < 2 {
        return Err(StatsError::TooFew { what: "bootstrap", need: 2, got: values.len() });
    }
    let mut draw = vec![0.0; values.len()];
    let mut results = Vec::with_capacity(resamples);
    for _ in 0..resamples.max(100) {
        for slot in &mut draw {
            *slot = values[rng.below(values.len())];
        }
        results.push(statistic(&draw));
    }
    interval_of(&results, level)
}

/// Indices of one moving-block resample of `0..n`: blocks keep the dependence between neighbours.
pub fn block_indices(n: usize, block: usize, rng: &mut Rng) -> Vec<usize> {
    let block = block.clamp(1, n.max(1));
    let mut out = Vec::with_capacity(n + block);
    while out.len() < n {
        let start = rng.below(n - block + 1);
        out.extend(start..start + block);
    }
    out.truncate(n);
    out
}

/// The central `level` share of simulated results.
pub(crate) fn interval_of(results: &[f64], level: f64) -> Result<Interval, StatsError> {
    let sorted = sorted("bootstrap", results)?;
    let tail = (1.0 - level) / 2.0;
    Ok(Interval { low: quantile_sorted(&sorted, tail), high: quantile_sorted(&sorted, 1.0 - tail) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(x: &[f64]) -> f64 {
        x.iter().sum::<f64>() / x.len() as f64
    }

    #[test]
    fn covers_the_mean_about_as_often_as_promised() {
        let mut rng = Rng::new(21);
        let covered = (0..300)
            .filter(|_| {
                let x: Vec<f64> = (0..40).map(|_| rng.normal()).collect();
                percentile_interval(&x, mean, 0.95, 300, &mut rng).unwrap().contains(0.0)
            })
            .count();
        assert!((270..=296).contains(&covered), "{covered} of 300");
    }

    #[test]
    fn same_seed_same_interval() {
        let x = [1.0, 2.0, 4.0, 8.0, 16.0];
        let go = || percentile_interval(&x, mean, 0.9, 500, &mut Rng::new(3)).unwrap();
        assert_eq!(go(), go());
        assert!(percentile_interval(&[1.0], mean, 0.9, 500, &mut Rng::new(3)).is_err());
    }

    #[test]
    fn blocks_are_runs_of_neighbours() {
        let mut rng = Rng::new(4);
        let picks = block_indices(20, 5, &mut rng);
        assert_eq!(picks.len(), 20);
        assert!(picks.chunks(5).all(|c| c.windows(2).all(|w| w[1] == w[0] + 1)));
        assert_eq!(block_indices(3, 99, &mut rng), [0, 1, 2]);
        assert!(block_indices(0, 1, &mut rng).is_empty());
    }
}
