//! The gate and the sentence that comes first in every report.

use plimsoll_model::event::RunStatus;
use plimsoll_model::{ExitCode, Judgement, OutcomeKind, Run, Severity};
use std::collections::{BTreeMap, BTreeSet};

use crate::bench::{BenchRun, Finding};
use crate::text::plural;
use crate::view::{View, is_decided, is_flaky, target_name};

/// What one target came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// The target's label.
    pub label: String,
    /// Label and version, for people.
    pub name: String,
    /// Outcomes by kind.
    pub outcomes: BTreeMap<OutcomeKind, usize>,
    /// MUST-level cases that were decided.
    pub must_decided: usize,
    /// MUST-level cases that passed.
    pub must_passed: usize,
    /// Unexpected failures: they close the gate.
    pub bad: usize,
    /// Failures that the expectations name.
    pub known: usize,
    /// Known failures that pass now.
    pub fixed: usize,
    /// Unexpected warnings.
    pub warned: usize,
    /// Cases whose attempts disagree.
    pub flaky: usize,
    /// Cases of the plan without any record.
    pub missing: usize,
    /// Why nothing could run.
    pub unfit: Option<String>,
}

impl Tally {
    /// How often this outcome was seen.
    pub fn count(&self, kind: OutcomeKind) -> usize {
        self.outcomes.get(&kind).copied().unwrap_or(0)
    }

    /// Cases that say something about the target.
    pub fn decided(&self) -> usize {
        self.outcomes.iter().filter(|(kind, _)| is_decided(**kind)).map(|(_, n)| n).sum()
    }
}

/// One tally per target, in the order of the run.
pub fn tallies(run: &Run) -> Vec<Tally> {
    let view = View::new(run);
    let must: BTreeSet<&str> =
        run.header.plan.iter().filter(|c| c.severity == Severity::Fail).map(|c| c.id.as_str()).collect();
    let mut rows: Vec<Tally> = Vec::new();
    for target in &run.header.targets {
        let mut row = Tally {
            label: target.label.clone(),
            name: target_name(target),
            unfit: target.unfit.clone(),
            ..Tally::default()
        };
        let records = run.records.iter().filter(|r| r.target == target.label);
        let mut seen = 0;
        for record in records {
            seen += 1;
            let kind = record.outcome.kind();
            *row.outcomes.entry(kind).or_default() += 1;
            // A fail is an obligation not met, whatever the case set out to show: a leak, for example.
            if kind == OutcomeKind::Fail || (must.contains(record.case.as_str()) && is_decided(kind)) {
                row.must_decided += 1;
                row.must_passed += usize::from(kind == OutcomeKind::Pass);
            }
            row.flaky += usize::from(is_flaky(&view, record));
            match record.judgement {
                Judgement::Bad => row.bad += 1,
                Judgement::Known { .. } => row.known += 1,
                Judgement::Fixed { .. } => row.fixed += 1,
                Judgement::Warned => row.warned += 1,
                Judgement::Good | Judgement::Neutral | Judgement::Trouble => {}
            }
        }
        row.missing = run.header.plan.len().saturating_sub(seen);
        rows.push(row);
    }
    rows
}

/// The exit code that the run deserves.
///
/// `strict` also closes on unexpected warnings, on known failures that pass and on cases whose attempts disagree.
/// `stale` names entries of the expectations file that match nothing. A verdict needs positive evidence: what was
/// planned and has no record, or was not run, is trouble; if nothing was decided at all there is no pass.
pub fn gate(run: &Run, strict: bool, stale: &[String]) -> ExitCode {
    let rows = tallies(run);
    let any = |f: fn(&Tally) -> usize| rows.iter().any(|row| f(row) > 0);
    let mut code = ExitCode::Success;
    let mut apply = |when: bool, with: ExitCode| {
        if when {
            code = code.and(with);
        }
    };
    apply(any(|t| t.bad), ExitCode::GateClosed);
    apply(strict && (any(|t| t.warned) || any(|t| t.fixed) || any(|t| t.flaky)), ExitCode::GateClosed);
    let trouble = any(|t| t.count(OutcomeKind::Error) + t.count(OutcomeKind::NotRun) + t.missing)
        || rows.iter().any(|t| t.unfit.is_some())
        || run.footer.as_ref().is_some_and(|f| !f.replaced.is_empty());
    apply(trouble, ExitCode::Trouble);
    apply(!stale.is_empty(), ExitCode::StaleExpectations);
    for bench in run.benches.iter().filter_map(|(_, result)| BenchRun::read(result)) {
        apply(bench.finding() == Finding::Regression, ExitCode::Regression);
        apply(bench.finding() == Finding::CannotTell, ExitCode::CannotTell);
    }
    let decided: usize = rows.iter().map(Tally::decided).sum();
    apply(decided == 0 && run.benches.is_empty(), ExitCode::NothingRan);
    if let Some(footer) = &run.footer
        && footer.status == RunStatus::Cancelled
    {
        apply(footer.exit_code == ExitCode::Interrupted.code(), ExitCode::Interrupted);
        apply(footer.exit_code == ExitCode::Terminated.code(), ExitCode::Terminated);
        apply(true, ExitCode::Trouble);
    }
    code
}

/// How much of the MUST-level catalogue the plan touches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MustCoverage {
    /// MUST-level requirements that a case covers.
    pub tested: usize,
    /// MUST-level requirements that can be tested and are not waived.
    pub total: usize,
}

/// The coverage number of the verdict sentence.
pub fn must_coverage(run: &Run) -> MustCoverage {
    let covered: BTreeSet<&str> =
        run.header.plan.iter().flat_map(|c| c.covers.iter().map(String::as_str)).collect();
    let mut coverage = MustCoverage::default();
    for requirement in run.header.requirements.iter().filter(|r| r.level.is_must()) {
        let tested = covered.contains(requirement.id.as_str());
        let out = requirement.testable.starts_with("no") || run.header.waivers.contains_key(&requirement.id);
        coverage.tested += usize::from(tested);
        coverage.total += usize::from(tested || !out);
    }
    coverage
}

/// One target in words: `crun 1.26: 249/251 MUST pass, 2 fail, 6 n/a`.
pub fn target_sentence(tally: &Tally) -> String {
    if let Some(why) = &tally.unfit {
        return format!("{}: could not be tested ({})", tally.name, crate::text::one_line(why));
    }
    let mut parts = vec![if tally.must_decided == 0 {
        "no MUST was decided".to_owned()
    } else {
        format!("{}/{} MUST pass", tally.must_passed, tally.must_decided)
    }];
    let known = if tally.known > 0 { format!(" ({} known)", tally.known) } else { String::new() };
    for (kind, note) in [
        (OutcomeKind::Fail, known.as_str()),
        (OutcomeKind::Warn, ""),
        (OutcomeKind::Error, ""),
        (OutcomeKind::NotApplicable, ""),
        (OutcomeKind::Skip, ""),
        (OutcomeKind::NotRun, ""),
    ] {
        let n = tally.count(kind);
        if n > 0 {
            parts.push(format!("{n} {}{note}", kind.word()));
        }
    }
    for (n, word) in [(tally.fixed, "fixed"), (tally.flaky, "flaky"), (tally.missing, "without a result")] {
        if n > 0 {
            parts.push(format!("{n} {word}"));
        }
    }
    format!("{}: {}", tally.name, parts.join(", "))
}

/// The state of the gate in words, from the exit code in the footer, or computed where there is no footer.
pub fn gate_sentence(run: &Run) -> String {
    let code = exit_code(run);
    match code {
        ExitCode::Success => "gate open".to_owned(),
        ExitCode::GateClosed => "gate closed".to_owned(),
        other => format!("no verdict to gate on: {}", other.meaning()),
    }
}

/// The exit code that the run was given, or deserves.
pub fn exit_code(run: &Run) -> ExitCode {
    let given = run.footer.as_ref().and_then(|f| ExitCode::ALL.into_iter().find(|c| c.code() == f.exit_code));
    match given {
        Some(code) => code,
        None => gate(run, false, &[]).and(ExitCode::Trouble),
    }
}

/// The first sentence of every report: each target, the gate, how much was tested.
pub fn sentence(run: &Run) -> String {
    let rows = tallies(run);
    let mut out = if rows.is_empty() {
        "No target was given".to_owned()
    } else {
        rows.iter().map(target_sentence).collect::<Vec<_>>().join("; ")
    };
    out.push_str("; ");
    out.push_str(&gate_sentence(run));
    out.push('.');
    let coverage = must_coverage(run);
    if coverage.total > 0 {
        let share = format!(
            " {} cover {} of {} MUST requirements ({} %).",
            plural(run.header.plan.len(), "case"),
            coverage.tested,
            coverage.total,
            percent(coverage.tested, coverage.total)
        );
        out.push_str(&share);
    }
    if !run.is_complete() {
        out.push_str(" The run is incomplete.");
    }
    if !run.header.filters.is_empty() {
        out.push_str(" Filters were active, so this is a part of the suite.");
    }
    out
}

/// Whole percent, rounded down so that 100 % means all.
pub(crate) fn percent(part: usize, whole: usize) -> usize {
    (part * 100).checked_div(whole).unwrap_or(0)
}
