//! The table of all steps. `harness/docs/PROBE.md` describes each; a test keeps the two lists equal.
use crate::prelude::*;
use crate::{act, ask};

/// Who bounds a step in time.
#[derive(Clone, Copy)]
pub enum Bound {
    /// The alarm: what blocks for more than ten seconds is interrupted.
    Alarm,
    /// The step itself, by a deadline of its own (or it cannot block).
    Own,
}

type Run = fn(&mut Cx, &Step) -> Answer;

/// Answers for the program itself: all steps that it knows.
fn steps(_: &mut Cx, _: &Step) -> Answer {
    let all = GROUPS.iter().flat_map(|list| list.iter()).map(|(name, ..)| *name);
    Ok(json!({ "steps": all.collect::<Vec<_>>() }))
}

/// All steps, in groups.
const GROUPS: [List; 3] = [ask::STEPS, act::STEPS, &[("steps", Bound::Own, steps)]];

/// The step of that name.
pub fn find(name: &str) -> Option<(Bound, Run)> {
    let found = GROUPS.iter().flat_map(|list| list.iter()).find(|(known, ..)| *known == name);
    found.map(|(_, bound, run)| (*bound, *run))
}

/// A group of steps.
pub type List = &'static [(&'static str, Bound, Run)];
