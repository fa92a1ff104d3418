//! Special functions: log-gamma, log-beta, the regularised incomplete beta function, the normal law.
//!
//! Everything that can underflow is offered in logarithms: an e-value of a few thousand pairs does not
//! fit a double. Accuracy is checked against `scipy.special`.

// The names of the handbooks' formulas are worth more here than long words.
#![allow(clippy::many_single_char_names)]

/// Coefficients of Lanczos' approximation for g = 7, nine terms (public numerical constants).
const LANCZOS: [f64; 9] = [
    0.999_999_999_999_809_9,
    676.520_368_121_885_1,
    -1_259.139_216_722_402_8,
    771.323_428_777_653_1,
    -176.615_029_162_140_6,
    12.507_343_278_686_905,
    -0.138_571_095_265_720_12,
    9.984_369_578_019_572e-6,
    1.505_632_735_149_311_6e-7,
];

/// Natural logarithm of the gamma function for `x > 0`.
pub fn ln_gamma(x: f64) -> f64 {
    if x < 0.5 {
        // Reflection keeps the series in the half plane where it converges.
        return (std::f64::consts::PI / (std::f64::consts::PI * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let z = x - 1.0;
    let series = LANCZOS.iter().enumerate().skip(1).fold(LANCZOS[0], |acc, (i, c)| acc + c / (z + i as f64));
    let t = z + 7.5;
    0.5 * std::f64::consts::TAU.ln() + (z + 0.5) * t.ln() - t + series.ln()
}

/// Natural logarithm of the beta function for `a, b > 0`.
pub fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// `ln(1 - exp(x))` for `x <= 0` without cancellation (Mächler 2012).
pub fn ln_one_minus_exp(x: f64) -> f64 {
    if x > -std::f64::consts::LN_2 { (-x.exp_m1()).ln() } else { (-x.exp()).ln_1p() }
}

/// Natural logarithm of the regularised incomplete beta function `I_x(a, b)`, `a, b > 0`, `0 <= x <= 1`.
pub fn ln_beta_inc(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if x >= 1.0 {
        return 0.0;
    }
    let ln_front = a * x.ln() + b * (-x).ln_1p() - ln_beta(a, b);
    if x <= (a + 1.0) / (a + b + 2.0) {
        (ln_front + (continued_fraction(a, b, x) / a).ln()).min(0.0)
    } else {
        ln_one_minus_exp((ln_front + (continued_fraction(b, a, 1.0 - x) / b).ln()).min(0.0))
    }
}

/// The regularised incomplete beta function `I_x(a, b)`.
pub fn beta_inc(a: f64, b: f64, x: f64) -> f64 {
    ln_beta_inc(a, b, x).exp()
}

/// The continued fraction of the incomplete beta function by Lentz' method (DLMF 8.17.22).
fn continued_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away_from_zero = |v: f64| if v.abs() < TINY { TINY } else { v };
    // The number of terms grows with the square root of the larger parameter.
    let limit = 300 + 10 * a.max(b).sqrt() as usize;
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut h = d;
    for m in 1..=limit {
        let m = m as f64;
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away_from_zero(1.0 + even * d);
        c = away_from_zero(1.0 + even / c);
        h *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away_from_zero(1.0 + odd * d);
        c = away_from_zero(1.0 + odd / c);
        let step = d * c;
        h *= step;
        if (step - 1.0).abs() < 1e-15 {
            break;
        }
    }
    h
}

/// Distribution function of the standard normal law.
pub fn normal_cdf(x: f64) -> f64 {
    if x < 0.0 { 0.5 * gamma_tail(x) } else { 1.0 - 0.5 * gamma_tail(x) }
}

/// `erfc(|x|/√2)`, by its power series near zero and its continued fraction in the tail.
fn gamma_tail(x: f64) -> f64 {
    let t = x * x / 2.0;
    if t < 2.0 {
        // erf(z) = 2/√π · e^{-z²} · Σ 2^n z^{2n+1} / (2n+1)!!
        let z = t.sqrt();
        let mut term = z;
        let mut sum = z;
        let mut n = 0.0;
        while term > 1e-17 * sum {
            n += 1.0;
            term *= 2.0 * t / (2.0 * n + 1.0);
            sum += term;
        }
        1.0 - 2.0 / std::f64::consts::PI.sqrt() * (-t).exp() * sum
    } else {
        // Γ(½, t)/√π = e^{-t} √t /√π · 1/(t + ½ − ½·1/(t + 5/2 − ...)), evaluated by Lentz.
        let mut b = t + 0.5;
        let mut c = 1e300;
        let mut d = 1.0 / b;
        let mut h = d;
        for i in 1..500 {
            let i = f64::from(i);
            let an = -i * (i - 0.5);
            b += 2.0;
            d = 1.0 / (an * d + b);
            c = b + an / c;
            let step = d * c;
            h *= step;
            if (step - 1.0).abs() < 1e-16 {
                break;
            }
        }
        (-t).exp() * t.sqrt() / std::f64::consts::PI.sqrt() * h
    }
}

/// Quantile of the standard normal law for `0 < p < 1`; infinite at the ends.
///
/// A bracketed Newton iteration on [`normal_cdf`]: slower than a rational fit, and short enough to trust.
pub fn normal_quantile(p: f64) -> f64 {
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if p >= 1.0 {
        return f64::INFINITY;
    }
    if p > 0.5 {
        return -normal_quantile(1.0 - p);
    }
    let (mut low, mut high) = (-40.0_f64, 0.0_f64);
    let mut x = -1.0_f64;
    for _ in 0..200 {
        let error = normal_cdf(x) - p;
        if error > 0.0 {
            high = x;
        } else {
            low = x;
        }
        let density = (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt();
        let newton = x - error / density;
        let next = if newton > low && newton < high { newton } else { 0.5 * (low + high) };
        if (next - x).abs() <= 1e-15 * x.abs().max(1e-3) {
            return next;
        }
        x = next;
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, want: f64, relative: f64) {
        assert!((got - want).abs() <= relative * want.abs().max(1e-300), "got {got:e}, want {want:e}");
    }

    // Expected values: scipy.special / scipy.stats.norm, SciPy 1.17.1, printed with repr().
    #[test]
    fn log_gamma_agrees_with_scipy() {
        for (x, want) in [
            (0.1, 2.252_712_651_734_206),
            (0.5, 0.572_364_942_924_7),
            (2.5, 0.284_682_870_472_919_2),
            (10.0, 12.801_827_480_081_469),
            (171.3, 708.114_947_038_997_1),
            (1e5, 1_051_287.708_973_656_9),
        ] {
            close(ln_gamma(x), want, 1e-13);
        }
        assert!(ln_gamma(1.0).abs() < 1e-13);
    }

    #[test]
    fn incomplete_beta_agrees_with_scipy() {
        for (a, b, x, want) in [
            (0.5, 0.5, 0.3, -0.996_931_211_020_778_1),
            (2.0, 3.0, 0.4, -0.644_738_041_352_257_9),
            (91.0, 11.0, 0.5, -39.307_791_367_373_25),
            (5_000.0, 5_100.0, 0.5, -0.174_171_414_640_709_1),
            (1.0, 1.0, 0.25, -1.386_294_361_119_890_6),
            (1e-2, 3.0, 0.7, -0.000_118_202_518_507_410_9),
            (300.0, 20.0, 0.9, -4.938_478_858_648_624),
        ] {
            close(ln_beta_inc(a, b, x), want, 1e-9);
        }
        assert!(ln_beta_inc(2.0, 3.0, 0.0).is_infinite());
        close(beta_inc(2.0, 3.0, 1.0), 1.0, 0.0);
    }

    #[test]
    fn normal_law_agrees_with_scipy() {
        for (p, want) in [
            (1e-10, -6.361_340_902_404_056),
            (0.001, -3.090_232_306_167_813),
            (0.025, -1.959_963_984_540_054_5),
            (0.841_344_746_068_542_9, 1.0),
            (0.99, 2.326_347_874_040_840_8),
        ] {
            close(normal_quantile(p), want, 1e-12);
        }
        assert!(normal_quantile(0.5).abs() < 1e-15);
        for (x, want) in [
            (-6.0, 9.865_876_450_376_946e-10),
            (-2.5, 0.006_209_665_325_776_132),
            (-1.0, 0.158_655_253_931_457_07),
            (0.3, 0.617_911_422_188_952_6),
            (1.96, 0.975_002_104_851_779_5),
            (5.0, 0.999_999_713_348_428_1),
        ] {
            close(normal_cdf(x), want, 1e-12);
        }
    }

    #[test]
    fn ends_of_the_normal_quantile_are_infinite() {
        assert!(normal_quantile(0.0).is_infinite() && normal_quantile(1.0).is_infinite());
    }
}
