//! Open loop: arrivals that do not wait for the runtime, and the highest rate it bears.

use crate::Progress;
use crate::error::BenchError;
use crate::load::{Tally, absorb, empty_arm, places, result};
use crate::place::{Place, Step};
use crate::plan::{BenchPlan, Interface, Target};
use crate::result::{ArmResult, Curve, ScenarioResult};
use crate::scenario::Scenario;
use crate::session::Session;
use crate::slot::Failure;
use crate::sys::{self, now_ns};
use plimsoll_bench_stats::Rng;
use plimsoll_bench_stats::openloop::{self, Arrivals, Objective, RateSearch, Request};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Workers: more requests than this cannot be under way at once.
const OPEN_WORKERS: usize = 32;
/// Length of one trial, seconds.
const TRIAL_SECONDS: f64 = 3.0;

/// The highest arrival rate that keeps the objective.
pub fn drive(
    session: &Session,
    plan: &BenchPlan,
    scenario: &'static Scenario,
    progress: &mut dyn FnMut(Progress),
) -> Result<ScenarioResult, BenchError> {
    let objective =
        Objective { quantile: plan.load.objective.0, limit_ns: (plan.load.objective.1 * 1e6) as u64 };
    let mut rng = Rng::for_purpose(plan.seed, "open-loop");
    let mut arms: Vec<ArmResult> = plan.targets.iter().map(|t| empty_arm(t.name())).collect();
    let mut curves = Vec::new();
    for (i, target) in plan.targets.iter().enumerate() {
        let mut search = RateSearch::new(8.0, 0.1, 9)?;
        let mut points = Vec::new();
        let mut broken = String::from("nothing broke it");
        let mut trial = 0;
        let began = Instant::now();
        while let Some(rate) = search.next_rate() {
            if began.elapsed() > plan.budget / plan.targets.len() as u32 {
                broken.push_str("; the search ended with the time budget");
                break;
            }
            if sys::interrupted() {
                return Err(BenchError::Interrupted);
            }
            trial += 1;
            let count = ((rate * TRIAL_SECONDS) as usize).max(5);
            let starts = openloop::intended_starts(Arrivals::Poisson, rate, count, &mut rng)?;
            let places = places(session, plan, i, OPEN_WORKERS.min(count), &format!("o{trial}"))?;
            let (requests, failures) = open_trial(target, places, &starts);
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
                target.name(),
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
            target: target.name().to_owned(),
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
fn open_trial(target: &Target, places: Vec<Box<dyn Place>>, starts: &[u64]) -> (Vec<Request>, Vec<Failure>) {
    let next = AtomicUsize::new(0);
    let out = Mutex::new((Vec::new(), Vec::new()));
    let gate = Barrier::new(places.len());
    let origin = Mutex::new(0_u64);
    std::thread::scope(|scope| {
        for mut place in places {
            let (next, out, gate, origin) = (&next, &out, &gate, &origin);
            scope.spawn(move || {
                let prepared = place.enter().map_err(|e| Failure::new("view", e.to_string()));
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
                        Ok(()) => place.perform(Step::Cycle).map(|_| ()),
                        Err(failure) => Err(failure.clone()),
                    };
                    let done_ns = now_ns() - zero;
                    if let Ok(mut out) = out.lock() {
                        out.0.push(Request { intended_ns, started_ns, done_ns, ok: outcome.is_ok() });
                        out.1.extend(outcome.err());
                    }
                }
                place.tidy();
            });
        }
    });
    if target.interface() == Interface::Oci {
        sys::process::collect_orphans();
    }
    let (mut requests, failures) = out.into_inner().unwrap_or_else(PoisonError::into_inner);
    requests.sort_by_key(|r| r.intended_ns);
    (requests, failures)
}

/// Sleeps until a moment of `CLOCK_MONOTONIC`: this is the arrival process itself, not a wait for something.
fn sleep_until(at_ns: u64) {
    let now = now_ns();
    if at_ns > now {
        std::thread::sleep(Duration::from_nanos(at_ns - now));
    }
}
