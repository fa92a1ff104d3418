//! Throughput: closed loop with K workers, and open loop with arrivals that do not wait.
//!
//! Only verified containers count, and the time is divided by what was *done*, never by what was planned:
//! workers that die early must not make a runtime look fast.

use crate::Progress;
use crate::arm::enter_view;
use crate::cgroup;
use crate::error::BenchError;
use crate::plan::{BenchPlan, Target};
use crate::result::{ArmResult, Curve, ScenarioResult};
use crate::scenario::Scenario;
use crate::session::Session;
use crate::slot::{Failure, Slot};
use crate::sys::{self, now_ns};
use plimsoll_bench_stats::openloop::{self, Arrivals, Objective, RateSearch, Request};
use plimsoll_bench_stats::{Rng, usl};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};

/// Workers of the open loop: more requests than this cannot be under way at once.
const OPEN_WORKERS: usize = 32;
/// Length of one open-loop trial, seconds.
const TRIAL_SECONDS: f64 = 3.0;

/// What the workers of a level or a trial brought back.
struct Tally {
    done: u64,
    failures: Vec<Failure>,
}

/// Closed loop: containers per second against the number of workers.
pub fn throughput(
    session: &Session,
    plan: &BenchPlan,
    scenario: &'static Scenario,
    progress: &mut dyn FnMut(Progress),
) -> Result<ScenarioResult, BenchError> {
    let mut rng = Rng::for_purpose(plan.seed, "throughput");
    let mut arms: Vec<ArmResult> = plan.targets.iter().map(|t| empty_arm(&t.name)).collect();
    let mut points: Vec<Vec<(f64, f64)>> = vec![Vec::new(); plan.targets.len()];
    for &workers in &plan.load.workers {
        let mut order: Vec<usize> = (0..plan.targets.len()).collect();
        rng.shuffle(&mut order);
        for i in order {
            if sys::interrupted() {
                return Err(BenchError::Interrupted);
            }
            let target = &plan.targets[i];
            let slots = slots(session, plan, i, workers, &format!("w{workers}"))?;
            let (tally, seconds) = closed_level(target, slots, plan.load.level.as_secs_f64())?;
            let rate = tally.done as f64 / seconds;
            let says = format!("{}: K={workers}: {rate:.1}/s, {} failed", target.name, tally.failures.len());
            progress(Progress::Step { scenario: scenario.name, says });
            absorb(&mut arms[i], &tally);
            if rate > 0.0 {
                points[i].push((workers as f64, rate));
            }
        }
    }
    let curves = plan.targets.iter().zip(points).map(|(t, points)| closed_curve(t, points)).collect();
    Ok(result(scenario, arms, curves))
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
        target: target.name.clone(),
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

/// One level: all workers start together, and what is done by the end of the window counts.
fn closed_level(target: &Target, slots: Vec<Slot>, seconds: f64) -> Result<(Tally, f64), BenchError> {
    let total = Mutex::new(Tally { done: 0, failures: Vec::new() });
    let window = Mutex::new((0_u64, 0_u64));
    let gate = Barrier::new(slots.len());
    let ready = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for mut slot in slots {
            let (total, gate, window, ready) = (&total, &gate, &window, &ready);
            scope.spawn(move || {
                let prepared = enter_view(target.cgroups);
                if prepared.is_ok() {
                    ready.fetch_add(1, Ordering::SeqCst);
                }
                if gate.wait().is_leader()
                    && let Ok(mut w) = window.lock()
                {
                    *w = (now_ns(), now_ns() + (seconds * 1e9) as u64);
                }
                gate.wait();
                let until = window.lock().map_or(0, |w| w.1);
                let mut mine = Tally { done: 0, failures: Vec::new() };
                while prepared.is_ok() && now_ns() < until && !sys::interrupted() {
                    match slot.run_once() {
                        // A container that ends after the window is not this window's work.
                        Ok(_) if now_ns() <= until => mine.done += 1,
                        Ok(_) => {}
                        Err(failure) => mine.failures.push(failure),
                    }
                }
                cgroup::tidy_bare(&slot.cgroup);
                if let Ok(mut t) = total.lock() {
                    t.done += mine.done;
                    t.failures.extend(mine.failures);
                }
            });
        }
    });
    sys::process::collect_orphans();
    if ready.load(Ordering::SeqCst) == 0 {
        return Err(BenchError::Plan(format!(
            "no worker for `{}` could set up its mount namespace",
            target.name
        )));
    }
    let tally = total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok((tally, seconds))
}

/// Open loop: the highest arrival rate that keeps the objective.
pub fn open_loop(
    session: &Session,
    plan: &BenchPlan,
    scenario: &'static Scenario,
    progress: &mut dyn FnMut(Progress),
) -> Result<ScenarioResult, BenchError> {
    let objective =
        Objective { quantile: plan.load.objective.0, limit_ns: (plan.load.objective.1 * 1e6) as u64 };
    let mut rng = Rng::for_purpose(plan.seed, "open-loop");
    let mut arms: Vec<ArmResult> = plan.targets.iter().map(|t| empty_arm(&t.name)).collect();
    let mut curves = Vec::new();
    for (i, target) in plan.targets.iter().enumerate() {
        let mut search = RateSearch::new(8.0, 0.1, 9)?;
        let mut points = Vec::new();
        let mut broken = String::from("nothing broke it");
        let mut trial = 0;
        while let Some(rate) = search.next_rate() {
            if sys::interrupted() {
                return Err(BenchError::Interrupted);
            }
            trial += 1;
            let count = ((rate * TRIAL_SECONDS) as usize).max(5);
            let starts = openloop::intended_starts(Arrivals::Poisson, rate, count, &mut rng)?;
            let slots = slots(session, plan, i, OPEN_WORKERS.min(count), &format!("o{trial}"))?;
            let (requests, failures) = open_trial(target, slots, &starts);
            let verdict = openloop::judge(&requests, objective);
            let quantile = quantile_ms(&requests, objective.quantile);
            let outcome = match verdict {
                Ok(_) => "borne".to_owned(),
                Err(why) => {
                    broken = format!("{rate:.1}/s broke it by {}", format!("{why:?}").to_lowercase());
                    format!("{why:?}").to_lowercase()
                }
            };
            let says = format!(
                "{}: {rate:.1}/s: p{:.0} {quantile:.1} ms: {outcome}",
                target.name,
                objective.quantile * 100.0
            );
            progress(Progress::Step { scenario: scenario.name, says });
            let done = requests.iter().filter(|r| r.ok).count() as u64;
            absorb(&mut arms[i], &Tally { done, failures });
            points.push((rate, quantile));
            search.record(verdict.is_ok());
        }
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let says = match search.borne() {
            Some(rate) => format!("bears {rate:.1}/s within the objective; {broken}"),
            None => format!("bears no rate tried; {broken}"),
        };
        curves.push(Curve {
            target: target.name.clone(),
            name: "throughput.open".into(),
            x: "arrivals/s".into(),
            y: format!("p{:.0} latency from the intended start, ms", objective.quantile * 100.0),
            points,
            usl: None,
            slope: None,
            says,
            alarm: false,
        });
    }
    Ok(result(scenario, arms, curves))
}

fn quantile_ms(requests: &[Request], p: f64) -> f64 {
    let latencies: Vec<f64> = requests.iter().map(|r| r.latency_ns() as f64 / 1e6).collect();
    plimsoll_bench_stats::quantile(&latencies, p).unwrap_or(0.0)
}

/// One trial: each worker takes the next arrival, waits for its intended start, and serves it.
fn open_trial(target: &Target, slots: Vec<Slot>, starts: &[u64]) -> (Vec<Request>, Vec<Failure>) {
    let next = AtomicUsize::new(0);
    let out = Mutex::new((Vec::new(), Vec::new()));
    let gate = Barrier::new(slots.len());
    let origin = Mutex::new(0_u64);
    std::thread::scope(|scope| {
        for mut slot in slots {
            let (next, out, gate, origin) = (&next, &out, &gate, &origin);
            scope.spawn(move || {
                let prepared = enter_view(target.cgroups).map_err(|e| Failure::new("view", e.to_string()));
                if gate.wait().is_leader()
                    && let Ok(mut at) = origin.lock()
                {
                    *at = now_ns();
                }
                gate.wait();
                let zero = origin.lock().map_or(0, |at| *at);
                while let Some(&intended_ns) = starts.get(next.fetch_add(1, Ordering::SeqCst)) {
                    sleep_until(zero + intended_ns);
                    let started_ns = now_ns() - zero;
                    let outcome = match &prepared {
                        Ok(()) => slot.run_once().map(|_| ()),
                        Err(failure) => Err(failure.clone()),
                    };
                    let done_ns = now_ns() - zero;
                    if let Ok(mut out) = out.lock() {
                        out.0.push(Request { intended_ns, started_ns, done_ns, ok: outcome.is_ok() });
                        out.1.extend(outcome.err());
                    }
                }
                cgroup::tidy_bare(&slot.cgroup);
            });
        }
    });
    sys::process::collect_orphans();
    let (mut requests, failures) = out.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    requests.sort_by_key(|r| r.intended_ns);
    (requests, failures)
}

/// Sleeps until a moment of `CLOCK_MONOTONIC`: this is the arrival process itself, not a wait for something.
fn sleep_until(at_ns: u64) {
    let now = now_ns();
    if at_ns > now {
        std::thread::sleep(std::time::Duration::from_nanos(at_ns - now));
    }
}

/// Slots for concurrent workers that share one state directory, as the users of one host do.
fn slots(
    session: &Session,
    plan: &BenchPlan,
    target: usize,
    count: usize,
    label: &str,
) -> Result<Vec<Slot>, BenchError> {
    let first = session.slot(&plan.targets[target], &format!("t{target}{label}-0"), plan.timeout)?;
    let shared = first.state.clone();
    let clock = session.infos[target].guest_clock;
    let mut slots = vec![first];
    for i in 1..count {
        slots.push(session.slot(&plan.targets[target], &format!("t{target}{label}-{i}"), plan.timeout)?);
    }
    for slot in &mut slots {
        slot.state.clone_from(&shared);
        slot.concurrent = true;
        slot.guest_clock = clock;
    }
    Ok(slots)
}

pub(crate) fn empty_arm(target: &str) -> ArmResult {
    ArmResult { target: target.to_owned(), attempts: 0, failures: Vec::new(), failed: 0, series: Vec::new() }
}

fn absorb(arm: &mut ArmResult, tally: &Tally) {
    arm.attempts += tally.done + tally.failures.len() as u64;
    arm.failed += tally.failures.len() as u64;
    let room = 100_usize.saturating_sub(arm.failures.len());
    arm.failures.extend(tally.failures.iter().take(room).map(|f| (0, f.clone())));
}

pub(crate) fn result(scenario: &Scenario, arms: Vec<ArmResult>, curves: Vec<Curve>) -> ScenarioResult {
    ScenarioResult {
        name: scenario.name.into(),
        title: scenario.title.into(),
        blocks: 0,
        arms,
        comparisons: Vec::new(),
        curves,
        closures: Vec::new(),
        cut_short: None,
    }
}
