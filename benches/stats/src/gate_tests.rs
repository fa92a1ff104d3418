//! Unit and simulation tests of the gate. All simulations are seeded, so they are exact regressions.

use super::*;
use crate::rng::Rng;
use proptest::prelude::*;

/// One gate over synthetic lifecycles: slowly wandering common noise, own noise per lifecycle, a few stragglers.
/// The shape follows what was measured on small virtual machines: strongly correlated in time, white in pairs.
fn simulate(rng: &mut Rng, config: GateConfig, sigma: f64, slowdown: f64) -> (Verdict, u64) {
    let mut gate = Gate::new(config, rng.next_u64()).unwrap();
    let mut weather = 0.0;
    let lifecycle = |rng: &mut Rng, weather: f64| {
        let straggler = if rng.uniform() < 0.03 { rng.exponential() } else { 0.0 };
        5e6 * (weather + sigma / std::f64::consts::SQRT_2 * rng.normal() + straggler).exp()
    };
    while !gate.finished() {
        weather = 0.99 * weather + 0.05 * rng.normal();
        let a = lifecycle(rng, weather);
        let b = lifecycle(rng, weather) * (1.0 + slowdown);
        gate.push(Pair::new(a, b).unwrap());
    }
    (gate.verdict(), gate.counts().log_ratios.len() as u64)
}

fn tally(seed: u64, gates: usize, config: GateConfig, sigma: f64, slowdown: f64) -> ([usize; 4], u64) {
    let mut rng = Rng::new(seed);
    let mut counts = [0; 4];
    let mut lengths = Vec::new();
    for _ in 0..gates {
        let (verdict, n) = simulate(&mut rng, config, sigma, slowdown);
        counts[verdict as usize] += 1;
        lengths.push(n as f64);
    }
    (counts, quantile::median(&lengths).unwrap() as u64)
}

const PASS: usize = Verdict::Pass as usize;
const FAIL: usize = Verdict::Fail as usize;

#[test]
fn identical_arms_alarm_in_under_one_percent() {
    let (counts, median) = tally(1, 400, GateConfig::wall(), 0.17, 0.0);
    assert!(counts[FAIL] <= 4, "{counts:?}");
    assert!(counts[PASS] >= 380, "{counts:?}");
    assert!(median <= 60, "median {median} pairs to PASS");
    let (counts, median) = tally(2, 400, GateConfig::cpu(), 0.03, 0.0);
    assert!(counts[FAIL] <= 4 && counts[PASS] >= 392 && median <= 20, "{counts:?} {median}");
}

#[test]
fn identical_arms_stay_quiet_even_without_a_margin() {
    // delta_lo = 0 is the hardest null: exactly fair coins.
    let config = GateConfig::with_margins(0.0, 0.10);
    let (counts, _) = tally(3, 300, config, 0.17, 0.0);
    assert!(counts[FAIL] + counts[Verdict::Warn as usize] <= 3, "{counts:?}");
}

#[test]
fn ten_percent_of_cpu_is_found_within_sixty_pairs() {
    let config = GateConfig { n_max: 60, ..GateConfig::cpu() };
    let (counts, median) = tally(4, 200, config, 0.076, 0.10);
    assert!(counts[FAIL] >= 196, "{counts:?}");
    assert!(median <= 30);
}

#[test]
fn ten_percent_of_wall_time_is_found_within_four_hundred_pairs() {
    let (counts, _) = tally(5, 200, GateConfig::wall(), 0.17, 0.10);
    assert!(counts[FAIL] >= 170, "{counts:?}");
    assert!(counts[PASS] <= 10, "false PASS above 5 %: {counts:?}");
}

#[test]
fn under_heavy_noise_it_says_that_it_cannot_tell() {
    let (counts, _) = tally(6, 100, GateConfig { n_max: 60, ..GateConfig::wall() }, 1.2, 0.05);
    assert!(counts[Verdict::Inconclusive as usize] >= 70, "{counts:?}");
}

#[test]
fn continuing_equals_one_long_run() {
    let pairs: Vec<Pair> = {
        let mut rng = Rng::new(8);
        (0..80).map(|_| Pair::new(10.0, 10.0 * (0.05 + 0.1 * rng.normal()).exp()).unwrap()).collect()
    };
    let mut whole = Gate::new(GateConfig::wall(), 1).unwrap();
    let mut first = Gate::new(GateConfig::wall(), 1).unwrap();
    for p in &pairs {
        whole.push(*p);
    }
    for p in &pairs[..30] {
        first.push(*p);
    }
    let kept = serde_json::to_string(first.counts()).unwrap();
    let mut second = Gate::resume(GateConfig::wall(), 2, serde_json::from_str(&kept).unwrap()).unwrap();
    for p in &pairs[30..] {
        second.push(*p);
    }
    let (whole, second) = (whole.report().unwrap(), second.report().unwrap());
    assert_eq!(second.n_earlier, 30);
    assert_eq!((whole.verdict, whole.slower, whole.bounded), (second.verdict, second.slower, second.bounded));
    assert_eq!(whole.interval, second.interval);
}

#[test]
fn ties_are_split_fairly() {
    // Counters are often equal in every lifecycle; without a margin every pair is then a tie.
    let mut gate = Gate::new(GateConfig { n_max: 2_000, ..GateConfig::with_margins(0.0, 0.05) }, 5).unwrap();
    for _ in 0..2_000 {
        gate.push(Pair::new(748.0, 748.0).unwrap());
    }
    assert_eq!(gate.verdict(), Verdict::Pass);
    assert!((900..1_100).contains(&gate.counts().slower.hits));
}

#[test]
fn differences_below_the_floor_do_not_count() {
    let config = GateConfig { absolute_floor: 0.2, ..GateConfig::wall() };
    let mut gate = Gate::new(config, 5).unwrap();
    for _ in 0..40 {
        gate.push(Pair::new(0.5, 0.6).unwrap());
    }
    assert_eq!(gate.verdict(), Verdict::Pass);
    let mut gate = Gate::new(config, 5).unwrap();
    for _ in 0..40 {
        gate.push(Pair::new(0.5, 0.9).unwrap());
    }
    assert_eq!(gate.verdict(), Verdict::Fail);
}

#[test]
fn direction_turns_the_ratio() {
    let config = GateConfig { direction: Direction::LargerIsBetter, ..GateConfig::cpu() };
    let mut gate = Gate::new(config, 5).unwrap();
    for _ in 0..20 {
        gate.push(Pair::new(100.0, 80.0).unwrap());
    }
    let report = gate.report().unwrap();
    assert_eq!(report.verdict, Verdict::Fail);
    assert!((report.ratio.unwrap() - 1.25).abs() < 1e-12);
}

#[test]
fn both_rejecting_is_a_warning() {
    let mut gate = Gate::new(GateConfig::with_margins(0.01, 0.10), 5).unwrap();
    for _ in 0..20 {
        gate.push(Pair::new(100.0, 105.0).unwrap());
    }
    assert_eq!(gate.verdict(), Verdict::Warn);
    assert_eq!(gate.report().unwrap().decided_at, Some(10));
}

#[test]
fn a_gate_with_senseless_settings_is_refused() {
    for bad in [
        GateConfig { alpha: 0.0, ..GateConfig::cpu() },
        GateConfig { delta_hi: 0.01, ..GateConfig::cpu() },
        GateConfig { n_min: 500, ..GateConfig::cpu() },
        GateConfig { absolute_floor: f64::NAN, ..GateConfig::cpu() },
    ] {
        assert!(Gate::new(bad, 1).is_err(), "{bad:?}");
    }
    let torn = GateCounts { log_ratios: vec![0.1], ..GateCounts::default() };
    assert!(Gate::resume(GateConfig::cpu(), 1, torn).is_err());
}

#[test]
fn an_empty_gate_reports_without_inventing() {
    let report = Gate::new(GateConfig::cpu(), 1).unwrap().report().unwrap();
    assert_eq!((report.n, report.ratio, report.verdict), (0, None, Verdict::Inconclusive));
    assert_eq!(report.interval, Interval::unbounded());
}

proptest! {
    #[test]
    fn no_decision_before_n_min(values in prop::collection::vec((0.0..1e9_f64, 0.0..1e9_f64), 0..9)) {
        let mut gate = Gate::new(GateConfig::wall(), 1).unwrap();
        for (a, b) in values {
            gate.push(Pair::new(a, b).unwrap());
            prop_assert_eq!(gate.verdict(), Verdict::Inconclusive);
        }
        prop_assert!(gate.report().is_ok());
    }

    #[test]
    fn the_interval_contains_the_median(values in prop::collection::vec(0.1..10.0_f64, 10..120)) {
        let mut gate = Gate::new(GateConfig::wall(), 1).unwrap();
        for b in values {
            gate.push(Pair::new(1.0, b).unwrap());
        }
        let report = gate.report().unwrap();
        prop_assert!(report.interval.contains(report.ratio.unwrap()));
    }
}
