//! Closed loop: K workers, each starting the next container when the last is gone.
//!
//! Each level is cut into short windows in which the targets take turns in random order, so that the rates
//! of a round are a pair like any other, and the same sequential gate judges them.

use crate::Progress;
use crate::error::BenchError;
use crate::judge;
use crate::load::{Tally, absorb, empty_arm, places, result};
use crate::metric::Unit;
use crate::place::{Place, Step};
use crate::plan::{BenchPlan, Interface, Target};
use crate::result::{ArmResult, Comparison, Curve, MetricVerdict, ScenarioResult, Series};
use crate::scenario::Scenario;
use crate::session::Session;
use crate::sys::{self, now_ns};
use plimsoll_bench_stats::gate::{Direction, Gate, GateConfig, Verdict};
use plimsoll_bench_stats::pairs::Pair;
use plimsoll_bench_stats::tail::RelativeTail;
use plimsoll_bench_stats::{BlockOrder, EProcess, describe, outlier, usl};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Rounds of a level; more follow only while a gate is undecided and there is budget.
const ROUNDS: u64 = 10;
/// Rounds that every level has, whatever they take.
const LEAST: u64 = 3;

/// The rates of one level: target by target, round by round.
struct Level {
    workers: usize,
    rates: Vec<Vec<f64>>,
    gates: Vec<Gate>,
}

/// Containers per second against the number of workers.
pub fn drive(
    session: &Session,
    plan: &BenchPlan,
    scenario: &'static Scenario,
    progress: &mut dyn FnMut(Progress),
) -> Result<ScenarioResult, BenchError> {
    let mut arms: Vec<ArmResult> = plan.targets.iter().map(|t| empty_arm(t.name())).collect();
    let mut levels = Vec::new();
    let share = plan.budget / plan.load.workers.len().max(1) as u32;
    for &workers in &plan.load.workers {
        let level = level(session, plan, workers, share, &mut arms)?;
        for (target, rates) in plan.targets.iter().zip(&level.rates) {
            let says = format!("{}: K={workers}: {:.1}/s", target.name(), median(rates));
            progress(Progress::Step { scenario: scenario.name, says });
        }
        levels.push(level);
    }
    for (i, arm) in arms.iter_mut().enumerate() {
        arm.series = levels.iter().map(|level| series(level, i)).collect();
    }
    let curves = plan
        .targets
        .iter()
        .enumerate()
        .map(|(i, target)| {
            let points = levels.iter().map(|l| (l.workers as f64, median(&l.rates[i]))).filter(|p| p.1 > 0.0);
            closed_curve(target, points.collect())
        })
        .collect();
    let mut out = result(scenario, arms, curves);
    out.blocks = levels.iter().map(|l| l.rates[0].len() as u64).sum();
    out.comparisons = comparisons(plan, &levels)?;
    Ok(out)
}

fn median(values: &[f64]) -> f64 {
    plimsoll_bench_stats::median(values).unwrap_or(0.0)
}

fn name(workers: usize) -> String {
    format!("throughput.k{workers}")
}

/// Rounds of one level until the gates decide.
fn level(
    session: &Session,
    plan: &BenchPlan,
    workers: usize,
    share: Duration,
    arms: &mut [ArmResult],
) -> Result<Level, BenchError> {
    let count = plan.targets.len();
    let config =
        GateConfig { direction: Direction::LargerIsBetter, absolute_floor: 0.0, ..plan.profile.wall };
    let gates = (1..count).map(|i| Gate::new(config, plan.seed ^ i as u64)).collect::<Result<Vec<_>, _>>()?;
    let mut level = Level { workers, rates: vec![Vec::new(); count], gates };
    let mut places = (0..count)
        .map(|i| places(session, plan, i, workers, &format!("w{workers}")))
        .collect::<Result<Vec<_>, _>>()?;
    let mut order = BlockOrder::new(plan.seed ^ workers as u64, count);
    let window = plan.load.level.as_secs_f64() / ROUNDS as f64;
    let began = Instant::now();
    for round in 0.. {
        let settled = level.gates.iter().all(|g| judge::settled(g, plan.questions(), plan.profile.fdr));
        if round >= ROUNDS && settled || round >= LEAST && began.elapsed() > share {
            break;
        }
        let mut rates = vec![0.0; count];
        for i in order.next_block() {
            if sys::interrupted() {
                return Err(BenchError::Interrupted);
            }
            let (tally, rate) = window_of(&plan.targets[i], &mut places[i], window)?;
            rates[i] = rate;
            absorb(&mut arms[i], &tally);
        }
        for (gate, rate) in level.gates.iter_mut().zip(&rates[1..]) {
            gate.push(Pair::new(rates[0], *rate)?);
        }
        for (list, rate) in level.rates.iter_mut().zip(rates) {
            list.push(rate);
        }
    }
    Ok(level)
}

fn series(level: &Level, target: usize) -> Series {
    let values = &level.rates[target];
    Series {
        metric: name(level.workers),
        unit: Unit::PerSecond,
        direction: Direction::LargerIsBetter,
        samples: values.iter().map(|v| Some(*v)).collect(),
        summary: describe::summary(values).ok(),
        outliers: outlier::classify(values).ok(),
    }
}

fn comparisons(plan: &BenchPlan, levels: &[Level]) -> Result<Vec<Comparison>, BenchError> {
    (1..plan.targets.len())
        .map(|i| {
            let metrics = levels
                .iter()
                .map(|level| {
                    let gate = &level.gates[i - 1];
                    Ok(MetricVerdict {
                        metric: name(level.workers),
                        report: gate.report()?,
                        discovery: false,
                        tail_alarm: false,
                        tail: RelativeTail::new(0.95, plan.profile.wall.delta_hi, 20)?,
                        counts: gate.counts().clone(),
                    })
                })
                .collect::<Result<Vec<_>, BenchError>>()?;
            Ok(Comparison {
                baseline: plan.targets[0].name().to_owned(),
                candidate: plan.targets[i].name().to_owned(),
                sentinel: false,
                metrics,
                failures: EProcess::new(),
                verdict: Verdict::Inconclusive,
                says: String::new(),
            })
        })
        .collect()
}

/// One window: all workers start together, and none starts a container after its end. A worker's rate is
/// what it did by the time it really took, so that neither a container half done nor a slow runtime is
/// rounded away; the rates of all workers add up.
fn window_of(
    target: &Target,
    places: &mut [Box<dyn Place>],
    seconds: f64,
) -> Result<(Tally, f64), BenchError> {
    let total = Mutex::new((Tally::default(), 0.0));
    let until = Mutex::new(0_u64);
    let gate = Barrier::new(places.len());
    let ready = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for place in places {
            let (total, gate, until, ready) = (&total, &gate, &until, &ready);
            scope.spawn(move || {
                let prepared = place.enter().is_ok();
                ready.fetch_add(usize::from(prepared), Ordering::SeqCst);
                if gate.wait().is_leader()
                    && let Ok(mut at) = until.lock()
                {
                    *at = now_ns() + (seconds * 1e9) as u64;
                }
                gate.wait();
                let until = until.lock().map_or(0, |at| *at);
                let began = now_ns();
                let mut mine = Tally::default();
                while prepared && now_ns() < until && !sys::interrupted() {
                    match place.perform(Step::Cycle) {
                        Ok(_) => mine.done += 1,
                        Err(failure) => mine.failures.push(failure),
                    }
                }
                let took = (now_ns() - began).max(1) as f64 / 1e9;
                place.tidy();
                if let Ok(mut t) = total.lock() {
                    t.1 += mine.done as f64 / took;
                    t.0.done += mine.done;
                    t.0.failures.extend(mine.failures);
                }
            });
        }
    });
    if target.interface() == Interface::Oci {
        sys::process::collect_orphans();
    }
    if ready.load(Ordering::SeqCst) == 0 {
        return Err(BenchError::Plan(format!(
            "no worker for `{}` could set up its mount namespace; this needs CAP_SYS_ADMIN",
            target.name()
        )));
    }
    Ok(total.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn closed_curve(target: &Target, points: Vec<(f64, f64)>) -> Curve {
    let fit = usl::fit(&points).ok();
    let best = points.iter().map(|p| p.1).fold(0.0, f64::max);
    let says = match &fit {
        Some(f) => format!(
            "at most {best:.1}/s measured; one worker {:.1}/s, contention α={:.3}, coherency β={:.4}{}",
            f.lambda,
            f.alpha,
            f.beta,
            f.peak_workers().map_or_else(String::new, |n| format!(", peak at {n:.1} workers")),
        ),
        None => format!("at most {best:.1}/s measured; too few levels for the scalability fit"),
    };
    Curve {
        target: target.name().to_owned(),
        name: "throughput.closed".into(),
        x: "workers".into(),
        y: "containers/s".into(),
        points,
        usl: fit,
        slope: None,
        says,
        alarm: false,
    }
}
