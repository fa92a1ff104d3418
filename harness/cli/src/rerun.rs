//! `--rerun failed RUN`: the cases of an earlier run that did not end well, on its targets.

use crate::report;
use crate::usage::Failure;
use plimsoll_model::{Judgement, OutcomeKind};
use std::collections::BTreeSet;
use std::path::Path;

/// What is run again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    /// Case ids, in the order of the plan.
    pub cases: Vec<String>,
    /// The earlier run's targets, as they were written.
    pub targets: Vec<String>,
}

/// Reads what failed unexpectedly, ended in trouble, was not run, or has no result.
pub fn failed(which: &str, path: &Path) -> Result<Again, Failure> {
    if which != "failed" {
        return Err(Failure::usage(format!("--rerun knows no `{which}`"))
            .hint("write --rerun failed plimsoll-out/run.jsonl"));
    }
    let run = report::read(path)?;
    let targets = &run.header.targets;
    let well: BTreeSet<(&str, &str)> = run
        .records
        .iter()
        .filter(|r| !matches!(r.judgement, Judgement::Bad | Judgement::Trouble))
        .filter(|r| r.outcome.kind() != OutcomeKind::NotRun)
        .map(|r| (r.case.as_str(), r.target.as_str()))
        .collect();
    let all_well = |case: &str| targets.iter().all(|t| well.contains(&(case, t.label.as_str())));
    let cases: Vec<String> =
        run.header.plan.iter().map(|c| c.id.to_string()).filter(|c| !all_well(c)).collect();
    if cases.is_empty() {
        let what = format!("nothing failed in {}", path.display());
        return Err(Failure { what, hint: String::new(), code: plimsoll_model::ExitCode::NothingRan });
    }
    Ok(Again { cases, targets: targets.iter().map(|t| t.spec.to_string()).collect() })
}
