//! A run without what must not be published yet: all of one suite, so that not even the count of its findings shows.

use crate::verdict;
use plimsoll_model::{CaseRecord, OutcomeKind, Run};
use std::collections::{BTreeMap, BTreeSet};

/// The run as if `suite` had not been planned: no case, no requirement, no record, no attempt of it. The footer and its
/// exit code are those of the rest, and a note says what is withheld and how many cases that are, whatever came out.
pub fn without(run: &Run, suite: &str, strict: bool) -> Run {
    let mut rest = run.clone();
    let withheld: Vec<_> = run.header.plan.iter().filter(|c| c.id.suite() == suite).collect();
    if withheld.is_empty() {
        return rest;
    }
    let files: BTreeSet<&str> = {
        let covered: BTreeSet<&str> =
            withheld.iter().flat_map(|c| c.covers.iter().map(String::as_str)).collect();
        let rows = run.header.requirements.iter().filter(|r| covered.contains(r.id.as_str()));
        rows.map(|r| r.file.as_str()).collect()
    };
    let gone: BTreeSet<&str> = run
        .header
        .requirements
        .iter()
        .filter(|r| files.contains(r.file.as_str()))
        .map(|r| r.id.as_str())
        .collect();
    rest.header.plan.retain(|c| c.id.suite() != suite);
    rest.header.requirements.retain(|r| !gone.contains(r.id.as_str()));
    rest.header.waivers.retain(|id, _| !gone.contains(id.as_str()));
    let keep = |record: &CaseRecord| record.case.suite() != suite;
    rest.records.retain(keep);
    rest.superseded.retain(keep);
    rest.notes.push(format!(
        "{} cases of the suite `{suite}` are under embargo: this report says nothing of them",
        withheld.len()
    ));
    recount(&mut rest, strict);
    rest
}

fn recount(run: &mut Run, strict: bool) {
    let mut counts: BTreeMap<String, BTreeMap<OutcomeKind, u64>> = BTreeMap::new();
    for record in &run.records {
        *counts.entry(record.target.clone()).or_default().entry(record.outcome.kind()).or_default() += 1;
    }
    let exit_code = verdict::gate(run, strict, &[]).code();
    if let Some(footer) = &mut run.footer {
        footer.planned = run.records.len() as u64;
        footer.counts = counts;
        footer.exit_code = exit_code;
    }
}
