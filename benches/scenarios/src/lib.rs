//! Benchmark scenarios and their driver loop.
//!
//! The method in short: all arms run once per block in random order, so that the weather of the host hits
//! them alike; log ratios of the pairs are judged by sequential gates that may be looked at after each
//! block; a lifecycle that is not verified (exit code, output, clean-up) never enters a number; and where
//! the pairs do not decide, the answer is "cannot tell". See `benches/README.md`.
//!
//! [`run`] must be called from a process that has no other children: it becomes a child subreaper and
//! collects every orphan. It forks its floor server before it starts threads.

pub mod arm;
pub mod bundle;
pub mod cgroup;
pub mod churn;
pub mod closed_loop;
pub mod cold;
pub mod cri;
pub mod density;
pub mod environment;
pub mod error;
pub mod export;
pub mod history;
pub mod inject;
pub mod inside;
pub mod judge;
pub mod lifecycle;
pub mod load;
mod memory;
pub mod metric;
pub mod open_loop;
pub mod paired;
pub mod place;
pub mod plan;
pub mod result;
pub mod scenario;
pub mod selftest;
pub mod session;
pub mod slot;
pub mod sys;
pub mod validate;

pub use error::BenchError;
pub use plan::{BenchPlan, CgroupView, CriTarget, Interface, LoadPlan, OciTarget, Target};
pub use result::BenchRun;

use environment::Noise;
use plimsoll_bench_stats::gate::Verdict;
use result::{Comparison, SCHEMA};
use scenario::{Kind, SCENARIOS};
use session::Session;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What a run tells while it goes on.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// A scenario begins.
    Scenario {
        /// Its name.
        name: &'static str,
        /// Its place, from 1.
        index: usize,
        /// Of how many.
        of: usize,
    },
    /// A block of a paired scenario is done.
    Block {
        /// The scenario.
        scenario: &'static str,
        /// Blocks done.
        block: u64,
        /// Verdicts so far: candidate, metric, verdict.
        verdicts: Vec<(String, &'static str, Verdict)>,
        /// At most so much longer.
        at_most: Duration,
    },
    /// A step of a load scenario is done.
    Step {
        /// The scenario.
        scenario: &'static str,
        /// What was found.
        says: String,
    },
    /// Something a reader should know.
    Note(String),
}

/// Runs a whole plan. Everything it creates is removed before it returns, also on errors.
pub fn run(plan: &BenchPlan, progress: &mut dyn FnMut(Progress)) -> Result<BenchRun, BenchError> {
    let clock = Instant::now();
    let started_unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let before = Noise::now();
    let mut session = Session::open(plan)?;
    let mut result = BenchRun {
        schema: SCHEMA.to_owned(),
        started_unix,
        seconds: 0.0,
        seed: plan.seed,
        replay: plan.replay.clone(),
        key: session.key.clone(),
        noise: (before.clone(), before),
        profile: plan.profile,
        load: plan.load.clone(),
        targets: session.infos.clone(),
        scenarios: Vec::new(),
        void: None,
        drifts: Vec::new(),
        notes: std::mem::take(&mut session.notes),
    };
    if let Some(earlier) = &plan.continues {
        may_continue(earlier, &result)?;
    }
    for (i, name) in plan.scenarios.iter().enumerate() {
        let Some(scenario) = SCENARIOS.iter().find(|s| s.name == name) else { continue };
        progress(Progress::Scenario { name: scenario.name, index: i + 1, of: plan.scenarios.len() });
        let outcome = match scenario.kind {
            Kind::Paired(paired) => paired::drive(&mut session, plan, scenario, &paired, progress),
            Kind::Throughput => closed_loop::drive(&session, plan, scenario, progress),
            Kind::OpenLoop => open_loop::drive(&session, plan, scenario, progress),
            Kind::Density => density::drive(&session, plan, scenario, progress),
            Kind::Churn => churn::drive(&session, plan, scenario, progress),
        }?;
        result.scenarios.push(outcome);
    }
    let mut all: Vec<&mut Comparison> =
        result.scenarios.iter_mut().flat_map(|s| &mut s.comparisons).collect();
    judge::conclude(&mut all, plan.profile.fdr)?;
    result.void = result
        .scenarios
        .iter()
        .flat_map(|s| s.comparisons.iter().map(move |c| (s, c)))
        .find(|(_, c)| c.sentinel && c.verdict == Verdict::Fail)
        .map(|(s, c)| format!("the baseline and its own copy differ in {}: {}", s.name, c.says));
    result.noise.1 = Noise::now();
    result.seconds = clock.elapsed().as_secs_f64();
    session.close()?;
    Ok(result)
}

/// Evidence may be pooled only when host, method, margins and programs are the same.
fn may_continue(earlier: &BenchRun, now: &BenchRun) -> Result<(), BenchError> {
    let mut differences = earlier.key.differences(&now.key);
    if earlier.schema != now.schema {
        differences.push(format!("schema: `{}` there, `{}` here", earlier.schema, now.schema));
    }
    if earlier.void.is_some() {
        differences.push("the earlier run is void".into());
    }
    let margins = |p: &metric::Profile| {
        (p.cpu.delta_lo, p.cpu.delta_hi, p.wall.delta_lo, p.wall.delta_hi, p.cpu.alpha, p.wall.alpha)
    };
    if margins(&earlier.profile) != margins(&now.profile) {
        differences.push("the gate's margins".into());
    }
    if earlier.seed == now.seed {
        differences.push(format!("seed: both {}; a continuation needs random choices of its own", now.seed));
    }
    for target in &now.targets {
        match earlier.targets.iter().find(|t| t.target.name() == target.target.name()) {
            None => differences.push(format!("target `{}` is not in the earlier run", target.target.name())),
            Some(t) if t.digest != target.digest || t.target != target.target => {
                differences
                    .push(format!("target `{}` is another program or called otherwise", t.target.name()));
            }
            Some(_) => {}
        }
    }
    if differences.is_empty() { Ok(()) } else { Err(BenchError::NotComparable { differences }) }
}
