//! Churn: what many cycles leave behind.
//!
//! Countable things of our own (processes, mounts, cgroups, files) must come back to exactly what they
//! were: any growth is a leak, without statistics. Bytes are judged by the slope over the batches.

use crate::cgroup;
use crate::error::BenchError;
use crate::load::{empty_arm, result};
use crate::place::{Place, Residue, Step};
use crate::plan::BenchPlan;
use crate::result::{ArmResult, Curve, ScenarioResult};
use crate::scenario::Scenario;
use crate::session::Session;
use crate::slot::{Failure, Slot};
use crate::{Progress, sys};
use plimsoll_bench_stats::Rng;
use plimsoll_bench_stats::slope::{SlopeConfig, theil_sen};
use std::fs;
use std::path::Path;
use std::time::Instant;

/// Batches that only warm up: caches, first-use files.
const WARM_UP: usize = 3;
/// Batches that give a slope.
const ENOUGH: usize = 8;

/// Runs the churn scenario, batch by batch, targets taking turns.
pub fn drive(
    session: &Session,
    plan: &BenchPlan,
    scenario: &'static Scenario,
    progress: &mut dyn FnMut(Progress),
) -> Result<ScenarioResult, BenchError> {
    let (cycles, batches) = plan.load.churn;
    let count = plan.targets.len();
    let cycles = fitting(session, plan, cycles.max(1), count)?;
    let mut arms: Vec<ArmResult> = plan.targets.iter().map(|t| empty_arm(t.name())).collect();
    let mut readings: Vec<Vec<Vec<Residue>>> = vec![Vec::new(); count];
    let began = Instant::now();
    let mut cut_short = None;
    for batch in 0..batches + WARM_UP {
        // A slope needs some batches; beyond those the budget rules.
        if batch >= WARM_UP + 4 && began.elapsed() > plan.budget {
            cut_short =
                Some(format!("the time budget of {:?} is used up after {batch} batches", plan.budget));
            break;
        }
        for (i, arm) in session.arms.iter().take(count).enumerate() {
            if sys::interrupted() {
                return Err(BenchError::Interrupted);
            }
            let (failures, counts) = arm.call(move |place| batch_of(place, cycles))?;
            arms[i].attempts += cycles as u64;
            arms[i].failed += failures.len() as u64;
            arms[i].failures.extend(failures.into_iter().map(|f| (batch as u64, f)).take(5));
            if batch >= WARM_UP {
                readings[i].push(counts);
            }
        }
    }
    let mut rng = Rng::for_purpose(plan.seed, "churn");
    let mut curves = Vec::new();
    for (target, readings) in plan.targets.iter().zip(&readings) {
        for (k, first) in readings.first().into_iter().flatten().enumerate() {
            let points: Vec<(f64, f64)> = readings
                .iter()
                .enumerate()
                .filter_map(|(b, r)| Some(((b * cycles) as f64, r.get(k)?.value)))
                .collect();
            curves.push(curve(target.name(), first.name, first.y, first.exact, points, &mut rng));
        }
        let leaks: Vec<&str> =
            curves.iter().filter(|c| c.target == target.name() && c.alarm).map(|c| c.name.as_str()).collect();
        let what = if leaks.is_empty() {
            "nothing left behind".to_owned()
        } else {
            format!("leaks: {}", leaks.join(", "))
        };
        progress(Progress::Step { scenario: scenario.name, says: format!("{}: {what}", target.name()) });
    }
    let mut out = result(scenario, arms, curves);
    out.cut_short = cut_short;
    Ok(out)
}

/// Cycles per batch that leave room for enough batches of every target in the budget: slow targets get fewer, never
/// less than two.
fn fitting(session: &Session, plan: &BenchPlan, wanted: usize, count: usize) -> Result<usize, BenchError> {
    let clock = Instant::now();
    for arm in session.arms.iter().take(count) {
        // A failure here shows again in the batches, where it is counted.
        arm.call(|place| place.perform(Step::ColdStart))?.ok();
    }
    let all = clock.elapsed().as_secs_f64() * (WARM_UP + ENOUGH) as f64;
    let fit = (plan.budget.as_secs_f64() / all.max(1e-9)) as usize;
    Ok(fit.clamp(2, wanted.max(2)))
}

fn curve(target: &str, name: &str, y: &str, exact: bool, points: Vec<(f64, f64)>, rng: &mut Rng) -> Curve {
    let (x, values): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    let slope = theil_sen(&x, &values, SlopeConfig::default(), rng).ok();
    let grown = points.last().map_or(0.0, |p| p.1) - points.first().map_or(0.0, |p| p.1);
    let growing = slope.is_some_and(|s| s.grows(0.0));
    let alarm = growing || (exact && grown > 0.0 && points.len() >= 2);
    let says = if alarm {
        let per = slope.map_or(0.0, |s| s.slope);
        format!("grows by {per:.3} per cycle ({grown:+.0} over the run)")
    } else {
        format!("does not grow ({grown:+.0} over the run)")
    };
    Curve {
        target: target.to_owned(),
        name: name.to_owned(),
        x: "cycles".into(),
        y: y.to_owned(),
        points,
        usl: None,
        slope,
        says,
        alarm,
    }
}

/// One batch, and what is there after it.
fn batch_of(place: &mut dyn Place, cycles: usize) -> (Vec<Failure>, Vec<Residue>) {
    let failures = (0..cycles)
        .take_while(|_| !sys::interrupted())
        .filter_map(|_| place.perform(Step::ColdStart).err())
        .collect();
    (failures, place.residue())
}

/// What an OCI runtime could leave behind.
pub(crate) fn residue(slot: &Slot) -> Vec<Residue> {
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default().lines().count();
    let mut files = (0, 0);
    for dir in [&slot.state, slot.scratch()] {
        walk(dir, &mut files);
    }
    let parent = slot.cgroup.rsplit_once('/').map_or("", |(parent, _)| parent);
    let of = |name, y, exact, value| Residue { name, y, exact, value };
    vec![
        of("churn.processes", "processes left", true, children() as f64),
        of("churn.mounts", "mounts seen by the runtime", true, mounts as f64),
        of("churn.cgroups", "cgroups below the run's own", true, cgroup::count_below(parent) as f64),
        of("churn.files", "files in the runtime's directories", true, files.0 as f64),
        of("churn.kib", "KiB in the runtime's directories", false, files.1 as f64 / 1024.0),
    ]
}

/// Living children of this process, the floor server among them: its number is constant.
fn children() -> usize {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks
        .filter_map(|t| fs::read_to_string(t.path().join("children")).ok())
        .map(|text| text.split_whitespace().count())
        .sum()
}

/// Number and bytes of the files below a directory.
fn walk(dir: &Path, total: &mut (u64, u64)) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        total.0 += 1;
        if meta.is_dir() {
            walk(&entry.path(), total);
        } else {
            total.1 += meta.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(values: &[f64], exact: bool) -> bool {
        let points = values.iter().enumerate().map(|(i, v)| (10.0 * i as f64, *v)).collect();
        curve("t", "churn.files", "files", exact, points, &mut Rng::new(1)).alarm
    }

    #[test]
    fn any_countable_growth_is_a_leak() {
        assert!(judged(&[3.0, 3.0, 3.0, 4.0], true));
        assert!(judged(&[3.0, 13.0, 23.0, 33.0, 43.0], true));
        assert!(!judged(&[3.0, 3.0, 3.0, 3.0], true));
    }

    #[test]
    fn bytes_are_judged_by_their_slope() {
        assert!(!judged(&[100.0, 90.0, 104.0, 96.0, 100.0, 92.0, 101.0, 97.0, 99.0], false));
        assert!(judged(&[100.0, 164.0, 228.0, 292.0, 356.0, 420.0], false));
    }

    #[test]
    fn files_are_counted_with_their_bytes() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/b"), "12345").unwrap();
        let mut total = (0, 0);
        walk(dir.path(), &mut total);
        assert_eq!(total, (2, 5));
    }
}
