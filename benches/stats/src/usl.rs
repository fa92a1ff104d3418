//! The universal scalability law: throughput against concurrency.
//!
//! `X(N) = λN / (1 + α(N-1) + βN(N-1))`: λ is the rate of one worker, α the share that waits in line
//! (contention), β the cost of keeping each other informed (coherency). Fitted by least squares with all
//! three non-negative.

use crate::StatsError;
use serde::{Deserialize, Serialize};

/// A fit of the law.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Usl {
    /// Rate of one worker, in the unit of the throughput given.
    pub lambda: f64,
    /// Contention, >= 0.
    pub alpha: f64,
    /// Coherency, >= 0.
    pub beta: f64,
    /// Share of the variance explained, at most 1.
    pub r_squared: f64,
}

impl Usl {
    /// The throughput the fit predicts at `n` workers.
    pub fn throughput(&self, n: f64) -> f64 {
        self.lambda * n / (1.0 + self.alpha * (n - 1.0) + self.beta * n * (n - 1.0))
    }

    /// The number of workers with the highest throughput; `None` while nothing limits it.
    pub fn peak_workers(&self) -> Option<f64> {
        (self.beta > 0.0).then(|| ((1.0 - self.alpha).max(0.0) / self.beta).sqrt().max(1.0))
    }
}

/// Fits the law to `(workers, throughput)` points; needs three with different `workers >= 1`.
pub fn fit(points: &[(f64, f64)]) -> Result<Usl, StatsError> {
    for &(n, x) in points {
        if !(n.is_finite() && n >= 1.0) {
            return Err(StatsError::Domain { what: "scalability fit: workers", value: n, domain: ">= 1" });
        }
        if !(x.is_finite() && x > 0.0) {
            return Err(StatsError::Domain { what: "scalability fit: throughput", value: x, domain: "> 0" });
        }
    }
    let mut levels: Vec<f64> = points.iter().map(|p| p.0).collect();
    levels.sort_by(f64::total_cmp);
    levels.dedup();
    if levels.len() < 3 {
        return Err(StatsError::TooFew { what: "scalability fit", need: 3, got: levels.len() });
    }
    // With only three parameters the constrained optimum is found by trying which of the two lie at 0.
    let best = [[true, true, true], [true, true, false], [true, false, true], [true, false, false]]
        .into_iter()
        .map(|free| levenberg(points, start(points), free))
        .filter(|p| p.iter().all(|v| v.is_finite() && *v >= 0.0))
        .min_by(|a, b| squares(points, *a).total_cmp(&squares(points, *b)));
    let Some([lambda, alpha, beta]) = best else {
        return Err(StatsError::Degenerate { what: "scalability fit", why: "no fit with parameters >= 0" });
    };
    let mean = points.iter().map(|p| p.1).sum::<f64>() / points.len() as f64;
    let total: f64 = points.iter().map(|p| (p.1 - mean).powi(2)).sum();
    let rest = squares(points, [lambda, alpha, beta]);
    let r_squared = if total > 0.0 { 1.0 - rest / total } else { 1.0 };
    Ok(Usl { lambda, alpha, beta, r_squared })
}

type Params = [f64; 3];

fn predict(n: f64, [lambda, alpha, beta]: Params) -> f64 {
    lambda * n / (1.0 + alpha * (n - 1.0) + beta * n * (n - 1.0))
}

fn squares(points: &[(f64, f64)], p: Params) -> f64 {
    points.iter().map(|&(n, x)| (x - predict(n, p)).powi(2)).sum()
}

/// A starting point: the best rate per worker, and mild contention.
fn start(points: &[(f64, f64)]) -> Params {
    let lambda = points.iter().map(|&(n, x)| x / n).fold(0.0, f64::max);
    [lambda, 0.1, 0.001]
}

/// Levenberg-Marquardt over the free parameters; the others are held at 0.
fn levenberg(points: &[(f64, f64)], from: Params, free: [bool; 3]) -> Params {
    let mut p: Params = std::array::from_fn(|i| if free[i] { from[i] } else { 0.0 });
    let mut damping = 1e-3;
    let mut error = squares(points, p);
    for _ in 0..500 {
        let (gradient, hessian) = normal_equations(points, p, free);
        let mut damped = hessian;
        for (i, row) in damped.iter_mut().enumerate() {
            row[i] += damping * hessian[i][i].max(1e-12);
        }
        let Some(step) = solve(damped, gradient) else { break };
        let next: Params = std::array::from_fn(|i| p[i] + step[i]);
        let next_error = squares(points, next);
        if next_error.is_finite() && next_error <= error {
            let gain = error - next_error;
            (p, error, damping) = (next, next_error, (damping / 5.0).max(1e-15));
            if gain <= 1e-15 * error.max(1e-300) {
                break;
            }
        } else {
            damping *= 4.0;
            if damping > 1e20 {
                break;
            }
        }
    }
    p
}

/// `Jᵀr` and `JᵀJ`; a held parameter gets the identity row, so that its step is 0.
fn normal_equations(points: &[(f64, f64)], p: Params, free: [bool; 3]) -> (Params, [Params; 3]) {
    let mut gradient = [0.0; 3];
    let mut hessian = [[0.0; 3]; 3];
    for &(n, x) in points {
        let denominator = 1.0 + p[1] * (n - 1.0) + p[2] * n * (n - 1.0);
        let common = -p[0] * n / (denominator * denominator);
        let all = [n / denominator, common * (n - 1.0), common * n * (n - 1.0)];
        let j: Params = std::array::from_fn(|i| if free[i] { all[i] } else { 0.0 });
        let residual = x - predict(n, p);
        for a in 0..3 {
            gradient[a] += j[a] * residual;
            for b in 0..3 {
                hessian[a][b] += j[a] * j[b];
            }
        }
    }
    for i in 0..3 {
        if !free[i] {
            hessian[i][i] = 1.0;
        }
    }
    (gradient, hessian)
}

/// Solves a 3 × 3 system by elimination with pivoting; `None` when singular.
fn solve(mut m: [Params; 3], mut v: Params) -> Option<Params> {
    for column in 0..3 {
        let pivot = (column..3).max_by(|&a, &b| m[a][column].abs().total_cmp(&m[b][column].abs()))?;
        if m[pivot][column].abs() < 1e-300 {
            return None;
        }
        m.swap(column, pivot);
        v.swap(column, pivot);
        for row in column + 1..3 {
            let factor = m[row][column] / m[column][column];
            let pivot_row = m[column];
            for (cell, above) in m[row].iter_mut().zip(pivot_row) {
                *cell -= factor * above;
            }
            v[row] -= factor * v[column];
        }
    }
    for row in (0..3).rev() {
        let known: f64 = (row + 1..3).map(|c| m[row][c] * v[c]).sum();
        v[row] = (v[row] - known) / m[row][row];
    }
    Some(v)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_scipy() {
        // scipy.optimize.curve_fit with all parameters bounded below by 0, tolerances 1e-14.
        let cases: [(&[(f64, f64)], Params); 3] = [
            (
                &[(1.0, 112.0), (2.0, 187.0), (4.0, 210.0), (8.0, 219.0), (16.0, 270.0)],
                [122.085_388, 0.439_744_833, 0.0],
            ),
            (
                &[(1.0, 36.0), (2.0, 54.0), (4.0, 58.0), (8.0, 55.0)],
                [37.136_183_3, 0.360_111_126, 0.034_521_692_4],
            ),
            (
                &[
                    (1.0, 50.2),
                    (2.0, 93.1),
                    (3.0, 131.4),
                    (4.0, 160.2),
                    (6.0, 208.9),
                    (8.0, 239.9),
                    (12.0, 268.1),
                    (16.0, 272.8),
                ],
                [49.961_313_5, 0.062_438_196_6, 0.004_143_725_08],
            ),
        ];
        for (points, want) in cases {
            let got = fit(points).unwrap();
            for (got, want) in [got.lambda, got.alpha, got.beta].iter().zip(want) {
                assert!((got - want).abs() < 1e-5 * want.max(1.0), "{got} instead of {want}");
            }
        }
    }

    #[test]
    fn exact_data_give_back_their_parameters() {
        let truth = Usl { lambda: 100.0, alpha: 0.05, beta: 0.01, r_squared: 1.0 };
        let points: Vec<_> = [1.0, 2.0, 4.0, 8.0, 16.0].iter().map(|&n| (n, truth.throughput(n))).collect();
        let got = fit(&points).unwrap();
        assert!((got.alpha - 0.05).abs() < 1e-6 && (got.beta - 0.01).abs() < 1e-7);
        assert!((got.peak_workers().unwrap() - (0.95_f64 / 0.01).sqrt()).abs() < 1e-3);
        assert!(got.r_squared > 0.999_999);
    }

    #[test]
    fn linear_scaling_has_no_peak() {
        let got = fit(&[(1.0, 10.0), (2.0, 20.0), (4.0, 40.0)]).unwrap();
        assert!(got.alpha < 1e-6 && got.peak_workers().is_none_or(|n| n > 1e3));
        assert!(fit(&[(1.0, 10.0), (2.0, 20.0), (2.0, 21.0)]).is_err());
        assert!(fit(&[(0.0, 10.0), (2.0, 20.0), (3.0, 21.0)]).is_err());
        assert!(fit(&[(1.0, 0.0), (2.0, 20.0), (3.0, 21.0)]).is_err());
    }
}
