//! e-BH: which of many e-values may be called discoveries (Wang and Ramdas 2022).
//!
//! With M e-values sorted down, reject the `k` largest for the largest `k` with `e_(k) >= M/(k·α)`. The
//! share of false discoveries is at most `α` under **any** dependence between the metrics, which matters
//! here: wall time, CPU time and page faults of one lifecycle are anything but independent.

use crate::{StatsError, open_interval};

/// Which hypotheses are rejected, in the order given. Takes `ln E` so that huge values do not overflow.
pub fn reject(ln_e_values: &[f64], alpha: f64) -> Result<Vec<bool>, StatsError> {
    open_interval("e-BH", alpha, 0.0, 1.0, "0 < alpha < 1")?;
    if let Some(&value) = ln_e_values.iter().find(|v| v.is_nan()) {
        return Err(StatsError::Domain { what: "e-BH", value, domain: "log e-values" });
    }
    let m = ln_e_values.len() as f64;
    let mut by_evidence: Vec<usize> = (0..ln_e_values.len()).collect();
    by_evidence.sort_by(|&a, &b| ln_e_values[b].total_cmp(&ln_e_values[a]));
    let discoveries = by_evidence
        .iter()
        .enumerate()
        .filter(|&(rank, &i)| ln_e_values[i] >= (m / ((rank as f64 + 1.0) * alpha)).ln())
        .map(|(rank, _)| rank + 1)
        .next_back()
        .unwrap_or(0);
    let mut out = vec![false; ln_e_values.len()];
    for &i in &by_evidence[..discoveries] {
        out[i] = true;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_up_rule() {
        // M = 4, alpha = 0.05: thresholds 80, 40, 26.7, 20.
        let ln = |e: [f64; 4]| e.map(f64::ln);
        assert_eq!(reject(&ln([1.0, 90.0, 0.2, 3.0]), 0.05).unwrap(), [false, true, false, false]);
        // None alone reaches 80, yet three of them at 30 support each other.
        assert_eq!(reject(&ln([30.0, 30.0, 0.2, 30.0]), 0.05).unwrap(), [true, true, false, true]);
        assert_eq!(reject(&ln([79.0, 1.0, 1.0, 1.0]), 0.05).unwrap(), [false; 4]);
        assert!(reject(&[], 0.05).unwrap().is_empty());
        assert!(reject(&[f64::NAN], 0.05).is_err());
    }

    #[test]
    fn false_discoveries_stay_bounded() {
        let mut rng = crate::Rng::new(91);
        let mut alarmed = 0;
        for _ in 0..500 {
            // Eight metrics of the same fair coins: as dependent as can be.
            let mut e = crate::EProcess::new();
            for _ in 0..60 {
                e.push(rng.coin());
            }
            alarmed += usize::from(reject(&[e.ln_e(); 8], 0.05).unwrap()[0]);
        }
        assert!(alarmed <= 25, "{alarmed} of 500");
    }
}
