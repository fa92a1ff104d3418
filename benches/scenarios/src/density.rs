//! Density: how many containers live at once in a capped cgroup, what each costs, and what ends the ramp.
//!
//! The cap makes it safe: the ramp runs into the limit of its own cgroup, not into the host's.

use crate::Progress;
use crate::arm::Arm;
use crate::cgroup::Parent;
use crate::environment::meminfo_kib;
use crate::error::BenchError;
use crate::load::{empty_arm, result};
use crate::place::{Place, Reading, Step};
use crate::plan::{BenchPlan, Interface, Target};
use crate::result::{ArmResult, Curve, ScenarioResult};
use crate::scenario::Scenario;
use crate::session::Session;
use crate::slot::{Failure, Sample};
use crate::sys::{self, process};
use plimsoll_bench_stats::slope::{Slope, SlopeConfig, theil_sen};
use plimsoll_bench_stats::{Rng, closure};
use std::time::Instant;

/// Parts of the host's memory that containers consume, as /proc/meminfo names them.
const PARTS: &[&str] =
    &["AnonPages", "Shmem", "SReclaimable", "SUnreclaim", "KernelStack", "PageTables", "Percpu"];
/// Starts whose median is held against the objective.
const RECENT: usize = 5;
/// Processes per container that the cap allows for, the runtime's own included.
const PIDS_PER_CONTAINER: u64 = 64;

/// What is read at `n` live containers.
#[derive(Debug, Clone, Default)]
struct Mark {
    n: f64,
    /// `MemAvailable` with a minus, so that a cost is positive, KiB.
    used_kib: f64,
    parts_kib: Vec<f64>,
    /// Charged to the capped cgroup, KiB; 0 where memory is not controlled.
    cgroup_kib: f64,
    /// What the place itself reads.
    own: Vec<Reading>,
}

/// A curve's points: live containers and a value.
type Points = Vec<(f64, f64)>;

/// A ramp for one target.
struct Ramp {
    starts: Vec<(f64, f64)>,
    marks: Vec<Mark>,
    failures: Vec<Failure>,
    end: String,
}

/// Runs the density scenario for each target in turn.
pub fn drive(
    session: &Session,
    plan: &BenchPlan,
    scenario: &'static Scenario,
    progress: &mut dyn FnMut(Progress),
) -> Result<ScenarioResult, BenchError> {
    let (mut arms, mut curves, mut closures) = (Vec::new(), Vec::new(), Vec::new());
    for (i, target) in plan.targets.iter().enumerate() {
        let parent = Parent::claim(format!("{}/d{i}", session.parent.path()))
            .map_err(BenchError::system("claim a cgroup"))?;
        let capped = parent
            .cap(plan.load.density_memory_mib << 20, PIDS_PER_CONTAINER * plan.load.density as u64)
            .map_err(BenchError::system("cap the density scenario's memory"))?;
        if !capped && plan.load.density > 100 {
            let text = "this host cannot cap memory in a cgroup, and density beyond 100 containers is not run without a cap";
            return Err(BenchError::Plan(text.into()));
        }
        let ramp = ramp(session, plan, i, &parent)?;
        if sys::interrupted() {
            return Err(BenchError::Interrupted);
        }
        let says = format!("{}: {} live; {}", target.name(), ramp.starts.len(), ramp.end);
        progress(Progress::Step { scenario: scenario.name, says });
        let mut rng = Rng::for_purpose(plan.seed, "density");
        curves.extend(target_curves(target, &ramp, &mut rng));
        closures.extend(memory_closure(target, &ramp, &mut rng));
        arms.push(ArmResult {
            attempts: (ramp.starts.len() + ramp.failures.len()) as u64,
            failed: ramp.failures.len() as u64,
            failures: ramp.failures.into_iter().map(|f| (0, f)).collect(),
            ..empty_arm(target.name())
        });
    }
    against_baseline(&plan.targets, &mut curves);
    let mut out = result(scenario, arms, curves);
    out.closures = closures;
    Ok(out)
}

/// Starts containers until the cap, the objective, the budget or a failure ends the ramp; then removes all.
fn ramp(session: &Session, plan: &BenchPlan, target: usize, parent: &Parent) -> Result<Ramp, BenchError> {
    let spec = &plan.targets[target];
    let keeper = session.place(spec, &format!("d{target}-k"), Some(parent.path()), plan.timeout)?;
    let arm = Arm::start(keeper, plan.fifo)?;
    let guest_clock = session.infos[target].guest_clock;
    let mut ramp = Ramp {
        starts: Vec::new(),
        marks: Vec::new(),
        failures: Vec::new(),
        end: "the number asked for is reached".into(),
    };
    let mut live: Vec<Box<dyn Place>> = Vec::new();
    let began = Instant::now();
    let every = (plan.load.density / 20).max(1);
    ramp.marks.push(read(&arm, parent, 0)?);
    for n in 1..=plan.load.density {
        if sys::interrupted() {
            ramp.end = "interrupted".into();
            break;
        }
        // Each target has its share of the scenario's time.
        if began.elapsed() > plan.budget / plan.targets.len() as u32 {
            ramp.end = format!("the time budget of {:?} is used up", plan.budget);
            break;
        }
        let name = format!("d{target}-{n}");
        let (place, outcome) = settle(&arm, name, guest_clock)?
            .map_err(|f| BenchError::Target { target: spec.name().to_owned(), reason: f.to_string() })?;
        match outcome {
            Ok(sample) => {
                let ms = sample.get("start.entrypoint").unwrap_or(0.0);
                ramp.starts.push((n as f64, ms));
                live.push(place);
                if let Some(median) = breach(&ramp.starts, plan.load.objective.1) {
                    ramp.end = format!(
                        "the last {RECENT} starts up to {n} took {median:.0} ms at the median, more than the objective of {:.0} ms",
                        plan.load.objective.1
                    );
                    break;
                }
            }
            Err(failure) => {
                ramp.end = format!("start {n} failed: {failure}{}", pressure(parent));
                ramp.failures.push(failure);
                break;
            }
        }
        if n % every == 0 {
            ramp.marks.push(read(&arm, parent, n)?);
        }
    }
    // The runtime must see the same cgroups when it removes the containers.
    let leftover = arm.call(move |_| {
        let failures: Vec<Failure> =
            live.iter_mut().rev().filter_map(|place| place.perform(Step::Dismiss).err()).collect();
        for place in &mut live {
            place.tidy();
        }
        drop(live);
        failures
    })?;
    ramp.failures.extend(leftover);
    if plan.interface() == Interface::Oci {
        process::collect_orphans();
    }
    Ok(ramp)
}

/// The median of the latest starts where it is beyond the objective. One slow start alone is the host's weather.
fn breach(starts: &[(f64, f64)], limit_ms: f64) -> Option<f64> {
    let recent: Vec<f64> = starts.iter().rev().take(RECENT).map(|s| s.1).collect();
    let median = plimsoll_bench_stats::median(&recent).ok()?;
    (recent.len() == RECENT && median > limit_ms).then_some(median)
}

/// One more container that stays, in a place of its own; an inner error means that there is not even a place.
type Settled = Result<(Box<dyn Place>, Result<Sample, Failure>), Failure>;

fn settle(arm: &Arm, name: String, guest_clock: bool) -> Result<Settled, BenchError> {
    arm.call(move |keeper| {
        let mut place = keeper.sibling(&name).map_err(Failure::io("prepare"))?;
        place.set_guest_clock(guest_clock);
        let outcome = place.perform(Step::Settle);
        Ok((place, outcome))
    })
}

/// What the capped cgroup says about a failed start.
fn pressure(parent: &Parent) -> String {
    parent.memory_bytes().map_or_else(String::new, |b| format!(" (the cgroup held {} MiB)", b >> 20))
}

fn read(arm: &Arm, parent: &Parent, n: usize) -> Result<Mark, BenchError> {
    let own = arm.call(|place| place.readings())?;
    let kib = |name: &&str| meminfo_kib(name).unwrap_or(0) as f64;
    Ok(Mark {
        n: n as f64,
        used_kib: -kib(&"MemAvailable"),
        parts_kib: PARTS.iter().map(kib).collect(),
        cgroup_kib: parent.memory_bytes().unwrap_or(0) as f64 / 1024.0,
        own,
    })
}

fn slope_of(points: &[(f64, f64)], rng: &mut Rng) -> Option<Slope> {
    let (x, y): (Vec<f64>, Vec<f64>) = points.iter().copied().filter(|p| p.1.is_finite()).unzip();
    theil_sen(&x, &y, SlopeConfig::default(), rng).ok()
}

fn target_curves(target: &Target, ramp: &Ramp, rng: &mut Rng) -> Vec<Curve> {
    let base = ramp.marks.first().map_or(0.0, |m| m.used_kib);
    let of = |value: &dyn Fn(&Mark) -> f64| ramp.marks.iter().map(|m| (m.n, value(m))).collect::<Points>();
    let mut all: Vec<(&str, &str, Points)> = vec![
        ("density.start", "start to entrypoint, ms", ramp.starts.clone()),
        ("density.cgroup", "memory in the cgroup, KiB", of(&|m| m.cgroup_kib)),
        ("density.marginal", "memory the host lost, KiB", of(&|m| m.used_kib - base)),
    ];
    for (i, first) in ramp.marks.first().into_iter().flat_map(|m| &m.own).enumerate() {
        all.push((first.name, first.y, of(&|m| m.own.get(i).map_or(f64::NAN, |r| r.value))));
    }
    // A reading that failed is left out; it could not be written as JSON either.
    for (_, _, points) in &mut all {
        points.retain(|p| p.1.is_finite());
    }
    all.into_iter()
        .map(|(name, y, points)| {
            let slope = slope_of(&points, rng);
            let per = slope.map_or_else(
                || "too few points for a slope".to_owned(),
                |s| match (s.interval.low, s.interval.high) {
                    (Some(l), Some(h)) => format!("{:+.3} per container ({l:.3} to {h:.3})", s.slope),
                    _ => format!("{:+.3} per container", s.slope),
                },
            );
            Curve {
                target: target.name().to_owned(),
                name: name.into(),
                x: "live containers".into(),
                y: y.into(),
                points,
                usl: None,
                slope,
                says: format!("{per}; {} live, {}", ramp.starts.len(), ramp.end),
                alarm: false,
            }
        })
        .collect()
}

/// A cost per container that lies above the baseline's by more than a tenth, intervals and all, is a
/// regression. The host's memory is left out: it is everybody's.
fn against_baseline(targets: &[Target], curves: &mut [Curve]) {
    let interval = |c: &Curve| c.slope.map(|s| s.interval);
    let base: Vec<(String, Option<f64>)> = curves
        .iter()
        .filter(|c| c.target == targets[0].name() && c.name != "density.marginal")
        .map(|c| (c.name.clone(), interval(c).and_then(|i| i.high)))
        .collect();
    for curve in curves.iter_mut().filter(|c| c.target != targets[0].name()) {
        let limit = base.iter().find(|(name, _)| *name == curve.name).and_then(|(_, high)| *high);
        if let (Some(limit), Some(low)) = (limit, interval(curve).and_then(|i| i.low))
            && low > limit.max(0.0) * 1.1
            && low > 1e-6
        {
            curve.alarm = true;
            curve.says = format!("grows faster than {}'s: {}", targets[0].name(), curve.says);
        }
    }
}

/// The slopes of the host's memory classes against the slope of what the host lost.
fn memory_closure(target: &Target, ramp: &Ramp, rng: &mut Rng) -> Option<(String, String, closure::Closure)> {
    let lost = slope_of(&ramp.marks.iter().map(|m| (m.n, m.used_kib)).collect::<Vec<_>>(), rng)?;
    let whole = lost.slope;
    // What the host lost must itself be known to a tenth: on a busy host other programs' memory drowns it,
    // and then there is nothing to close against.
    let half = (lost.interval.high? - lost.interval.low?) / 2.0;
    if half.is_nan() || half > 0.1 * whole {
        return None;
    }
    let parts: Vec<f64> = (0..PARTS.len())
        .filter_map(|i| {
            let points: Vec<(f64, f64)> =
                ramp.marks.iter().map(|m| (m.n, *m.parts_kib.get(i).unwrap_or(&0.0))).collect();
            Some(slope_of(&points, rng)?.slope)
        })
        .collect();
    let title = "memory classes = memory the host lost, per container".to_owned();
    Some((target.name().to_owned(), title, closure::check(&parts, whole, 0.10).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_start_is_no_breach_and_five_are() {
        let starts = |ms: &[f64]| ms.iter().enumerate().map(|(i, v)| (i as f64, *v)).collect::<Points>();
        assert!(breach(&starts(&[10.0, 900.0, 10.0, 10.0, 10.0]), 500.0).is_none());
        assert!(breach(&starts(&[900.0; 4]), 500.0).is_none(), "too few to say");
        assert!(breach(&starts(&[10.0, 900.0, 901.0, 902.0, 10.0, 903.0]), 500.0).is_some());
    }
}
