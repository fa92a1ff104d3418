//! The run in a few lines: for a terminal's last screen, and for a program that wants no more than the verdict.

use plimsoll_model::{CaseRecord, Judgement, OutcomeKind, Run};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

use crate::text::{one_line, printable, shorten};
use crate::verdict::{exit_code, must_coverage, sentence, tallies};
use crate::view::{View, is_flaky};

/// Whether somebody has to look at the record: unexpected, in trouble, out of date, or undecided between attempts.
pub(crate) fn is_notable(view: &View<'_>, record: &CaseRecord) -> bool {
    matches!(
        record.judgement,
        Judgement::Bad | Judgement::Trouble | Judgement::Warned | Judgement::Fixed { .. }
    ) || is_flaky(view, record)
}

/// One line for each record that needs a look, then the verdict sentence.
pub fn concise(run: &Run) -> String {
    let view = View::new(run);
    let mut out = String::new();
    for record in run.records.iter().filter(|r| is_notable(&view, r)) {
        let kind = record.outcome.kind();
        let note = match record.judgement {
            Judgement::Fixed { .. } => " (fixed)",
            _ if is_flaky(&view, record) => " (flaky)",
            _ => "",
        };
        let message = shorten(&one_line(&record.outcome.message()), 200);
        let target = one_line(&record.target);
        let line = format!("{} {} {target} {}{note}: {message}", kind.glyph(), kind.word(), record.case);
        let _ = writeln!(out, "{}", line.trim_end_matches([':', ' ']));
    }
    let _ = writeln!(out, "{}", sentence(run));
    printable(&out)
}

/// One document: verdict, counts per target, coverage, what needs a look. `schema` names the shape and its version.
pub fn json(run: &Run) -> String {
    let view = View::new(run);
    let targets: Vec<Value> = run
        .header
        .targets
        .iter()
        .zip(tallies(run))
        .map(|(target, tally)| {
            let kinds = OutcomeKind::ALL.into_iter();
            let outcomes: Map<String, Value> =
                kinds.map(|k| (k.word().to_owned(), tally.count(k).into())).collect();
            json!({
                "label": target.label, "target": target.spec.to_string(), "version": target.version,
                "must": {"decided": tally.must_decided, "passed": tally.must_passed},
                "outcomes": outcomes, "unexpected": tally.bad, "known": tally.known, "fixed": tally.fixed,
                "warned": tally.warned, "flaky": tally.flaky, "unfit": target.unfit,
            })
        })
        .collect();
    let notable: Vec<Value> = run
        .records
        .iter()
        .filter(|r| is_notable(&view, r))
        .map(|r| {
            let requirements: Vec<&str> =
                r.outcome.violations().iter().map(|v| v.requirement.as_str()).collect();
            json!({
                "target": r.target, "case": r.case.as_str(), "outcome": r.outcome.kind().word(),
                "judgement": r.judgement, "flaky": is_flaky(&view, r), "requirements": requirements,
                "message": r.outcome.message(),
            })
        })
        .collect();
    let (code, coverage) = (exit_code(run), must_coverage(run));
    let document = json!({
        "schema": "plimsoll-summary/1",
        "exit_code": code.code(), "meaning": code.meaning(), "sentence": sentence(run),
        "complete": run.is_complete(), "cases": run.header.plan.len(),
        "must_requirements": {"tested": coverage.tested, "total": coverage.total},
        "targets": targets, "notable": notable,
    });
    format!("{document:#}\n")
}
