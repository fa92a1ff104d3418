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

/// The step of that name.
pub fn find(name: &str) -> Option<(Bound, Run)> {
    let all = [ask::STEPS, act::STEPS];
    let found = all.iter().flat_map(|list| list.iter()).find(|(known, ..)| *known == name);
    found.map(|(_, bound, run)| (*bound, *run))
}

/// A group of steps.
pub type List = &'static [(&'static str, Bound, Run)];
