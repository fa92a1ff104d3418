//! What the load scenarios share: slots for concurrent workers, and counting what they did.
//!
//! Only verified containers count, and the time is divided by what was *done*, never by what was planned:
//! workers that die early must not make a runtime look fast.

use crate::error::BenchError;
use crate::plan::BenchPlan;
use crate::result::{ArmResult, Curve, ScenarioResult};
use crate::scenario::Scenario;
use crate::session::Session;
use crate::slot::{Failure, Slot};

/// What the workers of a window or a trial brought back.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Verified containers.
    pub done: u64,
    /// The others.
    pub failures: Vec<Failure>,
}

/// Slots for concurrent workers that share one state directory, as the users of one host do.
pub(crate) fn slots(
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

pub(crate) fn absorb(arm: &mut ArmResult, tally: &Tally) {
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
