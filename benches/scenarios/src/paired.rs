//! The driver of paired scenarios: block after block, all arms in random order, until the gates decide.

use crate::error::BenchError;
use crate::judge::Judge;
use crate::metric::{METRICS, Metric};
use crate::place::Step;
use crate::plan::{BenchPlan, Interface};
use crate::result::{ArmResult, ScenarioResult, Series};
use crate::scenario::{Paired, Scenario};
use crate::session::Session;
use crate::slot::{Failure, Sample, parse_stamp};
use crate::{Progress, sys};
use plimsoll_bench_stats::{BlockOrder, closure, describe, outlier};
use std::time::{Duration, Instant};

/// Blocks after which the noise is known well enough to say what can be seen today.
const FORECAST_AFTER: u64 = 8;
/// At most so many failures are kept word by word.
const KEPT_FAILURES: usize = 100;

/// The values of one arm while a scenario runs.
struct Record {
    target: String,
    attempts: u64,
    failed: u64,
    failures: Vec<(u64, Failure)>,
    blocks: Vec<Option<Sample>>,
}

/// Runs a paired scenario to its end.
pub fn drive(
    session: &mut Session,
    plan: &BenchPlan,
    scenario: &'static Scenario,
    paired: &Paired,
    progress: &mut dyn FnMut(Progress),
) -> Result<ScenarioResult, BenchError> {
    let names: Vec<String> = names(plan);
    let mut judges = judges(plan, scenario, paired, &names)?;
    let mut records: Vec<Record> = names.iter().map(|name| Record::new(name)).collect();
    let mut order = BlockOrder::new(plan.seed, names.len() + usize::from(paired.floor));
    let began = Instant::now();
    // A lone target is shown, not judged: enough blocks for a median with an interval.
    let solo_blocks = 50;
    let mut cut_short = None;
    let mut block = 0;
    loop {
        if sys::interrupted() {
            return Err(BenchError::Interrupted);
        }
        if began.elapsed() > plan.budget {
            cut_short = Some(format!("the time budget of {:?} is used up", plan.budget));
            break;
        }
        let done = if judges.is_empty() { block >= solo_blocks } else { judges.iter().all(Judge::finished) };
        if done {
            break;
        }
        let mut outcomes = one_block(session, plan.interface(), paired, &mut order, block)?;
        for (record, outcome) in records.iter_mut().zip(&outcomes) {
            record.push(block, outcome);
        }
        let baseline = outcomes.remove(0);
        for (judge, candidate) in judges.iter_mut().zip(&outcomes) {
            judge.push(&baseline, candidate);
        }
        block += 1;
        if block == FORECAST_AFTER {
            for (judge, name) in judges.iter().zip(&names[1..]) {
                for line in judge.forecast()? {
                    progress(Progress::Note(format!("{name}: at today's noise, {line}")));
                }
            }
        }
        report(progress, scenario, &judges, &names, block, plan.budget.saturating_sub(began.elapsed()));
    }
    for arm in &session.arms {
        arm.call(|place| place.perform(Step::Dismiss))?.ok();
    }
    let closures = closures(&records);
    let mut arms: Vec<ArmResult> = records.into_iter().map(Record::finish).collect();
    arms.truncate(plan.targets.len());
    let comparisons = judges.into_iter().map(Judge::finish).collect::<Result<_, _>>()?;
    Ok(ScenarioResult {
        name: scenario.name.into(),
        title: scenario.title.into(),
        blocks: block,
        arms,
        comparisons,
        curves: Vec::new(),
        closures,
        cut_short,
    })
}

fn names(plan: &BenchPlan) -> Vec<String> {
    let mut names: Vec<String> = plan.targets.iter().map(|t| t.name().to_owned()).collect();
    if plan.sentinel {
        names.push(format!("{}'", plan.targets[0].name()));
    }
    names
}

fn judges(
    plan: &BenchPlan,
    scenario: &Scenario,
    paired: &Paired,
    names: &[String],
) -> Result<Vec<Judge>, BenchError> {
    let decides = plan.decides(paired.decides(plan.interface()));
    let earlier = plan.continues.as_ref().and_then(|run| run.scenario(scenario.name));
    names[1..]
        .iter()
        .enumerate()
        .map(|(i, name)| {
            let sentinel = plan.sentinel && i + 2 == names.len();
            let before = earlier
                .and_then(|s| s.comparisons.iter().find(|c| c.candidate == *name && c.baseline == names[0]));
            Judge::new(
                (&names[0], name),
                sentinel,
                &decides,
                &plan.profile,
                plan.seed,
                plan.questions(),
                before,
            )
            .map_err(BenchError::from)
        })
        .collect()
}

/// One lifecycle of every arm in the block's random order, the floor among them.
fn one_block(
    session: &mut Session,
    interface: Interface,
    paired: &Paired,
    order: &mut BlockOrder,
    block: u64,
) -> Result<Vec<Result<Sample, Failure>>, BenchError> {
    let arms = session.arms.len();
    if paired.resident.contains(&interface) && block.is_multiple_of(paired.renew_every) {
        for arm in &session.arms {
            // A failure here shows again in the lifecycle, where it is counted.
            for step in [Step::Dismiss, Step::Settle] {
                arm.call(move |place| place.perform(step))?.ok();
            }
        }
    }
    let step = paired.step;
    let mut outcomes: Vec<Option<Result<Sample, Failure>>> = vec![None; arms];
    let mut floor = None;
    for place in order.next_block() {
        if place < arms {
            outcomes[place] = Some(session.arms[place].call(move |place| place.perform(step))?);
        } else {
            floor = floor_ms(session);
        }
    }
    let missing = || Err(Failure::new("driver", "the arm was not run in this block"));
    let mut outcomes: Vec<Result<Sample, Failure>> =
        outcomes.into_iter().map(|o| o.unwrap_or_else(missing)).collect();
    if let Some(floor) = floor {
        for sample in outcomes.iter_mut().flatten() {
            sample.set("start.floor", floor);
            if let Some(start) = sample.get("start.entrypoint") {
                sample.set("start.x-floor", start / floor);
            }
        }
    }
    Ok(outcomes)
}

/// The floor of this block in milliseconds. A floor that stops working is dropped with a note.
fn floor_ms(session: &mut Session) -> Option<f64> {
    let answer = session.floor.as_ref()?.lifecycle(5_000);
    match answer {
        Ok(Some((reply, output))) if reply.code == 0 && reply.errno == 0 => {
            let stamp = parse_stamp(&String::from_utf8_lossy(&output))?;
            (stamp > reply.asked_ns).then(|| (stamp - reply.asked_ns) as f64 / 1e6)
        }
        _ => {
            session.floor = None;
            session.notes.push("the floor stopped answering and was left out from there on".into());
            None
        }
    }
}

fn report(
    progress: &mut dyn FnMut(Progress),
    scenario: &'static Scenario,
    judges: &[Judge],
    names: &[String],
    block: u64,
    at_most: Duration,
) {
    let verdicts = judges
        .iter()
        .zip(&names[1..])
        .flat_map(|(judge, name)| judge.so_far().into_iter().map(|(m, v)| (name.clone(), m, v)))
        .collect();
    progress(Progress::Block { scenario: scenario.name, block, verdicts, at_most });
}

/// Create plus start must be the whole way to the API's return; the rest is the harness's own time. All
/// phases must be the whole lifecycle.
fn closures(records: &[Record]) -> Vec<(String, String, closure::Closure)> {
    let mut out = Vec::new();
    for record in records {
        let median = |name: &str| {
            let values: Vec<f64> = record.blocks.iter().flatten().filter_map(|s| s.get(name)).collect();
            plimsoll_bench_stats::median(&values).ok()
        };
        for (title, parts, whole) in [
            ("create + start = start.api", &["phase.create", "phase.start"][..], "start.api"),
            (
                "sandbox + create + start = start.api",
                &["phase.sandbox", "phase.create", "phase.start"],
                "start.api",
            ),
            (
                "all phases = lifecycle",
                &[
                    "phase.sandbox",
                    "phase.create",
                    "phase.start",
                    "phase.exit",
                    "phase.delete",
                    "phase.sandbox-stop",
                    "phase.sandbox-remove",
                ],
                "lifecycle.wall",
            ),
            (
                "create + start + exit + delete = lifecycle",
                &["phase.create", "phase.start", "phase.exit", "phase.delete"][..],
                "lifecycle.wall",
            ),
        ] {
            // The phases of a pod are not those of a container alone.
            if median("phase.sandbox").is_some() != parts.contains(&"phase.sandbox") {
                continue;
            }
            // Ratios within each lifecycle, then their median: sums of medians do not close.
            let ratios: Vec<f64> = record
                .blocks
                .iter()
                .flatten()
                .filter_map(|s| {
                    let sum = parts.iter().map(|p| s.get(p)).sum::<Option<f64>>()?;
                    Some(sum / s.get(whole)?)
                })
                .collect();
            if let (Ok(ratio), Some(whole)) = (plimsoll_bench_stats::median(&ratios), median(whole))
                && let Ok(check) = closure::check(&[ratio * whole], whole, 0.01)
            {
                out.push((record.target.clone(), title.to_owned(), check));
            }
        }
    }
    out
}

impl Record {
    fn new(target: &str) -> Self {
        Self { target: target.to_owned(), attempts: 0, failed: 0, failures: Vec::new(), blocks: Vec::new() }
    }

    fn push(&mut self, block: u64, outcome: &Result<Sample, Failure>) {
        self.attempts += 1;
        match outcome {
            Ok(sample) => self.blocks.push(Some(sample.clone())),
            Err(failure) => {
                self.failed += 1;
                if self.failures.len() < KEPT_FAILURES {
                    self.failures.push((block, failure.clone()));
                }
                self.blocks.push(None);
            }
        }
    }

    fn finish(self) -> ArmResult {
        let series = METRICS.iter().filter_map(|m| series(m, &self.blocks)).collect();
        ArmResult {
            target: self.target,
            attempts: self.attempts,
            failed: self.failed,
            failures: self.failures,
            series,
        }
    }
}

fn series(metric: &Metric, blocks: &[Option<Sample>]) -> Option<Series> {
    let samples: Vec<Option<f64>> =
        blocks.iter().map(|s| s.as_ref().and_then(|s| s.get(metric.name))).collect();
    let values: Vec<f64> = samples.iter().flatten().copied().collect();
    if values.is_empty() {
        return None;
    }
    Some(Series {
        metric: metric.name.into(),
        unit: metric.unit,
        direction: metric.direction,
        samples,
        summary: describe::summary(&values).ok(),
        outliers: outlier::classify(&values).ok(),
    })
}
