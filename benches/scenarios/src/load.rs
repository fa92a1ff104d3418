//! What the load scenarios share: places for concurrent workers, and counting what they did.
//!
//! Only verified containers count, and the time is divided by what was *done*, never by what was planned:
//! workers that die early must not make a runtime look fast.

use crate::error::BenchError;
use crate::place::Place;
use crate::plan::BenchPlan;
use crate::result::{ArmResult, Curve, ScenarioResult};
use crate::scenario::Scenario;
use crate::session::Session;
use crate::slot::Failure;

/// What the workers of a window or a trial brought back.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Verified containers.
    pub done: u64,
    /// The others.
    pub failures: Vec<Failure>,
}

/// Places for concurrent workers that share one state, as the users of one host do.
pub(crate) fn places(
    session: &Session,
    plan: &BenchPlan,
    target: usize,
    count: usize,
    label: &str,
) -> Result<Vec<Box<dyn Place>>, BenchError> {
    let first = session.place(&plan.targets[target], &format!("t{target}{label}-0"), None, plan.timeout)?;
    let mut places = vec![first];
    for i in 1..count {
        let other = places[0].sibling(&format!("t{target}{label}-{i}"));
        places.push(other.map_err(BenchError::system("prepare a place for a worker"))?);
    }
    for place in &mut places {
        place.set_concurrent();
        place.set_guest_clock(session.infos[target].guest_clock);
    }
    Ok(places)
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
